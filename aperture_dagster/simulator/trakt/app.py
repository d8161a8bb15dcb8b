"""Trakt's two hosts, for data and for OAuth."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from aperture_dagster.simulator.counters import RateLimit
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.responses import JSONResponse, html_page
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled, refuse_other_fields
from aperture_dagster.simulator.settings import TRAKT_AUTH_PATH
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.trakt.book import (
    DEVICE_SECONDS,
    ID_NAMES,
    RATED,
    Account,
    Session,
    TraktTitle,
    timestamp,
)
from aperture_dagster.simulator.trakt.payloads import (
    Batch,
    activities_of,
    parse_batch,
    rating_row,
    recommended,
    settings_of,
)

_UPGRADE = "https://trakt.tv/vip"


class TraktHost(StandIn):
    """One of the hosts."""

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse what does not get past the network in front of Trakt: a ban, or a request without a user agent."""
        edge = self._state.trakt.habits.edge
        if edge == "banned":
            return html_page("Error 1015: You are being rate limited", 429)
        if edge == "blocked" or not request.headers.get("user-agent", "").strip():
            return html_page("Attention Required! | Cloudflare", 403)
        return None

    def error(self, status: int) -> Response:
        """Return an error: without a body, except for those of the network in front."""
        if status >= 500:
            return html_page(f"Error {status}", status)
        if status == 403:
            return PlainTextResponse("Forbidden", 403)
        return Response(status_code=status, headers=_headers(status))

    def over_limit(self, account: Account, limit: int) -> Response:
        """Return the refusal of an account that is full."""
        headers = {
            "X-VIP-User": str(account.vip).lower(),
            "X-Account-Limit": str(limit),
            "X-Upgrade-URL": _UPGRADE,
        }
        return Response(status_code=420, headers=headers)


def _headers(status: int) -> dict[str, str] | None:
    if status == 420:
        return {"X-VIP-User": "false", "X-Account-Limit": "10000", "X-Upgrade-URL": _UPGRADE}
    if status == 423:
        return {"X-Account-Locked": "true"}
    if status == 426:
        return {"X-Upgrade-URL": _UPGRADE}
    return None


# Trakt's host for OAuth: codes for devices, tokens, their exchange and revocation.
#
# It follows the contract in trakt/trakt-api, ``projects/api/src/contracts/oauth``, as of July 2026. Beyond it:
#
# - ``invalid_grant`` with "session not found", and ``invalid_client`` with "client not found" for an app that was
#   deleted: as clients report them (trakt/trakt-api issues 888 and 902).
# - Revocation is always answered with 200: trakt/trakt-api issue 112.
# - That a refresh also voids the access token of the pair, and the status of ``invalid_client``, are not verified.


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


