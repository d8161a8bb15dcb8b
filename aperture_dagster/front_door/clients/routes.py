"""``/api``: the HTTP API of Streamystats as far as clients of the media server read lists from it (docs/clients.md).

Clients ask with the token that the media server gave them, from wherever their pages are, and some ask every minute.
Whatever happens, the answer is JSON and no redirect, since some break otherwise.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import find_user, server_identity
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.front_door.clients import by_name, lists, questions
from aperture_dagster.front_door.clients.answers import ids_by_type, recommended, watchlist
from aperture_dagster.front_door.clients.any_origin import ANY_ORIGIN, PATHS, preflight, problem
from aperture_dagster.front_door.clients.questions import (
    SERVER_NUMBER,
    ForLists,
    ForRecommendations,
    ForSearch,
    Malformed,
)
from aperture_dagster.front_door.clients.tokens import NotJellyfin, ServerSilent, Tokens, token_in
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.media_server.accounts import TokenOwner
from aperture_dagster.postgres.changes import state_of_product
from aperture_dagster.postgres.database import NothingYet
from aperture_dagster.settings.types import is_loopback, parse_authority

_LOG = logging.getLogger(__name__)
KEPT_ANSWERS = 500
UNAUTHORIZED = "A valid token of the media server is required."
MESSAGES = {
    404: "There is nothing at this address.",
    405: "Only GET is answered here.",
    500: "Something went wrong here; the log says what.",
    501: "The media server is Emby. Clients that ask for these lists are made for Jellyfin.",
}


class Asked(NamedTuple):
    """What a list is made from. ``user`` is whose lists they are; None for somebody who was not read yet.

    ``takes_part``: whether there are lists for them.
    """

    connection: Connection
    visit: Visit
    identity: Mapping[str, Any]
    owner: TokenOwner
    user: User | None
    takes_part: bool
    question: Any
    now: datetime


Make = Callable[[Asked], dict[str, Any]]


class Clients:
    """Answers the clients of the media server."""

    def __init__(self, house: House) -> None:
        self._house, self._tokens = house, Tokens(house.settings, house.clock)
        # Strangers who guess tokens make the server be asked, and must not keep others waiting.
        self._lane = Lane(8, waiting=100, of_client=40)
        self._kept: dict[Hashable, tuple[str, bytes]] = {}

    def routes(self, prefix: str = "") -> list[BaseRoute]:
        """Return the routes below a path."""
        pages = {
            "/api/recommendations": (ForRecommendations, _recommendations, True),
            "/api/search": (ForSearch, _search, None),
            "/api/watchlists": (ForLists, lambda _: {"data": []}, None),
            "/api/watchlists/promoted": (ForLists, _promoted, True),
            "/api/watchlists/{number}": (ForLists, _watchlist, None),
        }
        return [Route(f"{prefix}{path}{slash}", _Endpoint(self, *pages[path])) for path in PATHS for slash in ("", "/")]

    async def respond(self, request: Request, kind: type[Any], make: Make, needs_server: bool | None) -> Response:
        """Answer a request. Raises HTTPException."""
        visit = Visit(self._house, request)
        return await self._house.answer(self._lane, lambda visit: self._list(visit, kind, make, needs_server), visit)

    def _list(self, visit: Visit, kind: type[Any], make: Make, needs_server: bool | None) -> Response:
        house, given = self._house, visit.request.query_params
        owner = self._owner(visit)
        try:
            question = questions.read_question(kind, given)
        except Malformed as error:
            raise HTTPException(400, str(error)) from None
        now = house.clock.now()
        with house.database.connection() as connection:
            # What an answer is made from, apart from the database. Whoever asks was let in just now.
            host = visit.request.headers.get("host", "")
            key = (visit.request.url.path, question, frozenset(given.items()), owner, str(visit.texts.locale), host)
            state = f"{today_of(now, house.settings)} {state_of_product(connection)}"
            made_in, content = self._kept.get(key, ("", b""))
            if made_in == state:
                return Response(content, media_type="application/json")
            identity = server_identity(connection)
            if identity is None:
                raise NothingYet("The media server was not read yet.")
            if identity["server_id"] != owner.server_id:
                # Another one answers at the address now.
                raise HTTPException(401, UNAUTHORIZED)
            means = questions.names_server(given, identity, _hosts(visit))
            if means is False:
                raise HTTPException(404, _no_such_server(given))
            if means is None and needs_server:
                raise HTTPException(400, f"Name the media server: one of {', '.join(questions.WAYS)}.")
            user = _served(connection, owner, question.target)
            takes_part = user is not None and user.user_id in {one.user_id for one in house.takes_part(connection)}
            asked = Asked(connection, visit, identity, owner, user, takes_part, question, now)
            content = json.dumps(make(asked), allow_nan=False, separators=(",", ":")).encode()
            # Other threads change this meanwhile. What the media server finds, our database does not show.
            self._kept.pop(key, None)
            if make is not _search:
                self._kept[key] = (state, content)
            for oldest in list(self._kept)[:-KEPT_ANSWERS]:
                self._kept.pop(oldest, None)
        return Response(content, media_type="application/json")

    def _owner(self, visit: Visit) -> TokenOwner:
        """Return whose token a request has.

        Raises:
            HTTPException: it has none or a wrong one, there were too many wrong ones, or it cannot be known.
        """
        token = token_in(visit.request.headers)
        if token is None:
            raise HTTPException(401, UNAUTHORIZED)
        try:
            checked, is_new = self._tokens.check(token)
        except NotJellyfin:
            raise HTTPException(501, MESSAGES[501]) from None
        except ServerSilent:
            silent = "The media server does not say whose this token is. Try again in a few seconds."
            raise HTTPException(503, silent, {"retry-after": "10"}) from None
        if checked.owner is not None:
            return checked.owner
        # Only now, as for the keys of programs: a wrong token must not lock out a right one at the same address. A
        # client that asks with the same one again does not guess.
        if is_new and not self._house.throttle.take("tokens", visit.address):
            seconds = f"{RATES['tokens'].seconds:.0f}"
            raise HTTPException(429, "Too many wrong tokens came from this address.", {"retry-after": seconds})
        raise HTTPException(401, UNAUTHORIZED)


class _Endpoint:
    """A path of the API as an application, so that it answers every method, and every error, in the same way."""

    def __init__(self, clients: Clients, kind: type[Any], make: Make, needs_server: bool | None) -> None:
        self._clients, self._arguments = clients, (kind, make, needs_server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return preflight()
        try:
            if request.method not in ("GET", "HEAD"):
                raise HTTPException(405, MESSAGES[405], {"allow": "GET, HEAD, OPTIONS"})
            answer = await self._clients.respond(request, *self._arguments)
        except HTTPException as error:
            return problem(error.status_code, error.detail, error.headers)
        except Exception:
            _LOG.exception("a client gets no list")
            return problem(500, MESSAGES[500])
        answer.headers.update(ANY_ORIGIN)
        return answer


def _hosts(visit: Visit) -> set[str]:
    """Return by which names clients may know the media server; it may be the one by which they found us."""
    settings = visit.settings
    here = parse_authority(visit.request.headers.get("host", ""))
    known = (settings.media_server_url, settings.media_server_public_url)
    hosts = {host for address in known if address and (host := questions.host_of(address))} | (
        {here[0]} if here else set()
    )
    # This machine's names for itself mean the same.
    return hosts | {"localhost", "127.0.0.1", "::1"} if any(map(is_loopback, hosts)) else hosts


def _no_such_server(given: Mapping[str, str]) -> str:
    if given.get("serverUrl"):
        return (
            "The media server is not known here by this address. If it is the one that people use, set it as "
            "APERTURE_MEDIA_SERVER_PUBLIC_URL."
        )
    return "This is not the media server whose lists are here."


def _served(connection: Connection, owner: TokenOwner, target: str | None) -> User | None:
    """Return whose lists are asked for; None if no sync has read them yet.

    Raises:
        HTTPException: it must not be known who.
    """
    own = find_user(connection, owner.user_id) if owner.user_id is not None else None
    if own is not None and (own.gone or own.is_disabled):
        raise HTTPException(401, UNAUTHORIZED)
    wanted = target.replace("-", "").lower() if target is not None else None
    if wanted is None or wanted == owner.user_id:
        if owner.user_id is None:
            raise HTTPException(400, "An API key needs targetUserId: whose lists are meant.")
        return own
    if not owner.is_administrator:
        raise HTTPException(403, "targetUserId is for administrators of the media server.")
    user = find_user(connection, wanted)
    if user is None:
        raise HTTPException(404, "Nobody with this targetUserId is known here.")
    return user


def _server(asked: Asked) -> dict[str, Any]:
    return {"id": SERVER_NUMBER, "name": str(asked.identity["name"])}


def _recommendations(asked: Asked) -> dict[str, Any]:
    question, settings = asked.question, asked.visit.settings
    media_type = {"Movie": "movie", "Series": "series", "all": None}[question.type]
    titles = []
    if asked.user is not None and asked.takes_part:
        titles = lists.recommended_titles(
            asked.connection, asked.user, media_type, question.limit, settings, asked.now, asked.visit.texts
        )
    if question.format == "ids":
        return {"data": ids_by_type([title.item for title in titles])}
    server = _server(asked)
    user = asked.user
    return {
        "server": server,
        "user": {"id": user.user_id if user else asked.owner.user_id, "name": user.name if user else asked.owner.name},
        "params": {
            "serverId": server["id"],
            "serverName": server["name"],
            "limit": question.limit,
            "type": question.type,
            "range": question.range,
            "start": question.start,
            "end": question.end,
            "includeBasedOn": question.based_on,
            "includeReasons": question.reasons,
            "targetUserId": question.target,
            "format": question.format,
        },
        "data": recommended(titles, with_based_on=question.based_on, with_reasons=question.reasons),
    }


def _promoted(asked: Asked) -> dict[str, Any]:
    """Return the lists on which whoever asks finds a title."""
    found = [(one, items) for one in lists.WATCHLISTS if (items := _items(asked, one))][: asked.question.limit]
    return {"server": _server(asked), "data": [_described(asked, one, items) for one, items in found]}


def _watchlist(asked: Asked) -> dict[str, Any]:
    number = asked.visit.request.path_params["number"]
    watchlist = next((one for one in lists.WATCHLISTS if str(one.number) == number), None)
    if watchlist is None:
        raise HTTPException(404, "There is no list with this number.")
    items = _items(asked, watchlist)
    if asked.question.format == "ids":
        name, ids = asked.visit.texts(watchlist.name), [item["id"] for item in items]
        return {"data": {"id": watchlist.number, "name": name, "items": ids}}
    return {"server": _server(asked), "data": {**_described(asked, watchlist, items), "items": items}}


def _search(asked: Asked) -> dict[str, Any]:
    """Return what the media server's own search finds, since a client may ask us in its place. Lists are not needed."""
    question, visit, user = asked.question, asked.visit, asked.user
    categories = by_name.categories_of(question.type)
    found: dict[str, Any] = {category: [] for category in by_name.CATEGORIES}
    if user is not None:
        # Nobody waits for the index of the search.
        index = visit.house.index.get(0.0) if {"movies", "series"} & categories and question.q.strip() else None
        found |= by_name.find_by_name(asked.connection, user, question.q, categories, question.limit, index)
        token = token_in(visit.request.headers) or ""
        found |= by_name.find_people(visit.settings, token, user.user_id, question.q, categories, question.limit)
    total = sum(map(len, found.values()))
    if question.format == "ids":
        found = {category: [item["id"] for item in items] for category, items in found.items()}
    return {"data": {**found, "total": total}}


def _items(asked: Asked, watchlist: lists.Watchlist) -> list[dict[str, Any]]:
    if asked.user is None or not asked.takes_part:
        return []
    return lists.watchlist_items(asked.connection, watchlist, asked.user, asked.visit.settings, asked.now)


def _described(asked: Asked, listed: lists.Watchlist, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    settings, _ = asked.visit.settings, asked.visit.texts
    # Lists are those of a day.
    midnight = datetime.combine(today_of(asked.now, settings), time(), ZoneInfo(settings.schedule_timezone))
    return watchlist(
        listed.number,
        _(listed.name),
        _(listed.description),
        items,
        user_id=asked.user.user_id if asked.user is not None else "",
        made_at=midnight.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        with_preview=asked.question.preview,
    )
