"""Logos of studios: real pictures only, each downloaded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.enrichment.pictures import check_picture
from aperture_dagster.model import Clock
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.e2e.worlds import ENRICHED, small_world, world_of_studios
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e

STORED = "SELECT kind, studio_id, file_name, picture_kind, bytes FROM studio_logos WHERE file_name IS NOT NULL"
OUTCOMES = "SELECT outcome, count(*) AS n FROM fetches WHERE source = 'tmdb_images' GROUP BY 1"


class Calendar:
    """A clock that tests can move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def enriched(household: Any, **settings: Any) -> Iterator[tuple[RunningSimulator, Household, Calendar]]:
    """A home with metadata of TMDb, so that the studios are known."""
    calendar = Calendar()
    parts = {"clock": Clock(calendar)}
    with household(world_of_studios(), parts, after=ENRICHED, **settings) as (simulator, home):
        yield simulator, home, calendar


def outcomes(home: Household) -> dict[str, int]:
    return {row["outcome"]: row["n"] for row in home.rows(OUTCOMES)}


def logos(home: Household) -> Path:
    return home.settings.home_path / "logos"


def run(home: Household) -> dict[str, Any]:
    return metadata_of(home.must("enrich_studio_logos"), "studio_logos")


def test_every_logo_is_downloaded_once_and_its_type_follows_its_content(household):
    with enriched(household) as (simulator, home, _):
        metadata = run(home)
        with_logo = home.value("SELECT count(*) FROM studio_logos WHERE logo_path IS NOT NULL")
        without = home.value("SELECT count(*) FROM studio_logos WHERE logo_path IS NULL")
        assert with_logo > 5 and without > 1
        assert (metadata["fetched"], metadata["not_found"], metadata["requests"]) == (with_logo, without, with_logo)
        for row in home.rows(STORED):
            content = (logos(home) / row["file_name"]).read_bytes()
            assert check_picture(content).format == row["picture_kind"] and len(content) == row["bytes"]
        assert len(list(logos(home).iterdir())) == with_logo
        again = run(home)
        assert (again["asked"], again["requests"], again["rows_written"]) == (0, 0, 0)
        assert set(simulator.state.asked("tmdb_images").values()) == {1}


def test_what_failed_is_downloaded_by_the_schedule_an_hour_later_and_then_after_twice_the_time(household):
    with enriched(household, http_attempts=1) as (simulator, home, calendar):
        (job,) = (one for one in all_jobs(home.settings) if one.name == "enrich_studio_logos")

        def is_due() -> bool:
            return job.cron is not None and job.why_skip(home.instance, home.settings, Clock(calendar)) is None

        simulator.state.add_fault(FaultRule("tmdb_images", status=500, times=2))
        simulator.state.add_fault(FaultRule("tmdb_images", kind="cut_off", times=1))
        assert run(home)["errors"] == 3
        assert run(home)["asked"] == 0 and not is_due(), "not before an hour has passed"
        calendar.now += timedelta(minutes=61)
        simulator.state.add_fault(FaultRule("tmdb_images", status=500, times=1))
        assert is_due()
        again = run(home)
        assert (again["errors"], again["fetched"]) == (1, 2)
        calendar.now += timedelta(minutes=61)
        assert not is_due()
        calendar.now += timedelta(minutes=61)
        assert is_due() and run(home)["fetched"] == 1
        assert outcomes(home).keys() == {"ok", "not_found"} and not is_due()


def test_a_changed_logo_and_a_lost_file_are_downloaded_at_once(household):
    with enriched(household) as (_, home, _):
        run(home)
        one, two, *_ = home.rows(f"{STORED} ORDER BY studio_id")
        (logos(home) / one["file_name"]).unlink()
        (logos(home) / ".company-1.png-left-by-a-kill").write_bytes(b"half")
        home.rows(
            "UPDATE studio_logos SET stored_path = '/old.png', tried_path = '/old.png' "
            "WHERE (kind, studio_id) = (:kind, :id) RETURNING 1",
            kind=two["kind"],
            id=two["studio_id"],
        )
        metadata = run(home)
        assert (metadata["fetched"], metadata["requests"], metadata["files_lost"]) == (2, 2, 1)
        assert (logos(home) / one["file_name"]).is_file()
        assert home.value("SELECT count(*) FROM studio_logos WHERE stored_path IS DISTINCT FROM logo_path") == 0
        assert not list(logos(home).glob(".*"))


def test_without_a_tmdb_key_logos_are_skipped(household):
    with household(small_world(movies=5), tmdb_api_key=None) as (_, home):
        assert metadata_of(home.must("enrich_studio_logos"), "studio_logos")["skipped"].startswith("skipped: TMDB")
