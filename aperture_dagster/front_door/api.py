"""``/api/v1``: the lists for programs such as dashboards, with the titles that the pages of members show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import models_json_schema
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.discovery.suggestions import why_suggested
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.rendering import NO_STORE
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.members.digests import digest_of
from aperture_dagster.members.keys import find_key
from aperture_dagster.model import MediaType
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import Card, Page, Row, next_episode, recommended, shows, suggestions, top_picks
from aperture_dagster.taste.lists import reason_of
from aperture_dagster.texts import ENGLISH, Texts

PATH = "/api/v1"


class Query(BaseModel):
    """What a program may ask of a list."""

    type: MediaType | None = Field(None, description="Films or series alone.")
    limit: int = Field(20, ge=1, le=500, description="Titles of each type.")


class Title(BaseModel):
    """A title with its ids; the score is that of its list, where titles have one."""

    type: MediaType
    rank: int
    title: str
    year: int | None
    server_item_id: str | None
    tmdb_id: int | None
    imdb_id: str | None
    score: float | None
    reason: str | None


class Listed(BaseModel):
    """A list of a user: films first, in order of rank."""

    user: str
    titles: list[Title]


class Problem(BaseModel):
    """Why there is no list."""

    status: int
    error: str


Read = Callable[[Connection, User, Settings, datetime, Texts], Page]


def _recommendations(connection: Connection, user: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the list *For you* without what else is on its page."""
    return Page("", "", recommended(connection, user, settings, now, _))


LISTS: dict[str, tuple[str, Read, Callable[[Row], str | None]]] = {
    "recommendations": ("Films and series in the library that suit a user.", _recommendations, reason_of),
    "shows": ("Series that a user watches, with the next episode.", shows, next_episode),
    "top-picks": ("What is popular in the household.", top_picks, lambda row: None),
    "suggestions": ("Titles outside the library that suit a user.", suggestions, why_suggested),
}
"""What each list is, the page of a member that it is on, and how a row of it says why a title is there."""
ERRORS = {
    400: "A parameter is malformed.",
    401: "The key is missing, wrong, or was removed.",
    404: "Nobody of that name takes part, or the key is not for their lists.",
    429: "Too many wrong keys came from this address.",
    503: "There are no lists yet, or they cannot be read.",
}
UNKNOWN = HTTPException(500)


class Api:
    """The endpoints."""

    def __init__(self, house: House) -> None:
        self._house = house

    def route(self) -> Mount:
        """Return the route of all of it. What goes wrong below it is JSON, too."""
        document = describe(f"{self._house.prefix}{PATH}")
        routes = [self._house.page(f"/users/{{name}}/{path}", partial(self._list, path)) for path in LISTS]
        routes.append(self._house.quick("/openapi.json", lambda _: _answer(document)))
        errors: dict[Any, Any] = {HTTPException: _refused, Exception: _failed}
        return Mount(PATH, Starlette(routes=routes, exception_handlers=errors))

    def _list(self, path: str, visit: Visit) -> JSONResponse:
        """Answer with a list of a user."""
        house, (_, read, reason) = self._house, LISTS[path]
        with house.database.connection() as connection:
            readable = house.takes_part(connection)
            if not house.gate.is_open:
                user_id = self._scope(visit, connection)
                readable = [one for one in readable if user_id in (None, one.user_id)]
            found = match_users(visit.request.path_params["name"], readable)
            if len(found) != 1:
                raise HTTPException(404, ERRORS[404])
            query = _query(visit)
            page = read(connection, found[0], house.settings, house.clock.now(), ENGLISH)
        titles = [_title(card, reason) for card in page.listed(query.type) if card.rank <= query.limit]
        return _answer(Listed(user=found[0].name, titles=titles).model_dump())

    def _scope(self, visit: Visit, connection: Connection) -> str | None:
        """Return the user whose lists the key of a program reads; None if it reads all.

        Raises:
            HTTPException: there is none, it is wrong, or there were too many wrong ones.
        """
        scheme, _, given = visit.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, ERRORS[401], {"www-authenticate": "Bearer"})
        key = find_key(connection, digest_of(given.strip()))
        if key is not None and key["user_id"] is not None and self._house.gate.is_out(key["user_id"]):
            raise HTTPException(401, ERRORS[401], {"www-authenticate": "Bearer"})
        if key is None:
            # Only now: programs behind one proxy share an address, and a wrong key must not lock out a right one.
            if not self._house.throttle.take("keys", visit.address):
                raise HTTPException(429, ERRORS[429], {"retry-after": f"{RATES['keys'].seconds:.0f}"})
            raise HTTPException(401, ERRORS[401], {"www-authenticate": "Bearer"})
        return key["user_id"]


def _query(visit: Visit) -> Query:
    try:
        return Query.model_validate(dict(visit.request.query_params))
    except ValidationError as error:
        raise HTTPException(400, "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())) from None


def _title(card: Card, reason: Callable[[Row], str | None]) -> Title:
    ids = {"server_item_id": card.item, "tmdb_id": card.row["tmdb_id"], "imdb_id": card.row["imdb_id"]}
    scored = {"score": card.row.get("score"), "reason": reason(card.row)}
    return Title(type=card.row["media_type"], rank=card.rank, title=card.title, year=card.year, **ids, **scored)


def _answer(content: Any, status: int = 200, headers: Any = None) -> JSONResponse:
    return JSONResponse(content, status, {**NO_STORE, "x-content-type-options": "nosniff", **(headers or {})})


async def _failed(request: Request, _: Exception) -> JSONResponse:
    return await _refused(request, UNKNOWN)


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
    text = ERRORS[503] if status == 503 else error.detail
    return _answer({"status": status, "error": text}, status, error.headers)


def describe(address: str) -> dict[str, Any]:
    """Return the OpenAPI document of the endpoints at an address."""
    schemas = models_json_schema(
        [(Listed, "serialization"), (Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )[1]["$defs"]

    def answer(what: str, model: type[BaseModel]) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        return {"description": what, "content": {"application/json": {"schema": schema}}}

    asked = Query.model_json_schema()["properties"].items()
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    parameters = [name, *({"name": one, "in": "query", "schema": schema} for one, schema in asked)]
    answers = {"200": answer("The list.", Listed)}
    answers |= {str(status): answer(what, Problem) for status, what in ERRORS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Aperture", "version": PATH.rpartition("/")[2]},
        "servers": [{"url": address}],
        "security": [{"key": []}],
        "paths": {
            f"/users/{{name}}/{path}": {
                "get": {"summary": what, "operationId": path, "parameters": parameters, "responses": answers}
            }
            for path, (what, _, _) in LISTS.items()
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
