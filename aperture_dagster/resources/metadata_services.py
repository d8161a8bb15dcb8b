"""The services that know something of titles: each opened for one process at a time, within its limit and its quota."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from aperture_dagster.library.sources import MDBLIST, OMDB, TMDB, TMDB_IMAGES, Source
from aperture_dagster.resources.errors import QuotaSpent, ServiceBusy, ServiceNotConfigured
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from aperture_dagster.resources.mdblist import MdbList
    from aperture_dagster.resources.omdb import Omdb
    from aperture_dagster.resources.rate_limit import Pacer
    from aperture_dagster.resources.tmdb import Tmdb
    from aperture_dagster.resources.tmdb_images import TmdbImages

Client = TypeVar("Client", "Tmdb", "Omdb", "MdbList", "TmdbImages")


class _Allowed(TypedDict):
    limit: int
    told: bool


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


class MetadataService(Generic[Client]):
    """A service of facts about titles, when there is a key for it."""

    source: Source

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self.quota: QuotaLedger | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        key = self._key
        return key is not None and bool(key.get_secret_value())

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        raise NotImplementedError

    @contextmanager
    def open(
        self, *, waiting: Callable[[float], None] = lambda seconds: None, patience_seconds: float | None = None
    ) -> Iterator[Client]:
        """A client of the service, which no other process uses meanwhile: its limit is one for all of them.

        Args:
            waiting: told about once a second while another process uses it, with the seconds so far.
            patience_seconds: how long to wait for that; None waits as long as it takes.

        Raises:
            ServiceNotConfigured: there is no key.
            ServiceBusy: another process still uses it after that time.
        """
        key = self._key
        if key is None or not key.get_secret_value():
            raise ServiceNotConfigured(f"{self.source.key_setting} is not set")
        with ExitStack() as stack:
            try:
                stack.enter_context(
                    self._database.lease(self.source.name, waiting=waiting, patience_seconds=patience_seconds)
                )
            except TimeoutError:
                raise ServiceBusy(f"{self.source.label} is being asked by another run now") from None
            # Made only now: the pacer's first request waits one spacing, for whoever had the service before.
            client = self._connect(key.get_secret_value(), self._pacer(), self.quota)
            stack.callback(client.close)
            yield client

    @contextmanager
    def open_without_database(self) -> Iterator[Client]:
        """A client that nothing is counted for, to look at the service when the database is down.

        Raises:
            ServiceNotConfigured: there is no key.
        """
        key = self._key
        if key is None or not key.get_secret_value():
            raise ServiceNotConfigured(f"{self.source.key_setting} is not set")
        client = self._connect(key.get_secret_value(), None, None)
        try:
            yield client
        finally:
            client.close()

    @property
    def _key(self) -> SecretStr | None:
        raise NotImplementedError

    def _pacer(self) -> Pacer | None:
        return None

    def _connect(self, key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> Client:
        raise NotImplementedError


class TmdbService(MetadataService["Tmdb"]):
    """TMDb, when there is a key."""

    source = TMDB

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        return self._settings.tmdb_concurrency

    @property
    def _key(self) -> SecretStr | None:
        return self._settings.tmdb_api_key

    def _pacer(self) -> Pacer:
        from aperture_dagster.resources.rate_limit import Pacer

        return Pacer(self._settings.tmdb_requests, self._settings.tmdb_period_seconds)

    def _connect(self, key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> Tmdb:
        from aperture_dagster.resources.tmdb import Tmdb

        settings = self._settings
        return Tmdb.connect(
            settings.tmdb_url,
            key,
            language=settings.tmdb_language,
            pacer=pacer,
            concurrency=settings.tmdb_concurrency,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )


class OmdbService(MetadataService["Omdb"]):
    """OMDb, when there is a key; its quota is counted here, for it never tells."""

    source = OMDB

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        super().__init__(settings, database, clock)
        self.quota = QuotaLedger(database, clock, OMDB, settings.omdb_daily_limit)

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        return self._settings.omdb_concurrency

    @property
    def _key(self) -> SecretStr | None:
        return self._settings.omdb_api_key

    def _connect(self, key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> Omdb:
        from aperture_dagster.resources.omdb import Omdb

        settings = self._settings
        return Omdb.connect(
            settings.omdb_url,
            key,
            quota=quota,
            concurrency=settings.omdb_concurrency,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )


class MdbListService(MetadataService["MdbList"]):
    """MDBList, when there is a key; what it says of its quota is taken for the truth."""

    source = MDBLIST

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        super().__init__(settings, database, clock)
        self.quota = QuotaLedger(database, clock, MDBLIST, settings.mdblist_daily_limit, told=True)

    @property
    def concurrency(self) -> int:
        """One: a batch holds a hundred titles, and its size may have to change."""
        return 1

    @property
    def _key(self) -> SecretStr | None:
        return self._settings.mdblist_api_key

    def _pacer(self) -> Pacer:
        from aperture_dagster.resources.rate_limit import Pacer

        return Pacer(self._settings.mdblist_requests, self._settings.mdblist_period_seconds)

    def _connect(self, key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> MdbList:
        from aperture_dagster.resources.mdblist import MdbList

        settings = self._settings
        return MdbList.connect(
            settings.mdblist_url,
            key,
            quota=quota,
            told=quota.told if quota is not None else None,
            pacer=pacer,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )


class TmdbImageService(MetadataService["TmdbImages"]):
    """TMDb's pictures. They need no key, but what is to be fetched only TMDb says, for which there must be one."""

    source = TMDB_IMAGES

    @property
    def concurrency(self) -> int:
        """Downloads that may be under way at once."""
        return self._settings.logo_concurrency

    @property
    def _key(self) -> SecretStr | None:
        return self._settings.tmdb_api_key

    def _connect(self, key: str, pacer: Pacer | None, quota: QuotaLedger | None) -> TmdbImages:
        from aperture_dagster.resources.tmdb_images import TmdbImages

        settings = self._settings
        return TmdbImages.connect(
            settings.tmdb_image_url,
            concurrency=settings.logo_concurrency,
            largest_bytes=int(settings.logo_largest_megabytes * 1_000_000),
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
