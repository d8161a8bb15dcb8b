"""The half-hourly sync of users starts a run only when there is something to sync."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster import jobs
from aperture_dagster.build import all_jobs
from aperture_dagster.model import Clock
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import WorldUser
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household

pytestmark = pytest.mark.e2e


def tick(home: Household) -> str | None:
    """Return why the schedule skips, or None when it starts a run."""
    (job,) = (job for job in all_jobs(home.settings) if job.name == "sync_users")
    return job.why_skip(home.instance, home.settings, Clock())


def test_an_unchanged_household_starts_no_run(household: Any):
    with household(small_world()) as (simulator, home):
        assert tick(home) is None, "nobody has been read yet"
        home.must("sync_users")
        assert tick(home) == "No user changed since the last run."
        # Who was active when is no reason to sync.
        simulator.state.mark_played("ada0", small_world().titles[0].key)
        assert tick(home) == "No user changed since the last run."


CHANGES: dict[str, Callable[[SimulatorState], object]] = {
    "parental limit": lambda state: state.change_user("ada0", max_parental_rating=12),
    "libraries": lambda state: state.allow_libraries("ada0", ["Movies"]),
    "name": lambda state: state.rename_user("ada0", "somebody"),
    "disabled": lambda state: state.change_user("somebody", is_disabled=True),
    "gone": lambda state: state.remove_user("somebody"),
    "new": lambda state: state.add_user(WorldUser("Newcomer")),
}


def test_every_change_of_a_user_starts_a_run(household: Any):
    with household(small_world()) as (simulator, home):
        home.must("sync_users")
        for name, change in CHANGES.items():
            change(simulator.state)
            assert tick(home) is None, name
            home.must("sync_users")
            assert tick(home) == "No user changed since the last run.", name


def test_a_server_that_does_not_answer_is_reported_by_a_run(household: Any):
    with household(small_world(), http_attempts=1) as (simulator, home):
        home.must("sync_users")
        simulator.state.add_fault(FaultRule("jellyfin", "/Users", status=503))
        assert tick(home) is None
        assert not home.run("sync_users").success
        simulator.state.clear_faults()
        assert tick(home) is None, "a success must follow the failure"


def test_users_are_synced_at_least_once_a_day(household: Any, monkeypatch: pytest.MonkeyPatch):
    with household(small_world()) as (_, home):
        home.must("sync_users")
        monkeypatch.setattr(jobs, "FULL_RUN_EVERY", timedelta(0))
        assert tick(home) is None
