"""Whose a token of the media server is. The server is asked, and its answer is remembered for a few minutes."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote

from aperture_dagster.catalogue.servers import open_accounts
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.media_server.accounts import TokenOwner, UnlikeJellyfin, WrongAccount
from aperture_dagster.members.digests import digest_of
from aperture_dagster.model import Clock
from aperture_dagster.settings import Settings

_LOG = logging.getLogger(__name__)
REMEMBERED, REFUSED = timedelta(minutes=3), timedelta(minutes=1)
"""How long a token that the server accepted, or refused, is not checked again."""
RETRY = timedelta(seconds=10)
"""How long a server that did not answer is not asked again."""
MOST_REMEMBERED = 1_000
_TOKEN = re.compile(r'(?:^|[\s,])Token="?([^",\s]+)"?', re.IGNORECASE)
_USABLE = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class ServerSilent(Exception):
    """The media server does not say whose a token is."""


class NotJellyfin(Exception):
    """The media server is another one, whose tokens cannot be checked."""


def token_in(headers: Mapping[str, str]) -> str | None:
    """Return the token in ``Authorization: MediaBrowser Token="…"``; None if there is none that could be one."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match = _TOKEN.search(rest) if scheme.lower() == "mediabrowser" else None
    token = unquote(match[1]) if match is not None else ""
    return token if _USABLE.fullmatch(token) else None


@dataclass(frozen=True, slots=True)
class Checked:
    """What the server said of a token, and when; ``owner`` is None if it refused it."""

    at: datetime
    owner: TokenOwner | None

    def holds(self, now: datetime) -> bool:
        """Tell whether it need not be asked again. If the clock was ahead then, it has to be."""
        return timedelta() <= now - self.at < (REFUSED if self.owner is None else REMEMBERED)


class Tokens:
    """Knows whose the tokens of the media server are. In memory, there are only their hashes.

    Args:
        settings: where the server is.
        clock: the time.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._checked: dict[str, Checked] = {}
        self._silent_since: datetime | None = None
        # Clients ask for several rows at once, which must not make as many checks of one token.
        self._locks = [threading.Lock() for _ in range(64)]

    def remembered(self, token: str) -> Checked | None:
        """Return what the server said of a token within minutes; None if it has to be asked."""
        checked = self._checked.get(digest_of(token))
        return checked if checked is not None and checked.holds(self._clock.now()) else None

    def check(self, token: str) -> tuple[Checked, bool]:
        """Return what the server says of a token, and whether it was asked for this; may take seconds.

        Raises:
            NotJellyfin: it is Emby.
            ServerSilent: it does not answer.
        """
        digest = digest_of(token)
        with self._locks[int(digest[:8], 16) % len(self._locks)]:
            if (checked := self.remembered(token)) is not None:
                return checked, False
            checked = Checked(self._clock.now(), self._ask(token))
            self._checked.pop(digest, None)
            self._checked[digest] = checked
            for oldest in list(self._checked)[:-MOST_REMEMBERED]:
                self._checked.pop(oldest, None)
            return checked, True

    def _ask(self, token: str) -> TokenOwner | None:
        now, since = self._clock.now(), self._silent_since
        if since is not None and timedelta() <= now - since < RETRY:
            raise ServerSilent
        try:
            with open_accounts(self._settings) as server:
                owner = server.whose(token)
        except WrongAccount:
            owner = None
        except UnlikeJellyfin:
            raise NotJellyfin from None
        except ServiceError as error:
            if since is None:
                _LOG.warning("it cannot be looked up whose the token of a client is: %s", error)
            self._silent_since = self._clock.now()
            raise ServerSilent from None
        self._silent_since = None
        return owner
