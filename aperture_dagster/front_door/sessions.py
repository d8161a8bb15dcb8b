"""Sessions of members: signed cookies, which the server does not keep, and how they end."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from aperture_dagster.front_door.secrets import SESSIONS, read_secret
from aperture_dagster.settings import Settings

COOKIE, QUICK_COOKIE = "aperture_session", "aperture_quick_connect"
SESSION_SECONDS = 30 * 86_400
QUICK_SECONDS = 600
WINDOW_SECONDS = 900.0
ATTEMPTS = {"account": 20, "pair": 8, "address": 40}
"""Failed sign-ins within the window, for a name, for a name from one address, and for an address."""
MOST_COUNTED = 20_000


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who signed in.

    ``was_administrator`` is what the media server said then; it counts only for a user who was never read from it.
    ``csrf`` belongs into every form.
    """

    user_id: str
    was_administrator: bool
    csrf: str


class Sessions:
    """Makes and checks the cookies. The key is read each time, so that a new one ends all sessions at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def begin(self, user_id: str, *, is_administrator: bool) -> str:
        """Return the content of the cookie of a new session."""
        return self.sign(COOKIE, user_id, is_administrator, secrets.token_urlsafe(9))

    def read(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie; None if it is missing, forged, expired, or was ended."""
        found = self.signed(COOKIE, cookie, SESSION_SECONDS)
        if found is None:
            return None
        key = read_secret(self._settings, SESSIONS).encode()
        csrf = hmac.new(key, f"csrf {cookie}".encode(), hashlib.sha256).hexdigest()
        return Session(found[0], found[1] is True, csrf)

    def sign(self, name: str, *values: Any) -> str:
        """Return the content of a cookie, which is signed but not encrypted."""
        return self._signer(name).dumps(values)

    def signed(self, name: str, cookie: str | None, seconds: int) -> list[Any] | None:
        """Return what was signed for the cookie of a name; None if that was something else, or so long ago."""
        try:
            return self._signer(name).loads(cookie or "", max_age=seconds)
        except BadData:
            return None

    def _signer(self, name: str) -> URLSafeTimedSerializer:
        key, how = read_secret(self._settings, SESSIONS), {"digest_method": hashlib.sha256}
        return URLSafeTimedSerializer(key, salt=name, signer_kwargs=how)


class Throttle:
    """Counts failed sign-ins; it forgets them after a quarter of an hour.

    An account is limited for each address and, more generously, in total, so that somebody who guesses from one
    address does not lock its owner out.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def take(self, name: str, address: str) -> bool:
        """Count an attempt as failed until :meth:`forgive`; False if there were too many, and it must not be made."""
        keys, now = _keys(name, address), self._now()
        with self._lock:
            recent = {key: [one for one in self._failures.get(key, ()) if now - one < WINDOW_SECONDS] for key in keys}
            if any(len(times) >= ATTEMPTS[key[0]] for key, times in recent.items()):
                return False
            for key, times in recent.items():
                self._failures[key] = [*times, now]
                self._failures.move_to_end(key)
            while len(self._failures) > MOST_COUNTED:
                self._failures.popitem(last=False)
        return True

    def forgive(self, name: str, address: str) -> None:
        """Forget the last attempt, which did not fail."""
        with self._lock:
            for key in _keys(name, address):
                if self._failures.get(key):
                    self._failures[key].pop()


def _keys(name: str, address: str) -> list[tuple[str, str]]:
    account = name.strip().casefold()
    return [("account", account), ("pair", f"{account}\n{address}"), ("address", address)]
