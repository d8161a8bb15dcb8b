"""Repeats what one day recorded in Dagster's database: the same kinds of rows, of other runs and later days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from sqlalchemy import Engine, text

# The tables that grow, each after those that it refers to.
TABLES = (
    "bulk_actions", "backfill_tags", "runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions",
    "job_ticks", "asset_daemon_asset_evaluations",
)  # fmt: skip
RUN = "left(run_id, 24) || lpad(to_hex(n), 12, '0')"
# How columns change on the nth day after; all others stay as they are.
SHIFTED = {
    "run_id": RUN,
    "event_id": "event_id + n * :span",
    "evaluation_event_storage_id": "evaluation_event_storage_id + n * :span",
    "materialization_event_storage_id": "materialization_event_storage_id + n * :span",
    "evaluation_id": "evaluation_id + n * :evaluations",
    "backfill_id": "backfill_id || '-' || n",
    "key": "key",
    # Days are partitions, too.
    "partition": r"CASE WHEN partition ~ '^\d{4}-\d\d-\d\d$' THEN (partition::date + n)::text ELSE partition END",
    "start_time": "start_time + n * 86400.0",
    "end_time": "end_time + n * 86400.0",
}
TIMES = ("timestamp", "create_timestamp", "update_timestamp", "evaluation_event_timestamp", "event_timestamp")
# Looks of the sensors on an idle day: the simulation looks less often than the daemons do.
LOOKS_A_DAY = 10_800


class DagsterDays:
    """The rows that a day added, as a pattern for later days."""

    def __init__(self, instance: dg.DagsterInstance, engine: Engine) -> None:
        self._instance, self._engine = instance, engine
        self._began = {table: self._newest(table) for table in TABLES}

    def take(self) -> dict[str, int]:
        """Keep what was added since this was made as the pattern; return the number of rows by table."""
        self._do("CREATE SCHEMA IF NOT EXISTS pattern")
        taken = {}
        for table in TABLES:
            since = self._began[table]
            self._do(f"CREATE TABLE pattern.{table} AS SELECT * FROM public.{table} WHERE id > {since}")
        # They are added by themselves, at the rate of the real daemons.
        self._do("CREATE TABLE pattern.looks AS SELECT * FROM pattern.job_ticks WHERE status = 'SKIPPED'")
        self._do("DELETE FROM pattern.job_ticks WHERE status = 'SKIPPED'")
        for table in TABLES:
            taken[table] = self._one(f"SELECT count(*) FROM pattern.{table}")
        # With room for the events of housekeeping itself.
        self._span = self._one("SELECT max(id) - min(id) + 1000 FROM pattern.event_logs")
        # By the database's clock, which is not simulated.
        self._do("UPDATE pattern.asset_daemon_asset_evaluations SET create_timestamp = "
                 "(SELECT max(timestamp) FROM pattern.event_logs)")  # fmt: skip
        return taken

    def repeat(self, first: int, last: int) -> None:
        """Add the rows of the days from ``first`` to ``last``, counted from the pattern's own day."""
        values = {"first": first, "last": last, "span": self._span, "evaluations": 100_000}
        for table in TABLES:
            columns = [row[0] for row in self._rows(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'pattern' AND table_name = :t "
                "ORDER BY ordinal_position", t=table)]  # fmt: skip
            shifted = {name: self._shifted(table, name) for name in columns}
            if table != "event_logs":
                del shifted["id"]
            names = ", ".join(f'"{name}"' for name in shifted)
            self._do(
                f"INSERT INTO public.{table} ({names}) SELECT {', '.join(shifted.values())} FROM pattern.{table} "
                "CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS n ORDER BY n, id",
                **values,
            )
        self._do("SELECT setval('event_logs_id_seq', (SELECT max(id) FROM event_logs))")

    def look(self, moment: datetime) -> None:
        """Add a day's idle looks of the sensors, and purge ticks and evaluations as Dagster's daemons do."""
        self._do(
            "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body) "
            "SELECT t.job_origin_id, t.selector_id, t.status, t.type, :moment - n * interval '8 seconds', t.tick_body "
            "FROM (SELECT * FROM pattern.looks WHERE type = 'SENSOR' LIMIT 100) t "
            "CROSS JOIN generate_series(1, CAST(:each AS int)) AS n",
            moment=moment.replace(tzinfo=None),
            each=LOOKS_A_DAY // 100,
        )
        storage = self._instance.schedule_storage
        assert storage is not None
        ticks = "SELECT DISTINCT job_origin_id, selector_id, type FROM job_ticks"
        for origin, selector, kind in self._rows(ticks):
            for status, days in self._instance.get_tick_retention_settings(InstigatorType(kind)).items():
                if days >= 0:
                    before = (moment - timedelta(days=days)).timestamp()
                    self._instance.purge_ticks(origin, selector, before, [status])
        # The time between two nights is enough for autovacuum; that between two replayed weeks is not.
        self._do("VACUUM")
        storage.purge_asset_evaluations(before=(moment - timedelta(days=30)).timestamp())

    def size(self) -> int:
        """Return the bytes of the database, without the pattern."""
        pattern = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND "
        pattern += "relnamespace = 'pattern'::regnamespace"
        return int(self._one("SELECT pg_database_size(current_database())") - self._one(pattern))

    def rows(self, table: str) -> int:
        """Count the rows of a table."""
        return self._one(f"SELECT count(*) FROM public.{table}")

    def latest(self) -> datetime:
        """Return the time of the newest event."""
        return self._one("SELECT max(timestamp) FROM event_logs").replace(tzinfo=UTC)

    def _shifted(self, table: str, column: str) -> str:
        if column == "id":
            return "id + n * :span"
        if column == "key" and table == "bulk_actions":
            return "key || '-' || n"
        if column == "value" and table == "run_tags":
            return "CASE WHEN key = 'dagster/backfill' THEN value || '-' || n ELSE value END"
        if column in TIMES:
            return f"{column} + n * interval '1 day'"
        return SHIFTED.get(column, f'"{column}"')

    def _newest(self, table: str) -> int:
        return self._one(f"SELECT coalesce(max(id), 0) FROM {table}")

    def _one(self, statement: str, **values: Any) -> Any:
        ((value,),) = self._rows(statement, **values)
        return value

    def _rows(self, statement: str, **values: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), values))

    def _do(self, statement: str, **values: Any) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement), values)
