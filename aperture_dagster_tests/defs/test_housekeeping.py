"""The job that deletes what is old: on Dagster's own database, the product's, and the home."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.members.digests import digest_of
from aperture_dagster.members.sessions import add_session
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.quota import spend
from aperture_dagster_tests.household import Household, SetClock, failed_checks, metadata_of
from aperture_dagster_tests.instance.conftest import external

__all__ = ["external"]

# Dagster records its events by the machine's clock, which is not simulated here; later nights are in the future.
NIGHT = datetime.now(UTC).replace(hour=1, minute=30)


def events_of(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id))


def test_a_night_of_housekeeping(external: Settings):
    clock = SetClock(NIGHT)
    with dg.DagsterInstance.get() as instance:
        house = Household(external, instance, clock=clock)
        first = house.must("housekeeping")
        old = external.home_path / "dagster" / "logs" / first.run_id
        old.mkdir(parents=True, exist_ok=True)
        (old / "step.err").write_text("It went well.")
        for path in (old / "step.err", old):
            os.utime(path, times=(NIGHT.timestamp(), NIGHT.timestamp()))
        with house.database.transaction() as connection:
            spend(connection, "omdb", day=NIGHT.date(), limit=5, reported=False)
            for name, age in (("over", 31), ("current", 29)):
                now = NIGHT + timedelta(days=91 - age)
                add_session(connection, name, "secret", "anna", "", now, is_administrator=False)

        clock.moment = NIGHT + timedelta(days=29)
        logged = events_of(instance, first.run_id)
        house.must("housekeeping")
        assert events_of(instance, first.run_id) == logged and old.exists(), "a month is not over"

        clock.moment = NIGHT + timedelta(days=91)
        result = house.must("housekeeping")
        found: dict[str, Any] = metadata_of(result, "housekeeping")
        assert events_of(instance, first.run_id) == 0 and not old.exists()
        assert instance.get_run_by_id(first.run_id) is None
        assert house.value("SELECT count(*) FROM quota") == 0
        assert house.value("SELECT digest FROM sessions") == digest_of("current")
        assert found["events_rows"] >= logged and found["events_bytes"] > 0 and found["runs_rows"] == 1
        assert (found["quota_rows"], found["sessions_rows"], found["run_files_rows"] >= 1) == (1, 1, True)
        assert found["rows_freed"] == sum(value for name, value in found.items() if name.endswith("_rows"))
        assert found["bytes_freed"] == sum(
            found[name.replace("_rows", "_bytes")] for name in found if name.endswith("_rows")
        )
        assert min(found[f"{name}_bytes"] for name in ("product_database", "dagster_database")) > 10_000
        assert failed_checks(result) == []
