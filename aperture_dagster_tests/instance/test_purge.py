"""What a purge of Dagster's database deletes, and that nothing looks different to whoever asks for the latest state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemotePartitionSetOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import serialize_value
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import Connection, make_url, text

from aperture_dagster import maintenance
from aperture_dagster.instance.blocking_checks import blocking_checks, why_blocked
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.instance.purge import Retention, purge, runs_with_files
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import database_copy, run_statements
from aperture_dagster_tests.killing import Killed

USERS = ("ann", "ben", "cleo")
LOGS, RUNS = 30, 90
MADE, PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
users = dg.DynamicPartitionsDefinition(name="purged_users")
VERSION = "dagster/data_version"
# What schedules, sensors, automation and pools remember, and which assets and partitions exist.
UNTOUCHED = (
    "job_ticks", "instigators", "jobs", "kvs", "daemon_heartbeats", "dynamic_partitions",
    "concurrency_limits", "concurrency_slots", "pending_steps", "asset_daemon_asset_evaluations", "snapshots",
)  # fmt: skip


@dg.asset
def movies(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("Read everything.")
    return dg.MaterializeResult(data_version=dg.DataVersion(context.run.tags.get("version", "1")))


@dg.asset_check(asset=movies, blocking=True)
def are_sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(deps=[movies], partitions_def=users, backfill_policy=dg.BackfillPolicy.single_run(), output_required=False)
def tastes(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    for key in context.partition_keys:
        if key == context.run.tags.get("fails_for"):
            raise dg.Failure("no luck", allow_retries=False)
        if key not in context.run.tags.get("silent_about", ""):
            context.log_event(dg.AssetMaterialization("tastes", partition=key, tags={VERSION: "1"}))
    yield from ()


@dg.asset(deps=[tastes], partitions_def=users, backfill_policy=dg.BackfillPolicy.single_run())
def lists(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


@dg.asset_check(asset=lists, blocking=True)
def are_complete() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(deps=[movies])
def never_made() -> None:
    raise dg.Failure("no luck", allow_retries=False)


ASSETS = (movies, tastes, lists, never_made)


class Years:
    """An instance whose past is made run by run: what was recorded grows older while days pass."""

    def __init__(self, instance: dg.DagsterInstance, named: dict[str, str] | None = None) -> None:
        self.instance, self.named = instance, named or {}

    def run(self, asset: dg.AssetsDefinition, *people: str, location: str | None = LOCATION, **tags: str) -> str:
        """Materialize an asset for a range of users, as a run of a code location; return the id of the run."""
        if location is not None:
            tags[REPOSITORY_TAG] = repository(location)
        if people:
            ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
            tags |= dict(zip(ends, (people[0], people[-1]), strict=True))
        parts = [*ASSETS, are_sound, are_complete]
        result = dg.materialize(parts, instance=self.instance, tags=tags, selection=[asset], raise_on_error=False)
        return result.run_id

    def pass_days(self, days: int) -> None:
        """Make everything that has been recorded older."""
        columns = {
            "event_logs": ("timestamp",),
            "runs": ("create_timestamp", "update_timestamp"),
            "asset_check_executions": ("evaluation_event_timestamp", "create_timestamp"),
            "bulk_actions": ("timestamp",),
            "job_ticks": ("timestamp",),
        }
        for table, names in columns.items():
            self.do(f"UPDATE {table} SET " + ", ".join(f"{name} = {name} - interval '{days} days'" for name in names))
        self.do(f"UPDATE runs SET end_time = end_time - {days * 86_400}, start_time = start_time - {days * 86_400}")

    def purge(self) -> dict[str, maintenance.Freed]:
        """Purge with the retention of these tests."""
        now = datetime.now(UTC)
        retention = Retention(logs=now - timedelta(days=LOGS), runs=now - timedelta(days=RUNS))
        return {one.part: one for one in purge(self.instance, retention)}

    def backfill(self, name: str, status: str, *assets: dg.AssetKey, location: str | None = None) -> None:
        """Add a backfill of some assets, or of a job of a code location, as it is after a year."""
        origin: Any = None
        if location is not None:
            code = InProcessCodeLocationOrigin(LoadableTargetOrigin(), location_name=location)
            origin = RemotePartitionSetOrigin(
                repository_origin=RemoteRepositoryOrigin(code, "__repository__"), partition_set_name="a job"
            )
        record = PartitionBackfill(
            name, BulkActionStatus(status), False, {}, 0.0, partition_set_origin=origin, asset_selection=list(assets)
        )
        self.do(
            "INSERT INTO bulk_actions (key, status, timestamp, body) VALUES "
            "(:key, :status, now() - interval '1 year', :body)",
            key=name, status=status, body=serialize_value(record),
        )  # fmt: skip
        self.do("INSERT INTO backfill_tags (backfill_id, key, value) VALUES (:key, 'a', 'b')", key=name)

    def do(self, statement: str, **values: Any) -> list[Any]:
        """Execute a statement on Dagster's database."""
        storage = self.instance.event_log_storage
        assert isinstance(storage, PostgresEventLogStorage)
        with storage.index_connection() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def runs(self) -> set[str]:
        """Return the ids of all runs."""
        return {run_id for (run_id,) in self.do("SELECT run_id FROM runs")}

    def state(self) -> dict[str, Any]:
        """Return what schedules, automation, gates and the UI can see of the assets' present."""
        instance, events = self.instance, self.instance.event_log_storage
        seen: dict[str, Any] = {}
        for asset in ASSETS:
            key = asset.key
            latest = instance.fetch_materializations(key, limit=1).records
            planned = events.get_latest_planned_materialization_info(key)
            seen[key.to_user_string()] = {
                "latest": [(one.storage_id, one.event_log_entry) for one in latest],
                "known as": instance.get_latest_materialization_event(key),
                "attempt": planned,
                "its run": instance.get_run_by_id(planned.run_id) if planned else None,
            }
            if asset.partitions_def is not None:
                # From the events, as if nothing had been cached.
                instance.wipe_asset_cached_status([key])
                seen[key.to_user_string()] |= {
                    "partitions": instance.get_materialized_partitions(key),
                    "statuses": instance.get_status_by_partition(key, list(USERS), users),
                    "versions": events.get_latest_tags_by_partition(key, MADE, [VERSION]),
                    "made by": {user: id for user, id in self._made_by(key)},
                }
        for one in (are_sound, are_complete):
            record = instance.get_latest_asset_check_evaluation_record(one.check_key)
            assert record is not None and instance.get_run_by_id(record.run_id) is not None
            seen[one.check_key.name] = (record, events.get_asset_check_summary_records([one.check_key]))
        gates = blocking_checks([are_sound, are_complete])
        assert why_blocked(instance, [movies.key, lists.key], gates) is None
        return seen | {
            table: self.do(f"SELECT * FROM {table} t ORDER BY id") for table in UNTOUCHED if table != "asset_keys"
        }

    def _made_by(self, key: dg.AssetKey) -> Iterator[tuple[str, str]]:
        latest = self.instance.event_log_storage.get_latest_storage_id_by_partition(key, MADE)
        for user, storage_id in latest.items():
            ((run_id,),) = self.do("SELECT run_id FROM event_logs WHERE id = :id", id=storage_id)
            assert self.instance.get_run_by_id(run_id) is not None
            yield user, run_id


