"""What a clock that was ahead leaves in Dagster: ticks and times in its storage, and the waits of a running daemon.

Dagster compares the last tick of each sensor and schedule with now, so none would tick until the date of a tick that a
clock wrote when it was a year ahead. What is dated in the future therefore counts as never written, and the next tick
replaces it. Nothing is rewritten here: by a clock that is behind, everything looks that way.

A daemon that runs while its clock is set back waits in memory for times that are far away now: its loops neither work
nor write heartbeats. It ends, and whoever keeps it alive starts it again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

# Dagster exports none of these. Its time is that of tests, too.
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, SensorInstigatorData
from dagster._time import get_current_timestamp

from aperture_dagster.library.moments import SKEW, FutureDates, span_in_words
from aperture_dagster.storage.queries import read_rows

LOOK_SECONDS = 10.0
MOST_SET_BACK_SECONDS = 60.0
"""Every loop of the daemon waits that much longer, or its heartbeats come as much later, without looking dead."""
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
    """Return the time after which Dagster's own dates count as those of a wrong clock, in seconds since the epoch."""
    return get_current_timestamp() + SKEW.total_seconds()


def without_future(state: InstigatorState) -> InstigatorState:
    """Return the state of a sensor or schedule as if what is dated in the future had never been written.

    A schedule that was switched on at such a date counts as switched on now, and waits for its next time.
    """
    data, latest = state.instigator_data, latest_believed()
    if data is None or all(not isinstance(value, float) or value <= latest for value in data):
        return state
    past = {name: None if isinstance(value, float) and value > latest else value for name, value in _fields(data)}
    if isinstance(data, ScheduleInstigatorData):
        past["start_timestamp"] = past["start_timestamp"] or get_current_timestamp()
    return state.with_data(data._replace(**past))


def _fields(data: SensorInstigatorData | ScheduleInstigatorData) -> list[tuple[str, object]]:
    return list(data._asdict().items())


class SetBackWatch:
    """Ends the process when its clock is set back, by comparing it with the one that counts the seconds since the boot.

    Args:
        clock: the time, in seconds since the epoch.
        steady: seconds, which go on whatever the clock does. They stand still while the computer sleeps.
        end: what ends the process.
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
            "The clock was set back by %s: the daemon ends, because its loops would wait for times that are far away "
            "now. `aperture up` and service managers start it again.",
            span_in_words(timedelta(seconds=back)),
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
