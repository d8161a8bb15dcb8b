"""Services that are asked about items: how each is declared, and what assets get of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import ServiceBusy, ServiceNotConfigured
from aperture_dagster.http.rate_limit import Pacer
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.quota import BLOCK, QuotaLedger
from aperture_dagster.worklist.source import Source

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
