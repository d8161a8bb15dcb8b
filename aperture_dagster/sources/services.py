"""What is declared of a service that is asked about items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.quota import QuotaLedger
from aperture_dagster.settings import Settings
from aperture_dagster.storage.populations import Source

if TYPE_CHECKING:
    from pydantic import SecretStr

    from aperture_dagster.resources.client import ServiceClient

Client = TypeVar("Client", bound="ServiceClient")
Made = TypeVar("Made", bound="ServiceClient", covariant=True)


class Connect(Protocol[Made]):
    """A function that makes a client from the settings, the key and options of the transport.

    Import the client's module inside of it: clients load httpx, which only a request needs.
    """

    def __call__(self, settings: Settings, key: str, **options: Any) -> Made:
        """Make the client."""
        ...


@dataclass(frozen=True, kw_only=True)
class Service(Source, Generic[Client]):
    """The declaration of a service.

    Args:
        connect: makes a client.
        key: its key in the settings.
        key_setting: how an operator sets the key.
        url: its address in the settings.
        without_key: what is missing without the key, as the end of a sentence.
        concurrency: requests that may be under way at once.
        rate: requests, and the seconds within which they may be sent, if that is limited.
        daily_limit: requests per day, if they are limited.
        reports_quota: the service reports its limit itself, and ``daily_limit`` counts only until it has.
    """

    connect: Connect[Client]
    key: Callable[[Settings], SecretStr | None]
    key_setting: str
    url: Callable[[Settings], str]
    without_key: str
    concurrency: Callable[[Settings], int] = lambda settings: 1
    rate: Callable[[Settings], tuple[int, float]] | None = None
    daily_limit: Callable[[Settings], int] | None = None
    reports_quota: bool = False

    def metered(self, settings: Settings, database: Database, clock: Clock) -> MeteredService[Client]:
        """Return the service as the settings configure it, with its lease and its quota in the database."""
        quota = None
        if self.daily_limit is not None:
            limit = self.daily_limit(settings)
            quota = QuotaLedger(database, clock, self.name, limit, label=self.label, reported=self.reports_quota)
        return MeteredService(
            name=self.name,
            label=self.label,
            key=self.key(settings),
            key_setting=self.key_setting,
            database=database,
            connect=lambda key, **options: self.connect(settings, key, **options),
            concurrency=self.concurrency(settings),
            rate=self.rate(settings) if self.rate is not None else None,
            quota=quota,
            options={"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds},
        )


class Services:
    """All declared services, for assets.

    Args:
        settings: hold keys, addresses and limits.
        database: holds leases and quotas.
        clock: tells whose day's quota it is.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock

    def get(self, service: Service[Client]) -> MeteredService[Client]:
        """Return a service as the settings configure it."""
        return service.metered(self._settings, self._database, self._clock)
