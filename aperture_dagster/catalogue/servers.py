"""The media server of the settings, verified to be the one that this home belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from aperture_dagster.catalogue.stored_users import remember_server
from aperture_dagster.http import errors
from aperture_dagster.http.home_network import route_to_media_server
from aperture_dagster.media_server.detect import detect_server_type
from aperture_dagster.media_server.emby import EmbyReader
from aperture_dagster.media_server.emby_writer import EmbyWriter
from aperture_dagster.media_server.jellyfin import JellyfinReader
from aperture_dagster.media_server.jellyfin_writer import JellyfinWriter
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import ServerIdentity
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings


class MediaServers:
    """The media server of the settings."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @contextmanager
    def open(self, *, dry_run: bool = False) -> Iterator[MediaServerReader]:
        """Connect to the server for reading, and verify that it is the one that this home belongs to.

        Unless in a dry run, which server it is will be remembered.

        Raises:
            ServiceNotConfigured: address or key is not set.
            ServiceRefused: the key is refused, or the address leads to no media server, or to another than before.
            ServiceUnavailable: it does not answer.
        """
        settings = self._settings
        with self.open_without_database() as server:
            identity = _identity(server, settings.media_server_url or "")
            with self._database.transaction() as connection:
                before = remember_server(connection, asdict(identity), dry_run=dry_run)
            if before is not None and before["server_id"] != identity.server_id:
                raise errors.ServiceRefused(
                    f"APERTURE_MEDIA_SERVER_URL leads to {identity.name!r}, but {settings.home_path} holds the "
                    f"library of {before['name']!r}; nothing was changed. "
                    "Set APERTURE_HOME to another folder for another server."
                )
            yield server

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
        route = route_to_media_server(settings)
        options: dict[str, Any] = {
            "timeout_seconds": settings.media_server_timeout_seconds,
            "attempts": settings.http_attempts,
            "first_wait_seconds": settings.http_retry_wait_seconds,
        }
        server_type = settings.media_server_type
        if server_type == "auto":
            server_type = detect_server_type(url, route, **options)
        reader_type = {"jellyfin": JellyfinReader, "emby": EmbyReader}[server_type]
        with closing(reader_type(url, key.get_secret_value(), route=route, **options)) as server:
            yield server


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
