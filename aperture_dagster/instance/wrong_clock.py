"""What a clock that was ahead leaves in Dagster: ticks and times in its storage, and the waits of a running daemon.

Dagster compares the last tick of each sensor and schedule with the current time: after a tick that is dated a year
ahead, none would tick for a year. What is dated in the future therefore counts as never written, and the next tick
replaces it. Nothing is rewritten here: to a clock that is behind, everything looks as if it were in the future.

A daemon that runs while its clock is set back waits in memory for times that are far away now: its loops neither
work nor write heartbeats. It exits, and its supervisor starts it again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.instance.private import get_current_timestamp
from aperture_dagster.model import SKEW, FutureDates, duration
from aperture_dagster.postgres.queries import read_rows

if TYPE_CHECKING:
    from aperture_dagster.instance.private import InstigatorState

LOOK_SECONDS = 10.0
MOST_SET_BACK_SECONDS = 60.0
"""A smaller step does no harm: loops and heartbeats are late by as much, which does not make the daemon look dead."""
# Dagster's columns hold UTC without a zone. Freshness and the UI go by the last materialization of an asset.
_DATED = {
    "ticks of schedules and sensors": ("job_ticks", "timestamp"),
    "runs": ("runs", "greatest(create_timestamp, update_timestamp, to_timestamp(end_time) AT TIME ZONE 'UTC')"),
    "last materializations": ("asset_keys", "last_materialization_timestamp"),
    "signs of life of the daemon": ("daemon_heartbeats", "timestamp"),
}
_FUTURE = " UNION ALL ".join(
    f"SELECT '{what}' AS what, count(*) AS rows, max({moment}) AS latest FROM {table} WHERE {moment} > :latest "
    "HAVING count(*) > 0"
    for what, (table, moment) in _DATED.items()
)
log = logging.getLogger(__name__)


def latest_believed() -> float:
    """Return the latest time, in seconds since the epoch, that Dagster's dates may have without being in the future."""
    return get_current_timestamp() + SKEW.total_seconds()


def without_future(state: InstigatorState) -> InstigatorState:
    """Return the state of a sensor or schedule without what is dated in the future.

    A schedule that was switched on at such a date counts as switched on now, and waits for its next tick.
    """
    latest = latest_believed()
    data: Any = state.instigator_data
    if data is None:
        return state
    given = data._asdict()
    past = {name: None if isinstance(value, float) and value > latest else value for name, value in given.items()}
    if past == given:
        return state
    # Those of sensors have none.
    if "start_timestamp" in past:
        past["start_timestamp"] = past["start_timestamp"] or get_current_timestamp()
    return state.with_data(data._replace(**past))


def watch_clock(
    ahead: Callable[[], float] = lambda: time.time() - time.monotonic(), end: Callable[[], None] = lambda: os._exit(1)
) -> None:
    """End the process when its clock is set back; look every few seconds until then.

    ``ahead`` tells the seconds by which the clock is ahead of one that passes steadily, whatever the clock does.
    """
    before = now = ahead()
    while before - now <= MOST_SET_BACK_SECONDS:
        before = now
        time.sleep(LOOK_SECONDS)
        now = ahead()
    log.error(
        "The clock was set back by %s: the daemon exits, because its loops would wait for times that are far away now. "
        "`aperture up` and service managers start it again.",
        duration(before - now),
    )
    end()


def future_dates(instance: dg.DagsterInstance, *, now: datetime) -> list[FutureDates]:
    """Count what is dated in the future in Dagster's storage; nothing if that is not on PostgreSQL, as in tests."""
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return []
    with storage.index_connection() as connection:
        rows = read_rows(connection, _FUTURE, latest=(now + SKEW).astimezone(UTC).replace(tzinfo=None))
    return [FutureDates(row["what"], row["rows"], row["latest"].replace(tzinfo=UTC)) for row in rows]
