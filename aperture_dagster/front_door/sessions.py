"""Sessions of members: signed cookies, which the server does not keep, and how they end."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from aperture_dagster.front_door.secrets import SESSIONS, read_secret
from aperture_dagster.front_door.throttle import account_of, digest_of
from aperture_dagster.settings import Settings

COOKIE, QUICK_COOKIE, DEVICE_COOKIE = "aperture_session", "aperture_quick_connect", "aperture_device"
SESSION_SECONDS = 30 * 86_400
QUICK_SECONDS = 600
DEVICE_SECONDS = 365 * 86_400
MOST_NAMES = 8
"""Names that a device remembers: a household's tablet has several."""


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

    def device(self, cookie: str | None, name: str) -> str | None:
        """Return the id of the device that a cookie shows, if somebody has signed in on it with this name."""
        found = self.signed(DEVICE_COOKIE, cookie, DEVICE_SECONDS)
        return found[0] if found is not None and digest_of(account_of(name)) in found[1] else None

    def remember(self, cookie: str | None, *names: str) -> str:
        """Return the content of a device's cookie, which had this one, once somebody has signed in with these names."""
        device, known = self.signed(DEVICE_COOKIE, cookie, DEVICE_SECONDS) or (secrets.token_urlsafe(9), [])
        digests = dict.fromkeys([*(digest_of(account_of(name)) for name in names), *known])
        return self.sign(DEVICE_COOKIE, device, list(digests)[:MOST_NAMES])

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
