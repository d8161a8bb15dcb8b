"""Take a person out of what Dagster keeps: its database.

What is only about them goes: runs for nobody else, events and results of their partitions, lines of logs that name
them. What is about others as well stays without the name. Every statement is a transaction of its own, and changes
nothing if it is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.instance.private import stored_record
from aperture_dagster.instance.purge import on_postgres
from aperture_dagster.instance.runs import ENDED
from aperture_dagster.maintenance.forgetting import Person
from aperture_dagster.maintenance.redaction import Redactor
from aperture_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, USERS
from aperture_dagster.postgres.queries import execute, read_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 500
# Columns with text that may name somebody, beside events, by table.
_TEXTS = {
    "asset_keys": ("asset_details", "cached_status_data"),
    "asset_event_tags": ("value",),
    "asset_check_executions": ("evaluation_event",),
    "runs": ("run_body", "partition"),
    "run_tags": ("value",),
    "bulk_actions": ("body",),
    "backfill_tags": ("value",),
    "instigators": ("instigator_body",),
    "jobs": ("job_body",),
    "job_ticks": ("tick_body",),
    "asset_daemon_asset_evaluations": ("asset_evaluation_body",),
    "daemon_heartbeats": ("body",),
}
# Sensors keep some of their state compressed, in which no text can be looked for.
_MAY_BE_COMPRESSED = {"instigator_body", "tick_body"}
_COMPRESSED_MARK = "eJ"


def redact_records(instance: dg.DagsterInstance, person: Person) -> tuple[int, set[str]]:
    """Take a person out of Dagster's database; return how many records changed, and which runs are gone.

    Their partition goes, too. On another storage than PostgreSQL, as in tests, nothing else does.
    """
    if person.key in instance.get_dynamic_partitions(USERS):
        instance.delete_dynamic_partition(USERS, person.key)
    storage = on_postgres(instance)
    if storage is None:
        return 0, set()
    redactor = person.redactor()
    with storage.index_connection() as connection:
        runs = _only_theirs(connection, person.key)
        changed = _delete_runs(connection, runs)
        changed += _delete_partition(connection, person.key)
        changed += _redact_events(connection, redactor)
        # A copy of the newest event of each asset, which may be gone.
        changed += _renew_newest(connection, redactor)
        for table, columns in _TEXTS.items():
            for column in columns:
                changed += _redact_column(connection, table, column, redactor)
    return changed, set(runs)


def _only_theirs(connection: Connection, key: str) -> list[str]:
    """Return the ids of the runs that were for nobody else."""
    statement = """
        SELECT run_id FROM runs WHERE status = ANY(:ended) AND run_id IN (
          SELECT run_id FROM run_tags WHERE key = :partition AND value = :who
          UNION SELECT f.run_id FROM run_tags f JOIN run_tags l USING (run_id)
            WHERE f.key = :first AND l.key = :last AND f.value = :who AND l.value = :who)"""
    tags = {"partition": PARTITION_TAG, "first": RANGE_START_TAG, "last": RANGE_END_TAG}
    tags |= {"ended": [status.value for status in ENDED]}
    return list(execute(connection, statement, who=key, **tags).scalars())


def _delete_runs(connection: Connection, runs: list[str]) -> int:
    """Delete runs; their records go last, so that a repetition finds them."""
    of_runs = "run_id = ANY(:runs)"
    changed = _delete_events(connection, of_runs, runs=runs)
    for table in ("asset_check_executions", "run_tags", "runs"):
        changed += execute(connection, f"DELETE FROM {table} WHERE {of_runs}", runs=runs).rowcount if runs else 0
    return changed


def _delete_partition(connection: Connection, key: str) -> int:
    statement = "DELETE FROM asset_check_executions WHERE partition = :key"
    return _delete_events(connection, "partition = :key", key=key) + execute(connection, statement, key=key).rowcount


def _delete_events(connection: Connection, condition: str, **values: Any) -> int:
    statement = f"""
        WITH gone AS (DELETE FROM event_logs WHERE {condition} RETURNING id),
        along AS (DELETE FROM asset_event_tags t USING gone WHERE t.event_id = gone.id)
        SELECT count(*) FROM gone"""
    return execute(connection, statement, **values).scalar_one()


def _redact_events(connection: Connection, redactor: Redactor) -> int:
    """Delete lines of logs that name the person, and take the name out of events."""
    changed = 0
    for rows in _named(connection, "event_logs", "event", redactor):
        lines: list[int] = []
        for row in rows:
            event = json.loads(row["text"])
            if event.get("dagster_event") is None and redactor.is_named_in(event.get("user_message") or ""):
                lines.append(row["key"])
            else:
                changed += _update(connection, "event_logs", "event", row, redactor)
        changed += execute(connection, "DELETE FROM event_logs WHERE id = ANY(:lines)", lines=lines).rowcount
    return changed


def _renew_newest(connection: Connection, redactor: Redactor) -> int:
    """Let assets whose newest event is kept with the asset, and names the person, keep what is there now."""
    changed = 0
    for rows in _named(connection, "asset_keys", "last_materialization", redactor):
        for row in rows:
            statement = """
                SELECT e.id, e.event, e.run_id FROM event_logs e JOIN asset_keys a USING (asset_key)
                WHERE a.id = :id AND e.dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY e.id DESC LIMIT 1"""
            newest = execute(connection, statement, id=row["key"]).first()
            record: str | None = None
            if newest is not None:
                record = stored_record(newest.id, newest.event)
            statement = "UPDATE asset_keys SET last_materialization = :record WHERE id = :id"
            if record != row["text"]:
                changed += execute(connection, statement, record=record, id=row["key"]).rowcount
    return changed


def _redact_column(connection: Connection, table: str, column: str, redactor: Redactor) -> int:
    return sum(
        _update(connection, table, column, row, redactor)
        for rows in _named(connection, table, column, redactor)
        for row in rows
    )


def _update(connection: Connection, table: str, column: str, row: dict[str, Any], redactor: Redactor) -> int:
    text = redactor.text(row["text"])
    if text == row["text"]:
        return 0
    # Not over what was written meanwhile.
    statement = f"UPDATE {table} SET {column} = :text WHERE id = :key AND {column} = :before"
    return execute(connection, statement, text=text, key=row["key"], before=row["text"]).rowcount


def _named(connection: Connection, table: str, column: str, redactor: Redactor) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of rows that may name the person: ``key`` and ``text``."""
    needles = [*redactor.needles, *([_COMPRESSED_MARK] if column in _MAY_BE_COMPRESSED else [])]
    named = " OR ".join(f"position(:needle{number} IN {column}) > 0" for number in range(len(needles)))
    statement = f"""
        SELECT id AS key, {column} AS text FROM {table} WHERE id > :after AND ({named}) ORDER BY id LIMIT {BATCH}"""
    values = {f"needle{number}": needle for number, needle in enumerate(needles)}
    after = 0
    while rows := read_rows(connection, statement, after=after, **values):
        yield rows
        after = rows[-1]["key"]
