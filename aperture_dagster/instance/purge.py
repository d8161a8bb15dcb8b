"""Deletion of what Dagster's own database no longer needs: Dagster itself only purges ticks and evaluations.

The rule for whatever is about assets: the state at the beginning of the retention is kept, and everything since. Who
asks for the latest materialization, attempt, check or data version, or for what changed since a moment within the
retention, gets the same answer before and after a purge. So nothing becomes news, missing or failed by it.

Every statement deletes one batch, in a transaction of its own. The record of a run goes last, when nothing refers to it
any more, so that a purge that was killed is continued by the next one.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.instance.runs import ENDED, UNFINISHED
from aperture_dagster.maintenance import Freed, delete_in_batches, size_of_database, vacuum
from aperture_dagster.model import SKEW
from aperture_dagster.postgres.queries import execute

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage
    from sqlalchemy import Connection


_ENDED = ", ".join(f"'{status.value}'" for status in ENDED)
_BACKFILL_ENDED = "'COMPLETED', 'COMPLETED_SUCCESS', 'COMPLETED_FAILED', 'FAILED', 'CANCELED'"
# Until a backfill has ended, it looks at the runs that it started.
_UNFINISHED = f"""
    SELECT run_id FROM runs WHERE status NOT IN ({_ENDED})
    UNION SELECT r.run_id FROM runs r JOIN bulk_actions b ON b.key = r.backfill_id
      WHERE b.status NOT IN ({_BACKFILL_ENDED})"""
# A materialization outlives the log of its run: it is a point in the plots of its asset.
_IS_OLD_EVENT = """
    timestamp < CASE dagster_event_type WHEN 'ASSET_MATERIALIZATION' THEN CAST(:runs_before AS timestamp)
      ELSE CAST(:logs_before AS timestamp) END"""
_IS_OLD_CHECK = "coalesce(evaluation_event_timestamp, create_timestamp) < :runs_before"
# What belongs to this code location. A run that a Python program made by itself names none, and stays.
_OWN_RUNS = f"SELECT run_id FROM run_tags WHERE key = '{REPOSITORY_TAG}' AND value = :repository"
_OWN_RUN = f"run_id IN ({_OWN_RUNS})"
_OWN_ASSETS = f"SELECT DISTINCT asset_key FROM event_logs WHERE asset_key IS NOT NULL AND {_OWN_RUN}"
# A materialization that was reported by hand has no run.
_OWN_EVENT = f"({_OWN_RUN} OR coalesce(run_id, '') = '' AND asset_key = ANY(:assets))"
_BACKFILL_OVER = f"""
    status IN ({_BACKFILL_ENDED}) AND timestamp < :runs_before
    AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.backfill_id = b.key)"""


@dataclass(frozen=True, slots=True)
class Retention:
    """The moments from which on logs of runs, and runs with their materializations and checks, are kept; and now."""

    logs: datetime
    runs: datetime
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


def purge(instance: dg.DagsterInstance, retention: Retention, *, location: str = LOCATION) -> list[Freed]:
    """Delete what is older than the retention, and return what each part freed; nothing if not on PostgreSQL.

    An instance may serve other programs, too: only what belongs to the code ``location`` of this process is deleted.
    """
    storage = on_postgres(instance)
    if storage is None:
        return []
    # Dagster's columns hold UTC without a zone.
    logs, runs = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (retention.logs, retention.runs))
    with storage.index_connection() as connection:
        unfinished = list(execute(connection, _UNFINISHED).scalars())
        own = {"repository": repository(location)}
        assets = list(execute(connection, _OWN_ASSETS, **own).scalars())
        before: dict[str, Any] = {"runs_before": runs, "unfinished": unfinished, "assets": assets, **own}
        freed = [
            _purge_events(connection, logs_before=logs, **before),
            _purge_checks(connection, **before),
            _purge_runs(connection, **before),
            _purge_backfills(connection, instance, runs_before=runs, location=location, assets=assets),
            _purge_future_ticks(connection, instance, latest=retention.now + SKEW, location=location),
        ]
        vacuum(connection, freed)
    return freed


def runs_with_files(instance: dg.DagsterInstance, *, location: str = LOCATION) -> set[str]:
    """Return the ids of the runs whose files stay: those that have not ended, and those of other code locations."""
    kept = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    storage = on_postgres(instance)
    if storage is None:
        return kept
    statement = f"SELECT run_id FROM runs WHERE NOT {_OWN_RUN}"
    with storage.index_connection() as connection:
        return kept.union(execute(connection, statement, repository=repository(location)).scalars())


def database_bytes(instance: dg.DagsterInstance) -> int | None:
    """Return the size of Dagster's database; None if it is not on PostgreSQL."""
    storage = on_postgres(instance)
    if storage is None:
        return None
    with storage.index_connection() as connection:
        return size_of_database(connection)


def on_postgres(instance: dg.DagsterInstance) -> PostgresEventLogStorage | None:
    """Return the storage of events, beside which all other tables are; None if it is another, as in tests."""
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    return storage if isinstance(storage, PostgresEventLogStorage) else None


