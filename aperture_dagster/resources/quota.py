"""Daily quotas of services, kept in the database, where all processes and restarts count together."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import QuotaSpent
from aperture_dagster.storage import services


class QuotaLedger:
    """The quota of a service for each day (UTC); ``limit`` is only used until the service has ``reported`` its own."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        service: str,
        limit: int,
        *,
        label: str | None = None,
        reported: bool = False,
    ) -> None:
        self._database, self._clock, self._service, self._label = database, clock, service, label or service
        self._limit: dict[str, Any] = {"limit": limit, "reported": reported}
        self._last_request_on: date | None = None

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
        day = self._last_request_on = self.day
        with self._database.transaction() as connection:
            is_left = services.spend(connection, self._service, day=day, **self._limit)
        if not is_left:
            raise QuotaSpent(f"{self._label}: today's requests are used up")

    def report(self, limit: int, remaining: int) -> None:
        """Record the service's own numbers for the day of the last request: requests allowed, and how many are left."""
        used = min(max(limit - remaining, 0), limit)
        with self._database.transaction() as connection:
            services.correct(connection, self._service, day=self._counted_day, limit=limit, used=used)

    def exhaust(self) -> None:
        """Record that nothing is left of the day of the last request, as the service says."""
        with self._database.transaction() as connection:
            services.exhaust(connection, self._service, day=self._counted_day, **self._limit)

    def usage(self) -> tuple[int, int]:
        """Return the requests used today, and how many are allowed."""
        with self._database.transaction() as connection:
            return services.quota_of(connection, self._service, day=self.day, **self._limit)
