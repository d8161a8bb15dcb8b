"""The media server, as the front door uses it: without the product's database, which only the runs write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.http.errors import ServiceRefused
from aperture_dagster.maintenance.status import server_identity
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.settings import Settings


@contextmanager
def known_server(settings: Settings, database: ReadOnlyDatabase) -> Iterator[MediaServerReader]:
    """Connect to the media server, if it is the one whose lists are stored.

    Raises:
        ServiceError: it is not configured, does not answer, refuses, or is another one.
        DatabaseError: no server was read yet, or the database cannot be read.
    """
    with MediaServers(settings, Database(settings)).open_without_database() as server:
        found = server.identity()
        with database.connection() as connection:
            known = server_identity(connection)
        if known is None or known["server_id"] != found.server_id:
            raise ServiceRefused(f"APERTURE_MEDIA_SERVER_URL leads to {found.name!r}, whose lists are not stored here.")
        yield server
