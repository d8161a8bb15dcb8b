"""Sessions of members: their cookies, and how they begin and end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import Connection

from aperture_dagster.front_door.secrets import SESSIONS, read_secret
from aperture_dagster.front_door.throttle import account_of, digest_of
from aperture_dagster.members.sessions import (
    LIFE,
    STEP,
    Session,
    add_session,
    end_all_of,
    end_one,
    end_session,
    find_session,
    note_use,
    sessions_of,
)
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

COOKIE, QUICK_COOKIE, DEVICE_COOKIE = "aperture_session", "aperture_quick_connect", "aperture_device"
SESSION_SECONDS = int(LIFE.total_seconds())
QUICK_SECONDS = 600
DEVICE_SECONDS = 365 * 86_400
CODE_BYTES = 12
MOST_NAMES = 8
"""Names that a device remembers: a household's tablet has several."""
BROWSERS = {
    "Edg": "Edge", "OPR/": "Opera", "SamsungBrowser": "Samsung Internet", "Firefox": "Firefox", "FxiOS": "Firefox",
    "Chrom": "Chrome", "CriOS": "Chrome", "Safari": "Safari",
}  # fmt: skip
SYSTEMS = {
    "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Macintosh": "Mac",
    "CrOS": "ChromeOS", "Linux": "Linux",
}  # fmt: skip
"""What is in a browser's ``User-Agent``, the first that is counts, with its name."""


class Sessions:
    """Begins and ends sessions, and makes and checks the cookies.

    A session's cookie holds a random token, of which the database has the hash. The key that signs cookies is read each
    time, so that a new one ends all sessions at once.

    Args:
        settings: where key and database are.
        clock: the time.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings, self._clock, self._database = settings, clock or Clock(), Database(settings)
        self.changes = 0
        """Counts changes of sessions: one that was read before the last of them may have ended."""

    def begin(self, user_id: str, *, is_administrator: bool, device: str = "") -> str:
        """Begin a session of a user whom the media server has just let in; return the content of its cookie.

        Raises:
            DatabaseError: it cannot be stored. The database has to be there, or this creates it.
        """
        token = secrets.token_urlsafe(32)
        with self._change() as connection:
            now = self._clock.now()
            add_session(connection, token, self._key(), user_id, device, now, is_administrator=is_administrator)
        return self.sign(COOKIE, token)

    def token(self, cookie: str | None) -> str | None:
        """Return the token in a cookie; None if the cookie is missing, forged or a month old."""
        found = self.signed(COOKIE, cookie, SESSION_SECONDS)
        return None if found is None else found[0]

    def find(self, connection: Connection, token: str) -> Session | None:
        """Return the session of a token; None if it has ended."""
        return find_session(connection, token, self._key(), self._clock.now())

    def of_user(self, connection: Connection, user_id: str) -> list[Session]:
        """Return the sessions of a user, the last used ones first."""
        return sessions_of(connection, user_id, self._key(), self._clock.now())

    def note_use(self, session: Session, confirmed_at: datetime) -> None:
        """Write down that a session is used, unless that was done within the hour."""
        now = self._clock.now()
        if not timedelta() <= now - session.seen_at < STEP:
            with self._change() as connection:
                note_use(connection, session.session_id, seen_at=now, confirmed_at=confirmed_at)

    def end(self, cookie: str | None) -> None:
        """End the session of a cookie, if there is one; raises as :meth:`begin`."""
        token = self.token(cookie)
        if token is not None:
            with self._change() as connection:
                end_session(connection, token)

    def end_one(self, user_id: str, session_id: int) -> None:
        """End one of a user's sessions; raises as :meth:`begin`."""
        with self._change() as connection:
            end_one(connection, user_id, session_id)

    def end_all(self, user_id: str) -> None:
        """End all sessions of a user; raises as :meth:`begin`."""
        with self._change() as connection:
            end_all_of(connection, user_id)

    def csrf(self, cookie: str | None) -> str:
        """Return what belongs in every form of the session of a cookie; empty if the cookie is missing or forged."""
        if self.token(cookie) is None:
            return ""
        return hmac.new(self._key().encode(), f"csrf {cookie}".encode(), hashlib.sha256).hexdigest()

    def device(self, cookie: str | None, name: str) -> str | None:
        """Return the id of the device that a cookie shows, if somebody has signed in on it with this name."""
        found = self.signed(DEVICE_COOKIE, cookie, DEVICE_SECONDS)
        return found[0] if found is not None and digest_of(account_of(name)) in found[1] else None

    def remember(self, cookie: str | None, *names: str) -> str:
        """Return the content of a device's cookie, which had this one, once somebody has signed in with these names."""
        device, known = self.signed(DEVICE_COOKIE, cookie, DEVICE_SECONDS) or (secrets.token_urlsafe(9), [])
        digests = dict.fromkeys([*(digest_of(account_of(name)) for name in names), *known])
        return self.sign(DEVICE_COOKIE, device, list(digests)[:MOST_NAMES])

    def code(self, *what: Any) -> str:
        """Return a code of 96 bits that only this installation can make, and make again, from the same values."""
        digest = hmac.new(self._key().encode(), f"code {what}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:CODE_BYTES]).decode()

    def sign(self, name: str, *values: Any) -> str:
        """Return the content of a cookie, which is signed but not encrypted."""
        return self._signer(name).dumps(values)

    def signed(self, name: str, cookie: str | None, seconds: int) -> list[Any] | None:
        """Return what was signed for the cookie of a name; None if that was something else, or so long ago."""
        try:
            return self._signer(name).loads(cookie or "", max_age=seconds)
        except BadData:
            return None

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        try:
            with self._database.transaction() as connection:
                yield connection
        finally:
            self.changes += 1

    def _key(self) -> str:
        return read_secret(self._settings, SESSIONS)

    def _signer(self, name: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._key(), salt=name, signer_kwargs={"digest_method": hashlib.sha256})


def device_of(user_agent: str) -> str:
    """Return browser and system, as far as a browser names them: ``Firefox, Android``. No version, and no more."""
    browser, system = (
        next((name for mark, name in names.items() if mark in user_agent), "") for names in (BROWSERS, SYSTEMS)
    )
    return ", ".join(filter(None, (browser, system)))
