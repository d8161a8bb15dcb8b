"""Services that are asked about items: how each is declared, and what assets get of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import QuotaSpent, ServiceBusy, ServiceNotConfigured
from aperture_dagster.http.rate_limit import Pacer
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.worklist import queue as services
from aperture_dagster.worklist.queue import Source

# Daily quotas of services, kept in the database, where all processes and restarts count together.
#
# Requests are counted before they are sent. Counting each in a transaction of its own takes more time than the
# request, so a ledger takes several at once, and gives back those that were not sent. If the process is killed, these
# count as used: at most `BLOCK` requests of a day are lost, and none is sent beyond the quota.


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
                    taken = services.spend(connection, self._service, day=day, requests=self._block, **self._limit)
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
                services.give_back(connection, self._service, day=self._taken_on, requests=unsent)

    def report(self, limit: int, remaining: int) -> None:
        """Record the service's own numbers for the day of the last request: requests allowed, and how many are left."""
        used = min(max(limit - remaining, 0), limit)
        with self._database.transaction() as connection:
            services.correct(connection, self._service, day=self._counted_day, limit=limit, used=used)

    def exhaust(self) -> None:
        """Record that nothing is left of the day of the last request, as the service says."""
        with self._lock:
            # Not given back: nothing is left, whatever was not sent yet.
            self._taken = 0
        with self._database.transaction() as connection:
            services.exhaust(connection, self._service, day=self._counted_day, **self._limit)

    def usage(self) -> tuple[int, int]:
        """Return the requests used today, and how many are allowed."""
        self.give_back()
        with self._database.transaction() as connection:
            return services.quota_of(connection, self._service, day=self.day, **self._limit)


Client = TypeVar("Client", bound=ServiceClient)


@dataclass(frozen=True, kw_only=True)
class Service(Source, Generic[Client]):
    """The declaration of a service.

    Args:
        connect: makes a client from the settings, the key and options of the transport.
        key_setting: how an operator sets the key.
        without_key: what is missing without the key, as the end of a sentence.
        language: in which it is asked, if answers differ by language.
        concurrency: requests that may be under way at once.
        rate: requests, and the seconds within which they may be sent, if that is limited.
        daily_limit: requests per day, if limited; with ``reports_quota`` only until the service reports its own.
    """

    connect: Callable[..., Client]
    key: Callable[[Settings], SecretStr | None]
    key_setting: str
    url: Callable[[Settings], str]
    without_key: str
    language: Callable[[Settings], str] | None = None
    concurrency: int = 1
    rate: Callable[[Settings], tuple[int, float]] | None = None
    daily_limit: Callable[[Settings], int] | None = None
    reports_quota: bool = False


class MeteredService(Generic[Client]):
    """A service as configured, used by one process at a time so that its rate limit and quota are kept."""

    def __init__(self, service: Service[Client], settings: Settings, database: Database, clock: Clock) -> None:
        key = service.key(settings)
        self.database = database
        self.concurrency = service.concurrency
        self.quota: QuotaLedger | None = None
        if service.daily_limit is not None:
            limit, reported = service.daily_limit(settings), service.reports_quota
            self.quota = QuotaLedger(
                database,
                clock,
                service,
                limit,
                reported=reported,
                # What the service reports includes those sent, and would be mixed up with those taken in advance.
                block=1 if reported else BLOCK,
            )
        self._service, self._settings = service, settings
        self._key = key.get_secret_value() if key is not None else ""

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    @contextmanager
    def open(
        self, *, waiting: Callable[[float], None] = lambda seconds: None, patience_seconds: float | None = None
    ) -> Iterator[Client]:
        """Connect to the service, alone among all processes; the arguments are those of :func:`service_lease`.

        Raises:
            ServiceNotConfigured: there is no key.
            ServiceBusy: another process still uses it after that time.
        """
        service = self._service
        self._require_key()
        with ExitStack() as stack:
            try:
                lease = self.database.lease(service.name, waiting=waiting, patience_seconds=patience_seconds)
                stack.enter_context(lease)
            except TimeoutError:
                raise ServiceBusy(f"{service.label} is in use by another run now") from None
            # Created only now: the pacer delays the first request, because the previous user may have just sent one.
            pacer = Pacer(*service.rate(self._settings)) if service.rate is not None else None
            if self.quota is not None:
                # While nobody else uses the service: they would find the quota used up.
                stack.callback(_give_back, self.quota)
            yield stack.enter_context(closing(self._connect(pacer=pacer, quota=self.quota)))

    @contextmanager
    def open_without_database(self) -> Iterator[Client]:
        """Connect without lease, rate limit and quota, to check the service while the database is down.

        Raises:
            ServiceNotConfigured: there is no key.
        """
        self._require_key()
        with closing(self._connect()) as client:
            yield client

    def _connect(self, **limits: Any) -> Client:
        settings = self._settings
        return self._service.connect(
            settings,
            self._key,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
            **limits,
        )

    def _require_key(self) -> None:
        if not self._key:
            raise ServiceNotConfigured(f"{self._service.key_setting} is not set")


def _give_back(quota: QuotaLedger) -> None:
    # If the database is down, which is reported elsewhere, a few unsent requests of the day count as used.
    with suppress(DatabaseError):
        quota.give_back()
