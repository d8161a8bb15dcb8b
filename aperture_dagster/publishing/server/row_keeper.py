"""Keep the rows of the media server's home screen registered."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.media_server.jellyfin.home_screen import HomeScreen
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.publishing.server.home_rows import ABSENT, ROWS, UNSAVED, UNSUPPORTED, register_rows
from aperture_dagster.settings import Settings

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 60.0
SENTENCES = {"absent": ABSENT, "unsupported": UNSUPPORTED}


class RowKeeper:
    """Registers the rows, and again when their addresses change or the server has forgotten them, as after a restart.

    Once a minute it asks the server for a row as a user would. The server then asks us, which shows that it knows the
    row, and that it reaches us.

    Args:
        answered: returns how many requests for rows have been answered so far, at their present addresses.
        open_server: opens the media server for reading, without a database.
        endpoint: returns the address of a row by its id, as the server reaches it.
        asking: returns the id of a user in whose name to look; None while nobody takes part.
    """

    def __init__(
        self,
        answered: Callable[[], int],
        open_server: Callable[[], contextlib.AbstractContextManager[MediaServerReader]],
        endpoint: Callable[[str], str],
        asking: Callable[[], str | None],
    ) -> None:
        self._answered, self._open, self._endpoint, self._asking = answered, open_server, endpoint, asking
        self._said, self._has_all = "", False

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._keep, name="home rows", daemon=True).start()

    def _keep(self) -> None:
        while True:
            try:
                with self._open() as server:
                    while True:
                        self.look(HomeScreen(server.transport))
                        time.sleep(LOOK_SECONDS)
            except (ServiceError, OperatorError, OSError) as error:
                self._say(f"The rows of the home screen cannot be registered: {error}")
                time.sleep(LOOK_SECONDS)

    def look(self, screen: HomeScreen) -> None:
        """Register the rows unless the server knows them, and let it show them. Raises ServiceError if it is silent."""
        user_id = self._asking()
        if user_id is None:
            return
        state = screen.state()
        if state not in ("ready", "unsaved"):
            if state in SENTENCES:
                self._say(f"There are no rows on the home screen: {SENTENCES[state]}.")
            return
        if not self._has_registered(screen, user_id):
            return
        # Whoever saves the plugin's settings while the rows are not registered, removes them there.
        if state == "unsaved":
            self._say(f"The rows of the home screen are registered, but {UNSAVED}.")
        elif screen.configure([row.row_id for row in ROWS]):
            _LOG.info("The rows of the home screen were turned on in the settings of Home Screen Sections.")

    def _has_registered(self, screen: HomeScreen, user_id: str) -> bool:
        """Register the rows unless the server knows them; tell whether it reaches them."""
        # After an update there may be another row; a server that restarted has forgotten all of them.
        rows, before = ROWS[:1] if self._has_all else ROWS, self._answered()
        for row in rows:
            screen.shown(row.row_id, user_id)
        if self._answered() >= before + len(rows):
            self._has_all = True
            return True
        register_rows(screen, self._endpoint)
        before = self._answered()
        screen.shown(ROWS[0].row_id, user_id)
        if self._answered() == before:
            where = urlsplit(self._endpoint(ROWS[0].row_id))
            self._say(f"The media server does not reach {where.scheme}://{where.netloc}, so its rows are empty.")
            return False
        _LOG.info("The rows of the home screen were registered.")
        return True

    def _say(self, text: str) -> None:
        """Log a text once, not every minute."""
        if text != self._said:
            self._said = text
            _LOG.warning("%s", text)


def first_member(settings: Settings, database: ReadOnlyDatabase) -> str | None:
    """Return the id of the first user who takes part; None if there is none yet."""
    with database.connection() as connection:
        people = who_takes_part(settings, read_users(connection))
    return people[0].user_id if people else None


def reachable_address(media_server_url: str, host: str, port: int) -> str:
    """Return the address at which the media server most likely reaches a port of this machine.

    It is that of the network interface from which this machine reaches the server, unless the port is open on one
    address alone.

    Raises:
        OSError: the server's name is unknown, or there is no way to it.
    """
    if host in ("0.0.0.0", "::", ""):
        target = urlsplit(media_server_url)
        found = socket.getaddrinfo(target.hostname, target.port or 80, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            # Sends nothing: it only chooses the interface.
            probe.connect(address)
            host = probe.getsockname()[0]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
