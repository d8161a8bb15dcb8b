"""What the assets are handed: the database, the services and the clock, each opened when it is used.

Plain classes around the settings, so that a test makes one without Dagster, and no key shows in a run's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    Redirected,
    RequestRejected,
    ServiceNotConfigured,
    ServiceRefused,
)
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.embedder import Embedder
    from aperture_dagster.resources.media_server import MediaServer, ServerIdentity


class Clock:
    """The time, so that a test can say what time it is."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or (lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """The time now, in UTC."""
        return self._now()


class Database:
    """The product's database; opened, and its schema brought up to date, at first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept as a whole at the end of the block, or not at all.

        Raises:
            DatabaseError: the database cannot be reached or used; the message names the setting.
        """
        from aperture_dagster.storage.connection import open_engine

        with _explained(), open_engine(self._settings).begin() as connection:
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of one's own for several transactions; its temporary tables last as long as it does.

        Raises:
            DatabaseError: as for :meth:`transaction`.
        """
        from aperture_dagster.storage.connection import open_engine

        with _explained(), open_engine(self._settings).connect() as connection:
            # Closed at the end instead of going back to the pool, temporary tables and all.
            connection.detach()
            yield connection

    def lease(
        self, service: str, *, waiting: Callable[[float], None], patience_seconds: float | None = None
    ) -> AbstractContextManager[None]:
        """Use an outside service alone among all processes of this home; see
        :func:`aperture_dagster.storage.services.service_lease`.
        """
        from aperture_dagster.storage.connection import open_engine
        from aperture_dagster.storage.services import service_lease

        engine = open_engine(self._settings)
        return service_lease(engine, service, waiting=waiting, patience_seconds=patience_seconds)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn trouble with the database into an error that says what to do."""
    from aperture_dagster.storage.errors import DatabaseError, describe_trouble

    try:
        yield
    except Exception as error:
        told = describe_trouble(error)
        if told is None:
            raise
        raise DatabaseError(told) from None


class MediaServers:
    """The media server that the settings name."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @contextmanager
    def open(self) -> Iterator[MediaServer]:
        """A client of the server, which is the one that this home has always belonged to.

        Raises:
            ServiceNotConfigured: address or key is not set.
            ServiceRefused: the key is refused, or the address leads to no media server, or to another than before.
            ServiceUnavailable: it does not answer.
        """
        from dataclasses import asdict

        from aperture_dagster.storage.people import remember_server

        settings = self._settings
        with self.open_without_database() as server:
            identity = _identity(server, settings.media_server_url or "")
            with self._database.transaction() as connection:
                before = remember_server(connection, asdict(identity))
            if before is not None and before["server_id"] != identity.server_id:
                raise ServiceRefused(
                    f"APERTURE_MEDIA_SERVER_URL leads to {identity.name!r}, but {settings.home_path} holds the "
                    f"library of {before['name']!r}; nothing was changed. "
                    "Set APERTURE_HOME to another folder for another server."
                )
            yield server

    @contextmanager
    def open_without_database(self) -> Iterator[MediaServer]:
        """A client of whatever server answers, for a look at it.

        Raises:
            ServiceNotConfigured: address or key is not set.
            ServiceUnavailable: it does not answer.
        """
        settings = self._settings
        key = settings.media_server_api_key
        if settings.media_server_url is None:
            raise ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_URL is not set: set it to the address of the Jellyfin or Emby server, "
                "or look at the demo with `aperture up --demo`."
            )
        if key is None or not key.get_secret_value():
            raise ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_API_KEY is not set: make a key on the server "
                "(Jellyfin: Dashboard, API Keys; Emby: Settings, API Keys)."
            )
        server = self._connect(settings.media_server_url, key.get_secret_value())
        try:
            yield server
        finally:
            server.close()

    def _connect(self, url: str, key: str) -> MediaServer:
        """A client of the kind that the settings name, or that the server says it is."""
        from aperture_dagster.resources.emby import EmbyServer
        from aperture_dagster.resources.home_network import route_to_media_server
        from aperture_dagster.resources.jellyfin import JellyfinServer
        from aperture_dagster.resources.media_server_kind import recognise

        settings = self._settings
        timeout, attempts, wait = (
            settings.media_server_timeout_seconds,
            settings.http_attempts,
            settings.http_retry_wait_seconds,
        )
        route = route_to_media_server(settings)
        kind = settings.media_server_type
        if kind == "auto":
            kind = recognise(url, route, timeout_seconds=timeout, attempts=attempts, first_wait_seconds=wait)
        client = {"jellyfin": JellyfinServer, "emby": EmbyServer}[kind]
        return client.connect(
            url,
            key,
            page_size=settings.media_server_page_size,
            timeout_seconds=timeout,
            attempts=attempts,
            first_wait_seconds=wait,
            route=route,
        )


def _identity(server: MediaServer, url: str) -> ServerIdentity:
    try:
        return server.identity()
    except Redirected:
        raise
    except (NotFound, RequestRejected, BadAnswer) as error:
        raise ServiceRefused(
            f"What answers at APERTURE_MEDIA_SERVER_URL ({url}) is neither Jellyfin nor Emby ({error}): set it to the "
            "server's address as a browser shows it, such as http://192.168.1.10:8096, without /web and what follows."
        ) from None


class Embedders:
    """The embedder that the settings name, made once a process: a local model takes a moment to load."""

    def __init__(self, settings: Settings, make: Callable[[Settings], Embedder] | None = None) -> None:
        self._settings = settings
        self._make = make
        self._embedder: Embedder | None = None

    def get(self) -> Embedder:
        """The embedder.

        Raises:
            ServiceNotConfigured: its package is not installed.
        """
        from aperture_dagster.resources.embedder import make_embedder

        if self._embedder is None:
            self._embedder = (self._make or make_embedder)(self._settings)
        return self._embedder
