"""What a clock that was ahead leaves in Dagster: ticks and times in its storage, and the waits of a running daemon.

Dagster compares the last tick of each sensor and schedule with the current time: after a tick that is dated a year
ahead, none would tick for a year. What is dated in the future therefore counts as never written, and the next tick
replaces it. Nothing is rewritten here: to a clock that is behind, everything looks as if it were in the future.

A daemon that runs while its clock is set back waits in memory for times that are far away now: its loops neither work
nor write heartbeats. It exits, and its supervisor starts it again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from aperture_dagster.instance.private import InstigatorState, ScheduleInstigatorData, get_current_timestamp
from aperture_dagster.library.moments import SKEW, FutureDates
from aperture_dagster.storage.queries import read_rows
from aperture_dagster.wording import duration

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
    data, latest = state.instigator_data, latest_believed()
    if data is None:
        return state
    given = data._asdict()
    past = {name: None if isinstance(value, float) and value > latest else value for name, value in given.items()}
    if past == given:
        return state
    if isinstance(data, ScheduleInstigatorData):
        past["start_timestamp"] = past["start_timestamp"] or get_current_timestamp()
    return state.with_data(data._replace(**past))


class SetBackWatch:
    """Ends the process when its clock is set back, which a comparison with the monotonic clock shows.

    Args:
        clock: returns the time, in seconds since the epoch.
        steady: returns seconds that pass whatever the clock does; they may pause while the computer sleeps.
        end: ends the process.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        end: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._clock, self._steady, self._end = clock, steady, end
        self._before = self._ahead()

    def start(self) -> None:
        """Look every few seconds, in a thread, for as long as the process lives."""
        threading.Thread(target=self._look_forever, name="watch of the clock", daemon=True).start()

    def look(self) -> bool:
        """End the process if the clock has been set back since the last look; return whether it was."""
        now = self._ahead()
        back, self._before = self._before - now, now
        if back <= MOST_SET_BACK_SECONDS:
            return False
        log.error(
            "The clock was set back by %s: the daemon exits, because its loops would wait for times that are far "
            "away now. `aperture up` and service managers start it again.",
            duration(back),
        )
        self._end()
        return True

    def _ahead(self) -> float:
        return self._clock() - self._steady()

    def _look_forever(self) -> None:
        while not self.look():
            time.sleep(LOOK_SECONDS)


def future_dates(instance: dg.DagsterInstance, *, now: datetime) -> list[FutureDates]:
    """Count what is dated in the future in Dagster's storage; nothing if that is not on PostgreSQL, as in tests."""
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return []
    with storage.index_connection() as connection:
        rows = read_rows(connection, _FUTURE, latest=(now + SKEW).astimezone(UTC).replace(tzinfo=None))
    return [FutureDates(row["what"], row["rows"], row["latest"].replace(tzinfo=UTC)) for row in rows]
