"""What pages say while the media server cannot be used, and whether that is still so."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy import Connection

from aperture_dagster.catalogue.server_trouble import Kind, read_trouble
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.texts import marked

TROUBLE: Mapping[Kind, str] = {
    "key": marked(
        "The media server refuses this program's key, so lists stay as they are for now. Whoever runs this program "
        "makes a new key on the media server, and enters it on the page Settings, as APERTURE_MEDIA_SERVER_API_KEY."
    ),
    "silence": marked(
        "The media server does not answer, so lists stay as they are for now. If that lasts, whoever runs this program "
        "should check that the server runs, and that APERTURE_MEDIA_SERVER_URL is its address."
    ),
    "settings": marked(
        "This program cannot use the media server as it is set up, so lists stay as they are for now. The page "
        "Jobs says to whoever runs it what to correct."
    ),
}
ASK_SECONDS = 20.0
"""How often the media server is asked again while somebody reads that it cannot be used."""


class ServerWatch:
    """Looks up why the media server cannot be used, and asks it again while somebody reads that.

    A page that says so is therefore out of date for seconds only, also if no job is due.
    """

    def __init__(self, servers: MediaServers) -> None:
        self._servers, self._lock = servers, threading.Lock()
        self._asked_at = -ASK_SECONDS

    def trouble(self, connection: Connection) -> str:
        """Return why the server cannot be used, to be translated; empty if it can."""
        found = read_trouble(connection)
        if found is None:
            return ""
        if time.monotonic() - self._asked_at > ASK_SECONDS and self._lock.acquire(blocking=False):
            threading.Thread(target=self._ask, daemon=True).start()
        return TROUBLE[found.kind]

    def _ask(self) -> None:
        try:
            # Connecting notes whether the server can be used.
            with suppress(ServiceError, DatabaseError), self._servers.open():
                pass
        finally:
            self._asked_at = time.monotonic()
            self._lock.release()