def _purge_events(connection: Connection, **before: Any) -> Freed:
    """Delete old events, but of each asset and partition the last old one of each type."""
    statement = f"""
        SELECT max(id) FROM event_logs WHERE asset_key IS NOT NULL AND {_IS_OLD_EVENT}
        GROUP BY asset_key, dagster_event_type, partition"""
    kept = list(execute(connection, statement, **before).scalars())
    newest = execute(connection, "SELECT max(id) FROM event_logs WHERE timestamp < :logs_before", **before).scalar()
    return delete_in_batches(
        connection,
        "events",
        tables=("event_logs", "asset_event_tags"),
        expired=f"""
            SELECT id FROM event_logs WHERE id > :after AND id <= :newest AND {_IS_OLD_EVENT}
            AND {_OWN_EVENT}
            AND id <> ALL(:kept) AND coalesce(run_id, '') <> ALL(:unfinished) ORDER BY id""",
        along="DELETE FROM asset_event_tags t USING gone WHERE t.event_id = gone.id",
        kept=kept,
        newest=newest,
        **before,
    )


def _purge_checks(connection: Connection, **before: Any) -> Freed:
    """Delete old results of checks, but of each check the last old one of each outcome."""
    statement = f"""
        SELECT max(id) FROM asset_check_executions WHERE {_IS_OLD_CHECK}
        GROUP BY asset_key, check_name, partition, execution_status"""
    kept = list(execute(connection, statement, **before).scalars())
    return delete_in_batches(
        connection,
        "check_results",
        tables=("asset_check_executions",),
        expired=f"""
            SELECT id FROM asset_check_executions WHERE id > :after AND {_IS_OLD_CHECK} AND {_OWN_EVENT}
            AND id <> ALL(:kept) AND coalesce(run_id, '') <> ALL(:unfinished) ORDER BY id""",
        kept=kept,
        **before,
    )


def _purge_runs(connection: Connection, **before: Any) -> Freed:
    """Delete old runs of which no event and no result of a check is kept: the last attempts at an asset remain."""
    return delete_in_batches(
        connection,
        "runs",
        tables=("runs", "run_tags"),
        expired=f"""
            SELECT id FROM runs r WHERE id > :after AND status IN ({_ENDED}) AND run_id <> ALL(:unfinished)
            AND {_OWN_RUN}
            AND coalesce(to_timestamp(end_time) AT TIME ZONE 'UTC', update_timestamp) < :runs_before
            AND NOT EXISTS (SELECT 1 FROM event_logs e WHERE e.run_id = r.run_id)
            AND NOT EXISTS (SELECT 1 FROM asset_check_executions c WHERE c.run_id = r.run_id) ORDER BY id""",
        **before,
    )


def _purge_backfills(
    connection: Connection, instance: dg.DagsterInstance, *, location: str, assets: list[str], **before: Any
) -> Freed:
    """Delete old backfills that have ended and of which no run is kept."""
    over = execute(connection, f"SELECT key FROM bulk_actions b WHERE {_BACKFILL_OVER}", **before).scalars()
    keys = {dg.AssetKey.from_db_string(asset) for asset in assets} - {None}
    return delete_in_batches(
        connection,
        "backfills",
        tables=("bulk_actions", "backfill_tags"),
        expired=f"""
            SELECT id FROM bulk_actions b WHERE id > :after AND {_BACKFILL_OVER} AND key = ANY(:own) ORDER BY id""",
        along="DELETE FROM backfill_tags t USING gone WHERE t.backfill_id = gone.key",
        own=[key for key in over if _is_own_backfill(instance, key, location, keys)],
        **before,
    )


def _is_own_backfill(instance: dg.DagsterInstance, key: str, location: str, assets: Set[dg.AssetKey | None]) -> bool:
    """Tell whether a backfill is for a job of this code location, or for one of the assets."""
    backfill = instance.get_backfill(key)
    if backfill is None:
        return False
    origin = backfill.partition_set_origin
    if origin is not None:
        return origin.repository_origin.code_location_origin.location_name == location
    return not set(backfill.asset_selection or ()).isdisjoint(assets)


def _purge_future_ticks(
    connection: Connection, instance: dg.DagsterInstance, *, latest: datetime, location: str
) -> Freed:
    """Delete ticks of a clock that was ahead: once their date has come, they would count as those of that day."""
    states = instance.all_instigator_state()
    own = [
        state.selector_id
        for state in states
        if state.origin.repository_origin.code_location_origin.location_name == location
    ]
    expired = """
        SELECT id FROM job_ticks WHERE id > :after AND timestamp > :latest AND selector_id = ANY(:own) ORDER BY id"""
    values = {"latest": latest.astimezone(UTC).replace(tzinfo=None), "own": own}
    return delete_in_batches(connection, "future_ticks", tables=("job_ticks",), expired=expired, **values)