def _body(request: Request, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Parse the fields of a body, all of them text. Raises Unmodelled."""
    body = request.parse_json()
    if not isinstance(body, dict) or not request.headers.get("content-type", "").startswith("application/json"):
        raise Unmodelled("a body other than a JSON object")
    refuse_other_fields(body, {*required, *optional}, "a request for a token")
    if not all(isinstance(body.get(name), str) and body[name] for name in required):
        raise Unmodelled(f"a request for a token without {', '.join(required)}")
    return body


def _failure(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)


# Trakt's host for data: settings, activities, ratings and recommendations.
#
# It follows the contracts in trakt/trakt-api, ``projects/api/src/contracts``, as of July 2026. Beyond them:
#
# - ``/sync/ratings/{kind}`` without a rating: classic documentation, and what clients call (trakt/trakt-api
#   discussion 919). Without ``page`` and ``limit``, it returns all rows, or the first page only; see `Habits.paged`.
# - A ``limit`` above 250 is clamped (issue 925). Recommendations have no pages (issue 184).
# - No user agent: the network in front answers 403 with HTML (issue 670). An app that was deleted or blocked gets 403
#   for everything (issues 902 and 933).
# - ``rated_at`` has no fraction of a second in any published sample.
# - That ``added`` counts only ratings that changed, and that a full account refuses the whole write, are not verified.


_PAGING = ("page", "limit")
_USUAL_PAGE, _LARGEST_PAGE = 10, 250
_MOST_RECOMMENDED = 100
_RECOMMENDATIONS = ("limit", "ignore_collected", "ignore_watchlisted", "ignore_watched", "watch_window")
RATINGS_LIMITS = (10_000, 20_000)
"""Ratings that an account can hold, free and VIP."""
_RATINGS = {str(number) for number in range(1, 11)}


class TraktService(TraktHost):
    """The host ``api.trakt.tv`` over a state."""

    name = "trakt"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(
            state,
            [
                Operation("GET", "/users/settings", self._settings),
                Operation("GET", "/sync/last_activities", self._activities),
                Operation("GET", "/sync/ratings/{kind}", self._ratings, _PAGING),
                Operation("GET", "/sync/ratings/{kind}/{rating}", self._ratings, _PAGING),
                Operation("POST", "/sync/ratings", self._rate),
                Operation("POST", "/sync/ratings/remove", self._unrate),
                Operation("GET", "/recommendations/{kind}", self._recommend, _RECOMMENDATIONS),
            ],
        )

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse what the real service refuses before it looks at the request itself."""
        state = self._state
        state.rates["trakt"].arrive()
        refusal = super().refuse(request, operation)
        if refusal is not None:
            return refusal
        if state.trakt.habits.app == "blocked":
            return self.error(403)
        is_known = request.headers.get("trakt-api-key") == state.settings.trakt_client_id
        if state.trakt.habits.app == "deleted" or not is_known:
            content = {"error": "invalid_client", "error_description": "client not found"}
            return JSONResponse(content, 403)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        if request.headers.get("trakt-api-version") != "2" or (request.method == "POST" and not is_json):
            return self.error(412)
        session = self._session(request)
        if session is None or not state.trakt.is_valid(session):
            return self.error(401)
        return self._account_refusal(session.account, is_write=request.method != "GET")

    def _account_refusal(self, account: Account, is_write: bool) -> Response | None:
        if account.trouble in ("locked", "deactivated"):
            headers = {f"X-Account-{account.trouble.title()}": "true"}
            return Response(status_code=423, headers=headers)
        limit = account.writes if is_write else account.reads
        if not limit.admit():
            return self._too_many(limit, "AUTHED_API_POST_LIMIT" if is_write else "AUTHED_API_GET_LIMIT")
        if account.trouble is not None and is_write:
            return self.over_limit(account, RATINGS_LIMITS[account.vip])
        return None

    def _too_many(self, limit: RateLimit, name: str) -> Response:
        until = self._state.clock.now() + limit.seconds_left
        state = {
            "name": name,
            "period": math.ceil(limit.seconds),
            "limit": limit.requests,
            "remaining": 0,
            "until": datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        headers = {"Retry-After": str(max(1, math.ceil(limit.seconds_left))), "X-Ratelimit": json.dumps(state)}
        return Response(status_code=429, headers=headers)

    def _session(self, request: Request) -> Session | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._state.trakt.session(token) if scheme == "Bearer" else None

    def _account(self, request: Request) -> Account:
        session = self._session(request)
        assert session is not None, "refused before"
        return session.account

    def _settings(self, request: Request) -> Response:
        return JSONResponse(settings_of(self._account(request)))

    def _activities(self, request: Request) -> Response:
        return JSONResponse(activities_of(self._account(request)))

    def _ratings(self, request: Request, kind: str, rating: str | None = None) -> Response:
        """Return ratings, the newest first. Those of titles that Trakt no longer knows are left out."""
        if kind not in ID_NAMES or rating not in (None, *_RATINGS):
            raise Unmodelled(f"ratings of {kind}" + (f" with the value {rating}" if rating else ""))
        titles = self._state.trakt.titles
        rows = [
            rating_row(rated, given, known)
            for rated, given in self._account(request).of_kind(kind)
            if rating in (None, str(given.value)) and (known := titles.of_key(rated.key)) is not None
        ]
        page, limit = (_whole(request.query.get(name)) for name in _PAGING)
        habits = self._state.trakt.habits
        if page is None and limit is None and not habits.paged:
            return JSONResponse(rows)
        page, limit = page or 1, min(limit or _USUAL_PAGE, _LARGEST_PAGE)
        shown = rows[(page - 1) * limit : page * limit]
        headers = {
            "X-Pagination-Page": str(page),
            "X-Pagination-Limit": str(limit),
            "X-Pagination-Page-Count": str(math.ceil(len(rows) / limit)),
            "X-Pagination-Item-Count": str(len(rows) + habits.count_error),
        }
        if page == 1 and habits.lost_rows:
            shown = shown[: -habits.lost_rows]
        return JSONResponse(shown, headers=headers)

    def _rate(self, request: Request) -> Response:
        batch = self._batch(request, removes=False)
        account = self._account(request)
        added = dict.fromkeys(RATED, 0)
        limit = RATINGS_LIMITS[account.vip]
        if len(account.ratings.keys() | {rated for rated, _ in batch.found}) > limit:
            return self.over_limit(account, limit)
        for rated, rating in batch.found:
            assert rating is not None
            changed = account.rate(rated, rating, self._state.clock.now())
            added[rated.kind] += changed
            pushed = {"action": "rate", "key": str(rated), "rating": rating.value, "changed": changed}
            account.pushed.append(pushed | {"rated_at": timestamp(rating.rated_at)})
        return JSONResponse({"added": added, "not_found": batch.not_found}, 201)

    def _unrate(self, request: Request) -> Response:
        batch = self._batch(request, removes=True)
        account = self._account(request)
        deleted = dict.fromkeys(RATED, 0)
        for rated, _ in batch.found:
            changed = account.unrate(rated, self._state.clock.now())
            deleted[rated.kind] += changed
            account.pushed.append(
                {"action": "remove", "key": str(rated), "rating": None, "changed": changed, "rated_at": None}
            )
        return JSONResponse({"deleted": deleted, "not_found": batch.not_found})

    def _batch(self, request: Request, *, removes: bool) -> Batch:
        book = self._state.trakt
        return parse_batch(request.parse_json(), book.titles, book.clock(), removes=removes)

    def _recommend(self, request: Request, kind: str) -> Response:
        """Return titles that the account did not rate. Nothing is watched, collected or on a watchlist."""
        if kind not in ("movies", "shows"):
            return self.error(404)
        query = request.query
        limit = min(_whole(query.get("limit")) or _USUAL_PAGE, _MOST_RECOMMENDED)
        account, titles = self._account(request), self._state.trakt.titles
        known = {rated.key for rated in account.ratings}

        def interest(one: TraktTitle) -> float:
            return -(one.title.vote_count or 0) * share(one.key, f"trakt|{account.name}")

        if account.recommended is None:
            found = sorted(titles.of_kind(kind), key=interest)
        else:
            of_kind = {one.key: one for one in titles.of_kind(kind)}
            found = [of_kind[key] for key in account.recommended if key in of_kind]
        shown = [one for one in found if one.key not in known][:limit]
        return JSONResponse([recommended(one) for one in shown])


def _whole(text: str | None) -> int | None:
    """Parse a positive number; None if it is absent. Raises Unmodelled for anything else."""
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise Unmodelled(f"a page or limit of {text}")
    return int(text)
