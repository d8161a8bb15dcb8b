"""What Dagster's database has grown by."""

from __future__ import annotations

import json
import statistics
from datetime import timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Engine, text
from verdict import Verdict

from week.daemons import LOOK
from week.household import Happening

# What looks of schedules, sensors and automation leave behind; the simulation looks less often than the daemons do.
TABLES_OF_LOOKS = ("job_ticks", "jobs", "instigators", "daemon_heartbeats", "kvs")
TOTALS = {
    "runs": "runs",
    "events": "events",
    "event_bytes": "bytes of events",
    "bytes": "bytes stored",
    "wal_bytes": "bytes of WAL",
}
LIMITED, MOST_EVENT_BYTES = "event_bytes", 1_500_000
PLAY, VECTORS, LISTS = "play to list", "new title to vectors", "new title to everybody's lists"
# New titles are read at night, and plays are looked at every two hours.
MOST_HOURS = {PLAY: 2.5, VECTORS: 15.5, LISTS: 24.0}


class Meter:
    """Counts what Dagster's database holds, and what was written since the last reading."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Nothing here has to survive a power cut.
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        self._last = self._read()

    def _rows(self, statement: str, **values: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), values))

    def _read(self) -> dict[str, Any]:
        tables = [row[0] for row in self._rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        sizes = {
            table: int(self._rows(f'SELECT coalesce(sum(pg_column_size(t)), 0) FROM "{table}" t')[0][0])
            for table in tables
        }
        ((newest, wal),) = self._rows(
            "SELECT (SELECT coalesce(max(id), 0) FROM event_logs), pg_current_wal_lsn() - '0/0'::pg_lsn"
        )
        return {"sizes": sizes, "newest": int(newest), "wal": int(wal)}

    def read(self, runs: list[dg.DagsterRun]) -> dict[str, Any]:
        """Return what was written since the last reading; ``runs`` are those made since.

        Rows count as they are stored, which is compressed; events also as serialized.
        """
        before, self._last = self._last, self._read()
        grown = {name: size - before["sizes"].get(name, 0) for name, size in self._last["sizes"].items()}
        ((events, event_bytes),) = self._rows(
            "SELECT count(*), coalesce(sum(octet_length(event)), 0) FROM event_logs WHERE id > :id",
            id=before["newest"],
        )
        looks = sum(size for name, size in grown.items() if name in TABLES_OF_LOOKS)
        return {
            "runs": len(runs),
            "events": events,
            "event_bytes": int(event_bytes),
            "bytes": sum(grown.values()) - looks,
            "look_bytes": looks,
            "wal_bytes": self._last["wal"] - before["wal"],
        }

    def times(self, asset: str, partition: str | None = None, *, kind: str = "ASSET_MATERIALIZATION") -> list[float]:
        """Return the times at which an asset, or one of its partitions, was materialized."""
        rows = self._rows(
            "SELECT extract(epoch FROM timestamp) FROM event_logs WHERE dagster_event_type = :kind "
            "AND asset_key = :key AND partition IS NOT DISTINCT FROM :partition ORDER BY id",
            kind=kind,
            key=json.dumps([asset]),
            partition=partition,
        )
        return [float(row[0]) for row in rows]


def _label(run: dg.DagsterRun) -> str:
    """A job's name, or the assets of a run that automation requested."""
    if not run.job_name.startswith("__"):
        return run.job_name
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    checks = len(run.asset_check_selection or ()) if not assets else 0
    return f"automation: {', '.join(assets) or f'{checks} checks'}"


def failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Say what failed in a run."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.get_dagster_event() for record in records]
    said = [event.step_failure_data.error_display_string[:2000] for event in events]
    return f"{_label(run)} {run.status.value}: {' | '.join(said)}"


def hours_to_show(meter: Meter, events: list[Happening], users: list[str]) -> dict[str, list[float | None]]:
    """Hours from each play to its user's list, and from each new title to vectors and then lists made with it.

    Titles of the last day are left out: the library is read at night.
    """

    def after(moment: float | None, times: list[float]) -> float | None:
        return None if moment is None else next((time for time in times if time > moment), None)

    lists = {user: meter.times("recommendations", user) for user in users}
    # A run that finds a list unchanged may record nothing but that it was planned.
    attempts = {user: meter.times("recommendations", user, kind="ASSET_MATERIALIZATION_PLANNED") for user in users}
    read = {"movie": meter.times("movies"), "series": meter.times("episodes")}
    vectors = meter.times("embeddings")
    moments: dict[str, list[tuple[float, float | None]]] = {name: [] for name in (PLAY, VECTORS, LISTS)}
    for event in events:
        at = event.at.timestamp()
        if event.operation == "play":
            moments[PLAY].append((at, after(at, lists[event.body["user"]])))
        elif event.at.date() < events[-1].at.date():
            embedded = after(after(at, read[event.body["media_type"]]), vectors)
            made = [after(embedded, attempts[user]) for user in users]
            moments[VECTORS].append((at, embedded))
            moments[LISTS].append((at, None if None in made else max(time for time in made if time is not None)))
    return {
        name: [None if seen is None else round((seen - at) / 3600, 2) for at, seen in pairs]
        for name, pairs in moments.items()
    }


def report(now: dict[str, Any], verdict: Verdict) -> None:
    """Print each day's totals, and judge the figures."""
    print(f"\n{'':<10}" + "".join(f"{title:>18}" for title in TOTALS.values()))
    for number, day in enumerate(now["days"], start=1):
        print(f"{f'day {number}':<10}" + "".join(f"{day[name]:>18,}" for name in TOTALS))
    means = {name: statistics.mean(day[name] for day in now["days"]) for name in TOTALS}
    print(f"{'a day':<10}" + "".join(f"{means[name]:>18,.0f}" for name in TOTALS))
    size = now["bytes_of_a_quiet_look"]
    a_day = size * (timedelta(days=1) / LOOK) / 1e6
    print(f"\na look of all sensors and schedules when nothing happens: {size:,.0f} bytes, {a_day:,.1f} MB a day\n")
    verdict.most(f"{TOTALS[LIMITED]} a day", means[LIMITED], MOST_EVENT_BYTES)
    for name, hours in now["hours"].items():
        known, never = [hour for hour in hours if hour is not None] or [0.0], hours.count(None)
        described = f"median {statistics.median(known):.1f}, longest {max(known):.1f}, never {never}"
        verdict.holds(f"hours from {name}: {described}", not never and max(known) <= MOST_HOURS[name])
