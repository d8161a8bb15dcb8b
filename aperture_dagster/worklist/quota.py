"""Daily quotas of services, kept in the database, where all processes and restarts count together.

Requests are counted before they are sent. Counting each in a transaction of its own takes more time than the
request, so a ledger takes several at once, and gives back those that were not sent. If the process is killed, these
count as used: at most `BLOCK` requests of a day are lost, and none is sent beyond the quota.
"""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.http.errors import QuotaSpent
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute
from aperture_dagster.worklist.source import Source

# Requests that are taken from the quota at once, where the service does not report what is left.
BLOCK = 20


class QuotaLedger:
    """The quota of a service for each day (UTC).

    ``limit`` is only used until the service has ``reported`` its own. ``block`` requests are taken from the quota at
    once; :meth:`give_back` returns those that were not sent.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        service: Source,
        limit: int,
        *,
        reported: bool = False,
        block: int = 1,
    ) -> None:
        self._database, self._clock, self._service, self._label = database, clock, service.name, service.label
        self._limit: dict[str, Any] = {"limit": limit, "reported": reported}
        self._last_request_on: date | None = None
        self._block = block
        # Requests that were taken from the quota of a day and not sent yet.
        self._taken, self._taken_on = 0, date.min
        self._lock = threading.Lock()

    @property
    def day(self) -> date:
        """Today, in UTC."""
        return self._clock.now().astimezone(UTC).date()

    @property
    def resumes_at(self) -> datetime:
        """The beginning of the day after the last request."""
        return datetime.combine(self._counted_day + timedelta(days=1), time(), tzinfo=UTC)

    @property
    def _counted_day(self) -> date:
        # An answer concerns the day of its request, which may have ended by now.
        return self._last_request_on or self.day

    def spend(self) -> None:
        """Take one request from today's quota, before it is sent. Raises QuotaSpent if there is none left."""
        with self._lock:
            day = self._last_request_on = self.day
            if self._taken_on != day:
                self._give_back()
            if not self._taken:
                with self._database.transaction() as connection:
                    taken = spend(connection, self._service, day=day, requests=self._block, **self._limit)
                if not taken:
                    raise QuotaSpent(f"{self._label}: today's requests are used up")
                self._taken, self._taken_on = taken, day
            self._taken -= 1

    def give_back(self) -> None:
        """Return the requests that were taken from the quota and not sent."""
        with self._lock:
            self._give_back()

    def _give_back(self) -> None:
        if self._taken:
            unsent, self._taken = self._taken, 0
            with self._database.transaction() as connection:
                give_back(connection, self._service, day=self._taken_on, requests=unsent)

    def report(self, limit: int, remaining: int) -> None:
        """Record the service's own numbers for the day of the last request: requests allowed, and how many are left."""
        used = min(max(limit - remaining, 0), limit)
        with self._database.transaction() as connection:
            correct(connection, self._service, day=self._counted_day, limit=limit, used=used)

    def exhaust(self) -> None:
        """Record that nothing is left of the day of the last request, as the service says."""
        with self._lock:
            # Not given back: nothing is left, whatever was not sent yet.
            self._taken = 0
        with self._database.transaction() as connection:
            exhaust(connection, self._service, day=self._counted_day, **self._limit)

    def usage(self) -> tuple[int, int]:
        """Return the requests used today, and how many are allowed."""
        self.give_back()
        with self._database.transaction() as connection:
            return quota_of(connection, self._service, day=self.day, **self._limit)


_LIMIT = 'coalesce(CAST(:own AS integer), q."limit")'


def spend(connection: Connection, service: str, *, day: date, limit: int, reported: bool, requests: int = 1) -> int:
    """Count up to so many requests against the day's quota; return how many of them are left, 0 if it is used up.

    ``reported``: ``limit`` applies only until the service reports its own (:func:`correct`). Otherwise it is a setting,
    which may have changed since the first request of the day.
    """
    own = None if reported else limit
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, 0, :limit)
        ON CONFLICT (service, day) DO NOTHING"""
    execute(connection, statement, service=service, day=day, limit=limit)
    # Locked first, so that what is left stays so until it is taken.
    statement = f"""
        WITH day AS (SELECT service, day, {_LIMIT} AS allowed, least(:requests, {_LIMIT} - used) AS taken FROM quota q
          WHERE service = :service AND day = :day FOR UPDATE)
        UPDATE quota q SET used = q.used + d.taken, "limit" = d.allowed, updated_at = now() FROM day d
        WHERE q.service = d.service AND q.day = d.day AND d.taken > 0 RETURNING d.taken"""
    return execute(connection, statement, service=service, day=day, requests=requests, own=own).scalar() or 0


def give_back(connection: Connection, service: str, *, day: date, requests: int) -> None:
    """Take back the count of requests that were not sent."""
    statement = """
        UPDATE quota SET used = greatest(used - :requests, 0), updated_at = now()
        WHERE service = :service AND day = :day"""
    execute(connection, statement, service=service, day=day, requests=requests)


def correct(connection: Connection, service: str, *, day: date, limit: int, used: int) -> None:
    """Record the day's limit and usage as reported by the service."""
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, :used, :limit)
        ON CONFLICT (service, day) DO UPDATE SET used = :used, "limit" = :limit, updated_at = now()
        WHERE (q.used, q."limit") IS DISTINCT FROM (excluded.used, excluded."limit")"""
    execute(connection, statement, service=service, day=day, used=used, limit=limit)


def exhaust(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> None:
    """Record that the service reports the day's quota as used up. ``limit``, ``reported``: as in :func:`spend`."""
    used, limit = quota_of(connection, service, day=day, limit=limit, reported=reported)
    correct(connection, service, day=day, limit=limit, used=max(used, limit))


def quota_of(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> tuple[int, int]:
    """Return the requests used on this day, and the limit. ``limit``, ``reported``: as in :func:`spend`."""
    statement = f"SELECT used, {_LIMIT} FROM quota q WHERE service = :service AND day = :day"
    row = execute(connection, statement, service=service, day=day, own=None if reported else limit).one_or_none()
    return (row[0], row[1]) if row else (0, limit)
