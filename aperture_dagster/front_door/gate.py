"""Who is at the front door: by the cookie of a session and the users as they were read last."""

from __future__ import annotations

import hmac
import ipaddress
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from aperture_dagster.catalogue.people import User, read_users
from aperture_dagster.front_door.secrets import OPERATOR, read_secret
from aperture_dagster.front_door.sessions import COOKIE, Session, Sessions
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Scope

REMEMBERED_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may see pages: ``user`` is None for a user whom no sync has read yet, and in a demo."""

    user: User | None
    is_administrator: bool
    session: Session | None = None


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

    def visitor(self, scope: Scope) -> Visitor | None:
        """Return who sent a request; None if they have to sign in, or may not any more.

        Raises:
            DatabaseError: the users cannot be read.
        """
        if self.is_open:
            return EVERYBODY
        session = self.sessions.read(cookie_of(scope, COOKIE))
        if session is None:
            return None
        users = self._read_users()
        user = users.get(session.user_id)
        if user is None:
            # Before the first sync, an administrator must be able to see why there is none.
            return Visitor(None, session.was_administrator, session)
        if user.gone or user.is_disabled:
            return None
        return Visitor(user, user.is_administrator, session)

    def operates(self, scope: Scope) -> bool | None:
        """Return whether a request may reach the operator's UI; None if its sender has to sign in. Raises as above."""
        if self.is_open or self._has_operators_key(scope):
            return True
        if self._settings.media_server_url is None:
            # There is nobody to ask who somebody is, and nothing to see yet.
            return is_from_this_machine(scope)
        visitor = self.visitor(scope)
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

    def _has_operators_key(self, scope: Scope) -> bool:
        """Tell whether a program of this home, such as a health check, shows the key that lies there."""
        given = header_of(scope, b"authorization")
        if not given.startswith("Bearer "):
            return False
        return hmac.compare_digest(given[7:].encode(), read_secret(self._settings, OPERATOR).encode())


def cookie_of(scope: Scope, name: str) -> str | None:
    """Return a cookie of a request; None if it is missing or malformed."""
    try:
        found: Any = SimpleCookie(header_of(scope, b"cookie")).get(name)
    except CookieError:
        return None
    return found.value if found is not None else None


def header_of(scope: Scope, name: bytes) -> str:
    """Return the first header of a name; empty if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def is_from_this_machine(scope: Scope) -> bool:
    """Tell whether a request comes from this machine itself, and not through a proxy on it."""
    forwarded = any(key.lower() in (b"x-forwarded-for", b"forwarded", b"x-real-ip") for key, _ in scope["headers"])
    try:
        return not forwarded and ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False
