"""Services of facts about titles, each opened by one process at a time and kept within its limit and its quota."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from aperture_dagster.library.sources import MDBLIST, OMDB, TMDB, TMDB_IMAGES, Source
from aperture_dagster.resources.errors import QuotaSpent, ServiceBusy, ServiceNotConfigured
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from aperture_dagster.resources.client import ServiceClient
    from aperture_dagster.resources.mdblist import MdbList
    from aperture_dagster.resources.omdb import Omdb
    from aperture_dagster.resources.rate_limit import Pacer
    from aperture_dagster.resources.tmdb import Tmdb
    from aperture_dagster.resources.tmdb_images import TmdbImages

Client = TypeVar("Client", bound="ServiceClient")


class _Allowed(TypedDict):
    limit: int
    told: bool


class _Retries(TypedDict):
    attempts: int
    first_wait_seconds: float


class QuotaLedger:
    """A service's quota of a day (UTC), kept in the database, where all processes and restarts count together.

    Args:
        database: where it is kept.
        clock: says which day it is.
        source: the service.
        limit: requests a day.
        told: the service says its limit itself, and ``limit`` counts only until it has.
    """

    def __init__(self, database: Database, clock: Clock, source: Source, limit: int, *, told: bool = False) -> None:
        self._database, self._clock, self._source = database, clock, source
        self._allowed: _Allowed = {"limit": limit, "told": told}
        self._asked_on: date | None = None

    @property
    def day(self) -> date:
        """The day whose quota counts now."""
        return self._clock.now().astimezone(UTC).date()

    @property
    def goes_on_at(self) -> datetime:
        """When the quota begins of the day after the last request's."""
        return datetime.combine((self._asked_on or self.day) + timedelta(days=1), time(), tzinfo=UTC)

    def spend(self) -> None:
        """Take one request from today's quota.

        Raises:
            QuotaSpent: there is none left.
        """
        from aperture_dagster.storage.services import spend

        day = self._asked_on = self.day
        with self._database.transaction() as connection:
            left = spend(connection, self._source.name, day=day, **self._allowed)
        if not left:
            raise QuotaSpent(f"{self._source.label}: today's requests are used up")

    def told(self, limit: int, remaining: int) -> None:
        """Take the service's own word: so many on the day of the last request, of which so many are left."""
        from aperture_dagster.storage.services import correct

        used = min(max(limit - remaining, 0), limit)
        with self._database.transaction() as connection:
            correct(connection, self._source.name, day=self._asked_on or self.day, limit=limit, used=used)

    def exhaust(self) -> None:
        """The service says that nothing is left of the day of the last request, which may be over by now."""
        from aperture_dagster.storage.services import exhaust

        with self._database.transaction() as connection:
            exhaust(connection, self._source.name, day=self._asked_on or self.day, **self._allowed)

    def standing(self) -> tuple[int, int]:
        """Requests used today, and how many are allowed."""
        from aperture_dagster.storage.services import quota_of

        with self._database.transaction() as connection:
            return quota_of(connection, self._source.name, day=self.day, **self._allowed)