@contextmanager
def opened(url: str, home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance beside a product's database."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("APERTURE_DATABASE_URL", url), ("APERTURE_HOME", home), ("DAGSTER_HOME", PROJECT)):
            patch.setenv(name, str(value))
        with dg.DagsterInstance.get() as instance:
            yield instance


@pytest.fixture(scope="module")
def past(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Fill a database of Dagster with half a year of runs; yield its name, and the runs by what they were."""
    with database_copy(postgres) as url:
        with opened(url, tmp_path_factory.mktemp("past")) as instance:
            instance.add_dynamic_partitions("purged_users", list(USERS))
            years, named = Years(instance), {}
            runs: list[tuple[str, Callable[[], str], int]] = [
                ("first", lambda: years.run(movies), 0),
                ("everybody", lambda: years.run(tastes, *USERS), 0),
                ("lists", lambda: years.run(lists, *USERS), 60),
                ("again", lambda: years.run(movies), 0),
                ("ann alone", lambda: years.run(tastes, "ann", "ann"), 20),
                ("failed", lambda: years.run(never_made), 0),
                ("silent", lambda: years.run(tastes, *USERS, silent_about="ann ben cleo"), 0),
                ("ben failed", lambda: years.run(tastes, "ben", "ben", fails_for="ben"), 60),
                ("a month ago", lambda: years.run(movies), 40),
                ("latest", lambda: years.run(movies), 1),
            ]
            for name, make, days in runs:
                named[name] = make()
                years.pass_days(days)
            insert = "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body) VALUES "
            years.do(insert + "('o', 's', 'SUCCESS', 'SCHEDULE', now() - interval '400 days', '{}')")
        yield f"{make_url(url).database}_dagster", named


@pytest.fixture
def years(postgres: str, past: tuple[str, dict[str, str]], tmp_path: Path) -> Iterator[Years]:
    """Return an instance with a copy of that past."""
    template, named = past
    with database_copy(postgres) as url:
        run_statements(postgres, f"CREATE DATABASE {make_url(url).database}_dagster TEMPLATE {template}")
        with opened(url, tmp_path / "home") as instance:
            yield Years(instance, named)


def test_old_runs_go_and_nothing_about_the_present_changes(years: Years):
    before = years.state()
    named = years.named
    made = years.do("SELECT count(*) FROM event_logs")[0][0]
    freed = years.purge()
    assert years.state() == before
    gone = {name for name, run_id in named.items() if years.instance.get_run_by_id(run_id) is None}
    assert gone == {"first"}, "all others are somebody's latest materialization or attempt, or younger than 90 days"
    assert freed["runs"].rows == 1
    left = years.do("SELECT count(*) FROM event_logs")[0][0]
    assert freed["events"].rows == made - left > made / 2
    assert years.do("SELECT count(*) FROM event_logs WHERE run_id = :id", id=named["first"]) == [(0,)]
    assert years.do("SELECT count(*) FROM asset_event_tags t WHERE NOT EXISTS (SELECT 1 FROM event_logs e WHERE e.id = "
                    "t.event_id)") == [(0,)]  # fmt: skip
    again = years.purge()
    assert [one.rows for one in again.values()] == [0] * len(again), "once is enough"


def test_runs_and_backfills_in_progress_are_not_touched(years: Years):
    states = {"working": "STARTED", "queued": "QUEUED", "of a backfill": "SUCCESS"}
    runs = {name: years.run(movies) for name in states}
    years.run(movies)
    years.pass_days(400)
    years.backfill("busy", "REQUESTED", movies.key)
    years.backfill("done", "COMPLETED_SUCCESS", movies.key)
    years.backfill("without runs", "FAILED", location=LOCATION)
    for name, run_id in runs.items():
        backfill = "busy" if name == "of a backfill" else None
        years.do("UPDATE runs SET status = :status, backfill_id = :backfill WHERE run_id = :id",
                 status=states[name], backfill=backfill, id=run_id)  # fmt: skip
    years.do("UPDATE runs SET backfill_id = 'done' WHERE run_id = :id", id=years.named["latest"])
    events = "SELECT run_id, count(*) FROM event_logs WHERE run_id = ANY(:runs) GROUP BY 1 ORDER BY 1"
    before = years.do(events, runs=list(runs.values()))
    assert years.purge()["backfills"].rows == 2
    assert years.do(events, runs=list(runs.values())) == before
    assert years.runs() >= set(runs.values())
    assert years.do("SELECT key FROM bulk_actions") == years.do("SELECT backfill_id FROM backfill_tags") == [("busy",)]
    years.do("UPDATE runs SET status = 'FAILURE' WHERE status <> 'SUCCESS'")
    years.do("UPDATE bulk_actions SET status = 'CANCELED'")
    years.purge()
    assert years.runs().isdisjoint(runs.values()), "now they have ended, and others came after them"


@dg.asset(key=["theirs", "films"], check_specs=[dg.AssetCheckSpec("is_fine", asset=["theirs", "films"])])
def films_of_others(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("Read everything.")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def test_what_other_code_locations_and_unknown_programs_recorded_is_not_touched(years: Years):
    theirs: list[str] = []
    for location in ("analytics", "analytics", None, None):
        result = dg.materialize(
            [films_of_others], instance=years.instance, tags={REPOSITORY_TAG: repository(location)} if location else {}
        )
        theirs.append(result.run_id)
    # One that makes an asset of the same name.
    theirs += [years.run(movies, location="analytics") for _ in range(2)]
    years.instance.report_runless_asset_event(dg.AssetMaterialization(films_of_others.key))
    for asset in (films_of_others.key, movies.key):
        years.instance.report_runless_asset_event(dg.AssetMaterialization(asset))
    ours = [years.run(movies) for _ in range(2)]
    # What a run recorded may be gone before its record is.
    for table in ("event_logs", "asset_check_executions"):
        years.do(f"DELETE FROM {table} WHERE run_id = ANY(:runs)", runs=[theirs[0], theirs[2]])
    years.pass_days(400)
    for name in ("asset of others", "job of others", "ours"):
        own = name == "ours"
        assets = () if name == "job of others" else (movies.key if own else films_of_others.key,)
        years.backfill(name, "FAILED", *assets, location="analytics" if name == "job of others" else None)

    def of_others() -> dict[str, Any]:
        tables = ("event_logs", "runs", "run_tags", "asset_check_executions")
        return {
            table: years.do(f"SELECT * FROM {table} WHERE run_id = ANY(:runs) ORDER BY 1, 2, 3", runs=theirs)
            for table in tables
        } | {
            "runless": years.do(
                "SELECT id FROM event_logs WHERE coalesce(run_id, '') = '' AND asset_key = :key ORDER BY id",
                key=films_of_others.key.to_string(),
            ),
            "backfills": years.do("SELECT key FROM bulk_actions WHERE key LIKE '%others' ORDER BY key"),
        }

    before = of_others()
    assert all(before.values()) and len(before["runless"]) == len(before["backfills"]) == 2
    freed = years.purge()
    assert of_others() == before
    assert years.instance.get_run_by_id(ours[0]) is None and freed["backfills"].rows == 1
    assert set(theirs) <= runs_with_files(years.instance)
    assert ours[1] not in runs_with_files(years.instance)


def test_a_purge_that_was_killed_is_continued(years: Years, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(maintenance, "BATCH", 7)
    before, statements, lives = years.state(), 0, 0
    real = maintenance.execute

    def dying(connection: Connection, statement: str, **values: Any) -> Any:
        nonlocal statements
        statements += 1
        if statements > lives:
            raise Killed
        return real(connection, statement, **values)

    monkeypatch.setattr(maintenance, "execute", dying)
    kills = 0
    orphans = "SELECT count(*) FROM event_logs e WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = e.run_id)"
    while True:
        try:
            years.purge()
            break
        except Killed:
            # It survives one statement more each time.
            kills, lives, statements = kills + 1, lives + 1, 0
            assert years.do(orphans) == [(0,)], "events without their run would never be found again"
            assert kills < 100
    assert kills > 3
    assert years.state() == before
    monkeypatch.setattr(maintenance, "execute", real)
    assert sum(one.rows for one in years.purge().values()) == 0, "the last one did the rest"
    assert years.instance.get_run_by_id(years.named["first"]) is None


def test_one_night_deletes_a_bounded_number_of_batches(years: Years, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(maintenance, "BATCH", 5)
    monkeypatch.setattr(maintenance, "MOST_BATCHES", 2)
    assert years.purge()["events"].rows == 10
    assert years.purge()["events"].rows == 10
    monkeypatch.setattr(maintenance, "MOST_BATCHES", 1_000)
    assert years.purge()["events"].rows > 10
