"""Trakt's host for OAuth: codes for devices, tokens, their exchange and revocation.

It follows the contract in trakt/trakt-api, ``projects/api/src/contracts/oauth``, as of July 2026. Beyond it:

- ``invalid_grant`` with "session not found", and ``invalid_client`` with "client not found" for an app that was
  deleted: as clients report them (trakt/trakt-api issues 888 and 902).
- Revocation is always answered with 200: trakt/trakt-api issue 112.
- That a refresh also voids the access token of the pair, and the status of ``invalid_client``, are not verified.
"""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, Response

from aperture_dagster.simulator.environment import TRAKT_AUTH_PATH
from aperture_dagster.simulator.responses import JSONResponse, html_page
from aperture_dagster.simulator.service import Operation, Request, Unmodelled, refuse_other_fields
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.trakt.book import DEVICE_SECONDS
from aperture_dagster.simulator.trakt.host import TraktHost

REDIRECT_URI = "urn:ietf:wg:oauth:2.0:oob"
_CLIENT = ("client_id", "client_secret")
_REFRESH = (*_CLIENT, "redirect_uri", "grant_type", "refresh_token")
# Clients that poll at the interval arrive a little early now and then.
_TOLERANCE = 0.9
_PAGE = """<!DOCTYPE html><html><head><title>Stand-in for Trakt</title></head><body><h1>Activate a device</h1>
<form method="post" action="{action}"><p>Code <input name="code" value="{code}"></p>
<p>Trakt account <input name="account" value="me"></p>
<p><button name="answer" value="yes">Allow</button> <button name="answer" value="no">Deny</button></p>
</form></body></html>
"""


class TraktAuthService(TraktHost):
    """The host ``auth.trakt.tv`` over a state."""

    name = "trakt_auth"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(
            state,
            [
                Operation("POST", "/oauth/device/code", self._code),
                Operation("POST", "/oauth/device/token", self._poll),
                Operation("POST", "/oauth/token", self._exchange),
                Operation("POST", "/oauth/revoke", self._revoke),
                Operation("GET", "/activate", self._page, ["code"]),
                Operation("GET", "/activate/{code}", self._page),
                Operation("POST", "/activate", self._answer),
            ],
        )

    def client_error(self, error: Exception) -> Response | None:
        """Answer an invalid body with 400, in OAuth's words."""
        return _failure(400, "invalid_request", str(error)) if isinstance(error, _InvalidRequest) else None

    def _code(self, request: Request) -> Response:
        body = _body(request, ("client_id",))
        if self._is_unknown(body["client_id"]):
            return _failure(401, "invalid_client", "client not found")
        code = self._state.trakt.new_code()
        return JSONResponse(
            {
                "device_code": code.device_code,
                "user_code": code.user_code,
                "verification_url": f"http://{request.headers.get('host', 'auth.trakt.tv')}{TRAKT_AUTH_PATH}/activate",
                "expires_in": DEVICE_SECONDS,
                "interval": self._state.settings.trakt_device_interval,
            }
        )

    def _poll(self, request: Request) -> Response:
        """Answer a poll; all but the token comes without a body."""
        body = _body(request, ("code", *_CLIENT))
        refusal = self._client_refusal(body)
        if refusal is not None:
            return refusal
        book = self._state.trakt
        code = book.codes.get(body["code"])
        if code is None:
            return self.error(404)
        if code.is_used:
            return self.error(409)
        if code.is_denied:
            return self.error(418)
        if book.is_expired(code):
            return self.error(410)
        before, code.polled_at = code.polled_at, book.clock()
        if before is not None and code.polled_at - before < self._state.settings.trakt_device_interval * _TOLERANCE:
            return self.error(429)
        if code.account is None:
            return self.error(400)
        code.is_used = True
        return JSONResponse(book.grant(code.account).token())

    def _exchange(self, request: Request) -> Response:
        body = _body(request, _REFRESH, optional=("code",))
        refusal = self._client_refusal(body)
        if refusal is not None:
            return refusal
        if body["grant_type"] != "refresh_token":
            raise Unmodelled("a grant_type other than refresh_token")
        session = self._state.trakt.refresh(body["refresh_token"]) if body["redirect_uri"] == REDIRECT_URI else None
        if session is None:
            return _failure(400, "invalid_grant", "session not found")
        return JSONResponse(session.token())

    def _revoke(self, request: Request) -> Response:
        self._state.trakt.revoke(_body(request, ("token",), optional=_CLIENT)["token"])
        return Response()

    def _page(self, request: Request, code: str = "") -> Response:
        """Show the form that the real page has, which also asks for an account here."""
        shown = escape(code or request.query.get("code") or "", quote=True)
        return HTMLResponse(_PAGE.format(action=f"{TRAKT_AUTH_PATH}/activate", code=shown))

    def _answer(self, request: Request) -> Response:
        fields = parse_qs(request.content.decode("utf-8", "replace"))
        code, account, answer = (fields.get(name, [""])[0] for name in ("code", "account", "answer"))
        try:
            if answer == "yes":
                self._state.trakt_approve(account, code)
            else:
                self._state.trakt_deny(code)
        except (KeyError, ValueError):
            return html_page("No such code is waiting, or the account has no name", 404)
        return html_page("Allowed" if answer == "yes" else "Denied", 200)

    def _is_unknown(self, client_id: object) -> bool:
        return client_id != self._state.settings.trakt_client_id or self._state.trakt.habits.app == "deleted"

    def _client_refusal(self, body: dict[str, Any]) -> Response | None:
        if self._is_unknown(body["client_id"]):
            return _failure(401, "invalid_client", "client not found")
        if body["client_secret"] != self._state.settings.trakt_client_secret:
            return _failure(401, "invalid_client", "invalid client_secret")
        return None


class _InvalidRequest(Exception):
    """The body is not what the operation takes."""


def _body(request: Request, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Parse the fields of a body, all of them text. Raises _InvalidRequest."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise _InvalidRequest("the body must be JSON")
    try:
        body = request.parse_json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _InvalidRequest("the body must be a JSON object")
    refuse_other_fields(body, {*required, *optional}, "a request for a token")
    for name in required:
        if not isinstance(body.get(name), str) or not body[name]:
            raise _InvalidRequest(f"{name} is required")
    return body


def _failure(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)
