"""Who is at the front door, by the cookie of a session and the users as they were read last; and in which language."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from aperture_dagster.catalogue.people import User, read_users
from aperture_dagster.front_door.secrets import OPERATOR, read_secret
from aperture_dagster.front_door.sessions import COOKIE, Session, Sessions
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster.settings.types import is_loopback
from aperture_dagster.texts import LANGUAGES, Texts, preferred_language, texts_of

REMEMBERED_SECONDS = 20.0
LANGUAGE_COOKIE = "aperture_language"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may see pages: ``user`` is None for a user whom no sync has read yet, and in a demo."""

    user: User | None
    is_administrator: bool

    @property
    def user_id(self) -> str | None:
        """The id of the user, if they are known."""
        return self.user.user_id if self.user is not None else None


EVERYBODY = Visitor(None, is_administrator=True)


class Gate:
    """Recognises visitors.

    Args:
        settings: where the secrets are, and whether there is a media server.
        database: the users.
        is_open: everybody may see everything, as in a demo.
    """

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, *, is_open: bool = False) -> None:
        self._settings, self._database, self.is_open = settings, database, is_open
        self.sessions = Sessions(settings)
        # Health checks read it, and do not make it.
        read_secret(settings, OPERATOR)
        self._lock = threading.Lock()
        self._users: tuple[float, Mapping[str, User]] | None = None

    def session(self, request: HTTPConnection) -> Session | None:
        """Return the session that a request shows, whoever its owner is by now."""
        return None if self.is_open else self.sessions.read(request.cookies.get(COOKIE))

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Return who sent a request; None if they have to sign in, or may not any more.

        Raises:
            DatabaseError: the users cannot be read.
        """
        if self.is_open:
            return EVERYBODY
        session = self.session(request)
        if session is None:
            return None
        user = self._read_users().get(session.user_id)
        if user is None:
            # Before the first sync, an administrator must be able to see why there is none.
            return Visitor(None, session.was_administrator)
        return None if user.gone or user.is_disabled else Visitor(user, user.is_administrator)

    def operates(self, request: HTTPConnection) -> bool | None:
        """Return whether a request may reach the operator's UI; None if its sender has to sign in. Raises as above."""
        if self.is_open or self._has_operators_key(request):
            return True
        if self._settings.media_server_url is None:
            # There is nobody to ask who somebody is, and nothing to see yet, but for this machine itself.
            forwarded = {"x-forwarded-for", "forwarded", "x-real-ip"} & set(request.headers)
            return not forwarded and request.client is not None and is_loopback(request.client.host)
        visitor = self.visitor(request)
        return None if visitor is None else visitor.is_administrator

    def _read_users(self) -> Mapping[str, User]:
        """Read the users at most every 20 seconds: the operator's UI sends many requests."""
        with self._lock:
            if self._users is None or time.monotonic() - self._users[0] > REMEMBERED_SECONDS:
                try:
                    with self._database.connection() as connection:
                        found = {user.user_id: user for user in read_users(connection)}
                except NothingYet:
                    found = {}
                self._users = (time.monotonic(), found)
            return self._users[1]

    def _has_operators_key(self, request: HTTPConnection) -> bool:
        """Tell whether a program of this home, such as a health check, shows the key that lies there."""
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return False
        return hmac.compare_digest(given[7:].encode(), read_secret(self._settings, OPERATOR).encode())


def texts_for(request: HTTPConnection) -> Texts:
    """Return the texts for whoever sent a request: in the language that they chose, or else that of their browser.

    The country, which dates depend on, is that of the browser.
    """
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    among = [chosen] if chosen in LANGUAGES else LANGUAGES
    return texts_of(preferred_language(request.headers.get("accept-language", ""), among))
