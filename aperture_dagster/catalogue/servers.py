"""The media server of the settings, verified to be the one that this home belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from typing import Any

from aperture_dagster.catalogue.server_trouble import note_trouble
from aperture_dagster.catalogue.stored_users import remember_server, server_identity
from aperture_dagster.http import errors
from aperture_dagster.http.home_network import Route, route_to_media_server
from aperture_dagster.media_server.accounts import SECONDS, ServerAccounts
from aperture_dagster.media_server.detection import ServerType, detect_server_type
from aperture_dagster.media_server.emby.reader import EmbyReader
from aperture_dagster.media_server.emby.writer import EmbyWriter
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import ServerIdentity
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings


class MediaServers:
    """The media server of the settings."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @contextmanager
    def open(self, *, dry_run: bool = False) -> Iterator[MediaServerReader]:
        """Connect to the server for reading, and verify that it is the one that this home belongs to.

        Unless in a dry run, which server it is will be remembered, and so will the reason if it cannot be used.

        Raises:
            ServiceNotConfigured: address or key is not set.
            AccessDenied: the key is refused.
            ServiceRefused: the address leads to no media server, or to another than before.
            ServiceUnavailable: it does not answer.
        """
        with ExitStack() as stack:
            try:
                server = stack.enter_context(self.open_without_database())
                self._verify(server, dry_run=dry_run)
            except errors.ServiceError as error:
                if not dry_run and self._settings.media_server_url is not None:
                    # That the server cannot be used matters more than that this cannot be noted.
                    with suppress(DatabaseError), self._database.transaction() as connection:
                        note_trouble(connection, error)
                raise
            yield server

    def _verify(self, server: MediaServerReader, *, dry_run: bool) -> None:
        """Remember which server it is, and that it can be used. Raises ServiceRefused for another one than before."""
        settings = self._settings
        identity = _identity(server, settings.media_server_url or "")
        with self._database.transaction() as connection:
            before = remember_server(connection, asdict(identity), dry_run=dry_run)
            is_known = before is None or before["server_id"] == identity.server_id
            if is_known and not dry_run:
                note_trouble(connection, None)
        if before is not None and not is_known:
            raise errors.ServiceRefused(
                f"APERTURE_MEDIA_SERVER_URL leads to {identity.name!r}, but {settings.home_path} holds the "
                f"library of {before['name']!r}; nothing was changed. "
                "Set APERTURE_HOME to another folder for another server."
            )

    @contextmanager
    def open_writer(self, *, dry_run: bool = False) -> Iterator[MediaServerWriter]:
        """Connect to the server for changes, which a dry run only counts and logs. Raises as :meth:`open`."""
        with self.open(dry_run=dry_run) as reader:
            writer_type = EmbyWriter if isinstance(reader, EmbyReader) else JellyfinWriter
            yield writer_type(reader, dry_run=dry_run)

    @contextmanager
    def open_without_database(self) -> Iterator[MediaServerReader]:
        """Connect to whichever server answers, without the database.

        Raises:
            ServiceNotConfigured: address or key is not set.
            ServiceUnavailable: it does not answer.
        """
        settings = self._settings
        url, key = settings.media_server_url, settings.media_server_api_key
        if url is None:
            raise errors.ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_URL is not set: set it to the address of the Jellyfin or Emby server, "
                "or look at the demo with `aperture up --demo`."
            )
        if key is None or not key.get_secret_value():
            raise errors.ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_API_KEY is not set: make a key on the server "
                "(Jellyfin: Dashboard, API Keys; Emby: Settings, API Keys)."
            )
        options: dict[str, Any] = {
            "timeout_seconds": settings.media_server_timeout_seconds,
            "attempts": settings.http_attempts,
            "first_wait_seconds": settings.http_retry_wait_seconds,
        }
        server_type, route = _reach(settings, url, **options)
        reader_type = {"jellyfin": JellyfinReader, "emby": EmbyReader}[server_type]
        with closing(reader_type(url, key.get_secret_value(), route=route, **options)) as server:
            yield server


@contextmanager
def known_server(settings: Settings, database: ReadOnlyDatabase) -> Iterator[MediaServerReader]:
    """Connect to the media server for reading, without writing to the database, if it is the one that is stored.

    Raises:
        ServiceError: it is not configured, does not answer, refuses, or is another one.
        DatabaseError: no server was read yet, or the database cannot be read.
    """
    with MediaServers(settings, Database(settings)).open_without_database() as server:
        found = server.identity()
        with database.connection() as connection:
            known = server_identity(connection)
        if known is None or known["server_id"] != found.server_id:
            raise errors.ServiceRefused(
                f"APERTURE_MEDIA_SERVER_URL leads to {found.name!r}, whose lists are not stored here."
            )
        yield server


@contextmanager
def open_accounts(settings: Settings) -> Iterator[ServerAccounts]:
    """Connect to the sign-in of the media server, which needs no key. Raises ServiceError if it does not answer."""
    url = settings.media_server_url
    if url is None:
        raise errors.ServiceNotConfigured("APERTURE_MEDIA_SERVER_URL is not set")
    server_type, route = _reach(settings, url, attempts=1, timeout_seconds=SECONDS)
    with closing(ServerAccounts(server_type, url, route=route)) as server:
        yield server


def _reach(settings: Settings, url: str, **options: Any) -> tuple[ServerType, Route]:
    """Return which server it is, and how to reach it."""
    route, server_type = route_to_media_server(settings), settings.media_server_type
    return detect_server_type(url, route, **options) if server_type == "auto" else server_type, route


def _identity(server: MediaServerReader, url: str) -> ServerIdentity:
    try:
        return server.identity()
    except errors.Redirected:
        raise
    except (errors.NotFound, errors.RequestRejected, errors.BadAnswer) as error:
        raise errors.ServiceRefused(
            f"What answers at APERTURE_MEDIA_SERVER_URL ({url}) is neither Jellyfin nor Emby ({error}): set it to the "
            "server's address as a browser shows it, such as http://192.168.1.10:8096, without /web and what follows."
        ) from None
