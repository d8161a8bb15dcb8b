"""Signing users in to Trakt: the code that a user enters on any device, and the tokens that follow from it.

Facts about the API that shaped this module:

- A code is polled for, and the status alone says how it stands; the body may be empty.
- A refresh token is void once it was used, even if the answer was lost on its way. A refused one is 400 or 401 with
  ``invalid_grant``. Life times have been three months, a day and a week.
- The device flow needs the secret of the app.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Answer, Request
from aperture_dagster.texts import marked
from aperture_dagster.trakt.answers import app_refused, transport_options, utc_now
from aperture_dagster.trakt.errors import InvalidGrant, SignInFailed
from aperture_dagster.trakt.records import DeviceCode, TokenPair, parse_code, parse_tokens

REDIRECT_URI = "urn:ietf:wg:oauth:2.0:oob"
# A lost answer is asked for once more with the same token: if that is void, no repetition helps.
REFRESH_ATTEMPTS = 2
# Not 404, which is the answer of another address.
_REFUSALS = (400, 401, 403)
_POLL_STATUSES = (400, 404, 409, 410, 418, 429)
_UNKNOWN = "unknown error"
_APP_ERRORS = frozenset({"invalid_client", "unauthorized_client"})


class TraktSignIn(ServiceClient):
    """Trakt's sign-in, for the operator's app; ``options`` are passed to the transport.

    Every method raises AppRefused if Trakt does not know or accept the app, EdgeBlocked for a web page, BadAnswer for
    an answer that is not as documented, and ServiceUnavailable. No message holds a token or a code.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        now: Callable[[], datetime] = utc_now,
        **options: Any,
    ) -> None:
        self._app = {"client_id": client_id, "client_secret": client_secret}
        self._now = now
        known = transport_options(client_id, user=None, now=now)
        attempts = min(options.pop("attempts", REFRESH_ATTEMPTS), REFRESH_ATTEMPTS)
        super().__init__(
            "Trakt", url, **{**known, "secrets": [client_id, client_secret], **options, "attempts": attempts}
        )

    def start(self) -> DeviceCode:
        """Request a code for a user to enter."""
        body = {"client_id": self._app["client_id"]}
        answer = self._send(Request("POST", "/oauth/device/code", json=body, repeatable=True, accept=_REFUSALS))
        if answer.status >= 400:
            raise app_refused(answer.status, _error_in(answer))
        return parse_code(answer.json())

    def wait(
        self,
        code: DeviceCode,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> TokenPair:
        """Wait until the user has entered the code.

        Args:
            sleep, monotonic: the clock, for tests.

        Raises:
            SignInFailed: the code was not entered in time, or is void, or the user refused.
        """
        interval, ends_at = code.interval, monotonic() + code.expires_in
        while True:
            sleep(max(min(interval, ends_at - monotonic()), 0.0))
            if monotonic() >= ends_at:
                raise _expired()
            try:
                tokens, too_fast = self._poll(code)
            except errors.ServiceUnavailable as error:
                if isinstance(error, errors.ServicePaused):
                    raise
                # The user may still be typing.
                continue
            if tokens is not None:
                return tokens
            interval = interval * 2 if too_fast else interval

    def ask(self, code: DeviceCode) -> TokenPair | None:
        """Ask once whether the user has entered the code; None if they have not yet. Raises as :meth:`wait`."""
        return self._poll(code)[0]

    def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token for new tokens, after which it is void. To be called by one process at a time.

        Raises:
            InvalidGrant: the token is void.
            ServiceUnavailable: no answer, or an unknown error; the token may be void or not, which the next call shows.
        """
        self.transport.hide(refresh_token)
        body = {
            **self._app,
            "refresh_token": refresh_token,
            "redirect_uri": REDIRECT_URI,
            "grant_type": "refresh_token",
        }
        answer = self._send(Request("POST", "/oauth/token", json=body, repeatable=True, accept=_REFUSALS))
        if answer.status >= 400:
            reason = _error_in(answer)
            if reason in _APP_ERRORS or answer.status == 403:
                raise app_refused(answer.status, reason)
            if reason == "invalid_request":
                raise errors.RequestRejected(f"Trakt: the refresh of a token was refused ({answer.status}: {reason})")
            if reason not in ("", "invalid_grant"):
                # Such as a disturbance; a void token has its own name, or none.
                raise errors.ServiceUnavailable(f"Trakt: a token could not be renewed now ({answer.status})")
            raise InvalidGrant(f"Trakt: the refresh token is void ({answer.status})")
        return parse_tokens(answer.json(), self._now())

    def revoke(self, token: str) -> None:
        """Ask Trakt to forget a token. It says yes to anything."""
        self.transport.hide(token)
        request = Request(
            "POST", "/oauth/revoke", json={**self._app, "token": token}, repeatable=True, accept=_REFUSALS
        )
        answer = self._send(request)
        if answer.status >= 400:
            raise app_refused(answer.status, _error_in(answer))

    def _poll(self, code: DeviceCode) -> tuple[TokenPair | None, bool]:
        """Ask once: the tokens, or None while the user has not entered the code; and whether that was too soon."""
        self.transport.hide(code.device_code, code.user_code)
        request = Request(
            "POST",
            "/oauth/device/token",
            json={**self._app, "code": code.device_code},
            # Once it was answered, the code is void.
            repeatable=False,
            accept=(*_POLL_STATUSES, 401, 403),
        )
        answer = self._send(request)
        match answer.status:
            case 400 if _error_in(answer) not in _APP_ERRORS:
                return None, False
            case 429:
                return None, True
            case 404 | 409 | 410:
                raise _expired()
            case 418:
                raise SignInFailed(marked("Access was refused on Trakt's page; nothing was connected."))
            case status if status >= 400:
                raise app_refused(status, _error_in(answer))
        return parse_tokens(answer.json(), self._now()), False

    def _send(self, request: Request) -> Answer:
        answer = self.transport.send(request)
        # Two in a row, as everywhere: one may be an accident.
        return self.transport.send(request) if answer.status == 403 else answer


def _expired() -> SignInFailed:
    return SignInFailed(marked("The code was not entered in time, or is void: start again."))


def _error_in(answer: Answer) -> str:
    """Return the name of an error, which is known not to hold a secret; empty if there is none."""
    name = answer.fields().get("error")
    if not name:
        return ""
    return name if name in (*_APP_ERRORS, "invalid_grant", "invalid_request", "authorization_pending") else _UNKNOWN