@dataclass(frozen=True)
class MetadataService(Generic[Client]):
    """A service of facts about titles, if there is a key for it.

    Args:
        source: what it is.
        key: its key, if it is set.
        database: where its lease and its quota are kept.
        connect: makes a client from the key, the pacer and the quota.
        concurrency: requests that may be under way at once.
        rate: requests, and the seconds within which they may be sent, if that is limited.
        quota: its requests of the day, if they are limited.
    """

    source: Source
    key: SecretStr | None
    database: Database
    connect: Callable[[str, Pacer | None, QuotaLedger | None], Client]
    concurrency: int = 1
    rate: tuple[int, float] | None = None
    quota: QuotaLedger | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return self.key is not None and bool(self.key.get_secret_value())

    @contextmanager
    def open(
        self, *, waiting: Callable[[float], None] = lambda seconds: None, patience_seconds: float | None = None
    ) -> Iterator[Client]:
        """A client of the service, which no other process uses meanwhile: its limit is one for all of them.

        Args:
            waiting: called about once a second while another process uses it, with the seconds so far.
            patience_seconds: how long to wait for that; None waits as long as it takes.

        Raises:
            ServiceNotConfigured: there is no key.
            ServiceBusy: another process still uses it after that time.
        """
        from aperture_dagster.resources.rate_limit import Pacer

        key = self._key()
        with ExitStack() as stack:
            try:
                stack.enter_context(
                    self.database.lease(self.source.name, waiting=waiting, patience_seconds=patience_seconds)
                )
            except TimeoutError:
                raise ServiceBusy(f"{self.source.label} is being asked by another run now") from None
            # Made only now: the pacer's first request waits one spacing, for whoever had the service before.
            client = self.connect(key, Pacer(*self.rate) if self.rate is not None else None, self.quota)
            stack.callback(client.close)
            yield client

    @contextmanager
    def open_without_database(self) -> Iterator[Client]:
        """A client that nothing is counted for, to look at the service when the database is down.

        Raises:
            ServiceNotConfigured: there is no key.
        """
        client = self.connect(self._key(), None, None)
        try:
            yield client
        finally:
            client.close()

    def _key(self) -> str:
        if self.key is None or not self.key.get_secret_value():
            raise ServiceNotConfigured(f"{self.source.key_setting} is not set")
        return self.key.get_secret_value()


def tmdb_service(settings: Settings, database: Database) -> MetadataService[Tmdb]:
    """TMDb."""

    def connect(key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> Tmdb:
        from aperture_dagster.resources.tmdb import Tmdb

        return Tmdb.connect(
            settings.tmdb_url,
            key,
            language=settings.tmdb_language,
            pacer=pacer,
            concurrency=settings.tmdb_concurrency,
            **_retries(settings),
        )

    return MetadataService(
        TMDB,
        settings.tmdb_api_key,
        database,
        connect,
        concurrency=settings.tmdb_concurrency,
        rate=(settings.tmdb_requests, settings.tmdb_period_seconds),
    )


def omdb_service(settings: Settings, database: Database, clock: Clock) -> MetadataService[Omdb]:
    """OMDb. Its quota is counted here, since it never says what is left."""

    def connect(key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> Omdb:
        from aperture_dagster.resources.omdb import Omdb

        return Omdb.connect(
            settings.omdb_url, key, quota=quota, concurrency=settings.omdb_concurrency, **_retries(settings)
        )

    return MetadataService(
        OMDB,
        settings.omdb_api_key,
        database,
        connect,
        concurrency=settings.omdb_concurrency,
        quota=QuotaLedger(database, clock, OMDB, settings.omdb_daily_limit),
    )


def mdblist_service(settings: Settings, database: Database, clock: Clock) -> MetadataService[MdbList]:
    """MDBList. What it says of its quota counts. One request at a time, since the size of a batch may change."""

    def connect(key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> MdbList:
        from aperture_dagster.resources.mdblist import MdbList

        told = quota.told if quota is not None else None
        return MdbList.connect(settings.mdblist_url, key, quota=quota, told=told, pacer=pacer, **_retries(settings))

    return MetadataService(
        MDBLIST,
        settings.mdblist_api_key,
        database,
        connect,
        rate=(settings.mdblist_requests, settings.mdblist_period_seconds),
        quota=QuotaLedger(database, clock, MDBLIST, settings.mdblist_daily_limit, told=True),
    )


def tmdb_image_service(settings: Settings, database: Database) -> MetadataService[TmdbImages]:
    """TMDb's pictures. They need no key, but only TMDb says which there are, and for that there must be one."""

    def connect(key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> TmdbImages:
        from aperture_dagster.resources.tmdb_images import TmdbImages

        return TmdbImages.connect(
            settings.tmdb_image_url,
            concurrency=settings.logo_concurrency,
            largest_bytes=int(settings.logo_largest_megabytes * 1_000_000),
            **_retries(settings),
        )

    return MetadataService(TMDB_IMAGES, settings.tmdb_api_key, database, connect, concurrency=settings.logo_concurrency)


def _retries(settings: Settings) -> _Retries:
    return {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds}
