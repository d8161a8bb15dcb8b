"""Faults half-way through a listing: no data is lost, the message is clear, and the next run makes up for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.conftest import tuned
from aperture_dagster_tests.e2e.library import title
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failures, rows_written

pytestmark = pytest.mark.e2e

# Transient faults, and words in the message to the operator if they persist.
OUTAGES: list[tuple[dict[str, Any], str]] = [
    ({"status": 429, "retry_after": "0"}, "429"),
    ({"kind": "cut_off"}, "closed"),
    ({"kind": "html"}, "not JSON (text/html"),
]
# State of the services, and what says when something was done.
IGNORED = ("services", "quota", "history_syncs")


def lost(before: dict[str, Any], home: Household) -> dict[str, Any]:
    """Return the rows that are no longer there."""
    after = home.snapshot()
    gone = {table: Counter(rows) - Counter(after[table]) for table, rows in before.items() if table not in IGNORED}
    return {table: rows for table, rows in gone.items() if rows}


def test_an_outage_loses_nothing_and_a_transient_one_is_retried(household: Any):
    synced = ("sync_users", "sync_series")
    with household(small_world(), after=synced, server="emby") as (simulator, home), tuned(page_size=8):
        home.note_addresses()
        state = simulator.state
        # Something new, which changes no row that is there.
        state.add_title(title(2, media_type="series"))
        before = home.snapshot()

        def fault(kind: dict[str, Any], **more: Any) -> None:
            state.add_fault(FaultRule("emby", **{"path_contains": "ncludeItemTypes=Series&", **kind, **more}))

        quick = {"media_server_timeout_seconds": 0.35, "http_retry_wait_seconds": 0.001}
        impatient = Household(home.settings.model_copy(update={"http_attempts": 2, **quick}), home.instance)
        for kind, why in OUTAGES:
            fault(kind, after=1)
            told = failures(impatient.run("sync_series"))
            assert list(told) == ["series"], (kind, told)
            assert "Emby" in told["series"] and why in told["series"] and "kept" in told["series"]
            assert "key" not in told["series"] and "\n" not in told["series"]
            assert lost(before, home) == {}
            state.clear_faults()
        # All transient faults once, some of them in a row.
        for number, (kind, _) in enumerate(OUTAGES):
            fault(kind, after=1 if number == 0 else (number + 1) % 2, times=1)
        patient = Household(home.settings.model_copy(update={"http_attempts": 10, **quick}), home.instance)
        patient.must("sync_series")
        assert state.faults.active() == {}, "every fault occurred"
        assert lost(before, home) == {}
        again = home.must("sync_series")
        assert set(rows_written(again).values()) <= {0}, "nothing was left"
