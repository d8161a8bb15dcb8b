"""Trakt's host for data: settings, activities, ratings and recommendations.

It follows the contracts in trakt/trakt-api, ``projects/api/src/contracts``, as of July 2026. Beyond them:

- ``/sync/ratings/{kind}`` without a rating: classic documentation, and what clients call (trakt/trakt-api
  discussion 919). Without ``page`` and ``limit``, it returns all rows, or the first page only; see `Habits.paged`.
- A ``limit`` above 250 is clamped (issue 925). Recommendations have no pages (issue 184).
- No user agent: the network in front answers 403 with HTML (issue 670). An app that was deleted or blocked gets 403 for
  everything (issues 902 and 933).
- ``rated_at`` has no fraction of a second in any published sample.
- That ``added`` counts only ratings that changed, that a full account refuses the whole write, and that an entry that
  breaks the contract is 422, are not verified.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from starlette.responses import Response

from aperture_dagster.simulator.counters import RateLimit
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, Unmodelled
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.trakt.accounts import RATED, Account, timestamp
from aperture_dagster.simulator.trakt.book import Session
from aperture_dagster.simulator.trakt.host import TraktHost
from aperture_dagster.simulator.trakt.payloads import activities_of, rating_row, recommended, settings_of
from aperture_dagster.simulator.trakt.titles import ID_NAMES, TraktTitle
from aperture_dagster.simulator.trakt.writes import Batch, InvalidEntry, parse_batch

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

    def client_error(self, error: Exception) -> Response | None:
        """Answer what breaks the contract with 422, and what is no JSON with 400."""
        if isinstance(error, InvalidEntry):
            return self.error(422)
        return self.error(400) if isinstance(error, json.JSONDecodeError) else None

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
        if isinstance(batch, Response):
            return batch
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
        if isinstance(batch, Response):
            return batch
        account = self._account(request)
        deleted = dict.fromkeys(RATED, 0)
        for rated, _ in batch.found:
            changed = account.unrate(rated, self._state.clock.now())
            deleted[rated.kind] += changed
            account.pushed.append(
                {"action": "remove", "key": str(rated), "rating": None, "changed": changed, "rated_at": None}
            )
        return JSONResponse({"deleted": deleted, "not_found": batch.not_found})

    def _batch(self, request: Request, *, removes: bool) -> Batch | Response:
        book = self._state.trakt
        batch = parse_batch(request.parse_json(), book.titles, book.clock(), removes=removes)
        refused_above = book.habits.refuses_above
        return self.error(413) if refused_above is not None and batch.size > refused_above else batch

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
