"""``/api/v1``: the lists for programs such as dashboards, with the titles that the pages of members show."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import models_json_schema
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from aperture_dagster.catalogue.keys import digest_of, find_key
from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.discovery.suggestions import why_suggested
from aperture_dagster.front_door import content
from aperture_dagster.front_door.gate import Gate, header_of
from aperture_dagster.front_door.sessions import WINDOW_SECONDS, Throttle
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.media import MediaType
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import reason_of
from aperture_dagster.texts.translations import ENGLISH, Texts

_LOG = logging.getLogger(__name__)
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


class List(NamedTuple):
    """A list: what it is, the page of a member that it is on, and how a row of it says why a title is there."""

    what: str
    page: Callable[[Connection, User, Settings, datetime, Texts], content.Page]
    reason: Callable[[content.Row], str | None]


LISTS = {
    "recommendations": List("Films and series in the library that suit a user.", content.for_you, reason_of),
    "shows": List("Series that a user watches, with the next episode.", content.shows, content.next_episode),
    "top-picks": List("What is popular in the household.", content.top_picks, lambda row: None),
    "suggestions": List("Titles outside the library that suit a user.", content.suggestions, why_suggested),
}
ERRORS = {
    400: "A parameter is malformed.",
    401: "The key is missing, wrong, or was removed.",
    404: "Nobody of that name takes part, or the key is not for their lists.",
    429: "Too many wrong keys came from this address.",
    503: "There are no lists yet, or they cannot be read.",
}


class Api:
    """The endpoints; for the arguments, see :class:`~aperture_dagster.front_door.pages.Pages`."""

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, prefix: str = "", clock: Clock | None = None
    ) -> None:
        self._settings, self._database, self._gate = settings, database, gate
        self._clock, self._throttle, self._right = clock or Clock(), Throttle(), set[str]()
        self._document = describe(f"{prefix}{PATH}")

    def route(self) -> Mount:
        """Return the route of all of it. What goes wrong below it is JSON, too."""
        routes = [Route(f"/users/{{name}}/{path}", self._endpoint(path), methods=["GET"]) for path in LISTS]
        routes.append(Route("/openapi.json", lambda _: _answer(self._document), methods=["GET"]))
        errors: dict[Any, Any] = {HTTPException: _refused, DatabaseError: _not_ready}
        errors[Exception] = lambda request, _: _refused(request, HTTPException(500))
        return Mount(PATH, Starlette(routes=routes, exception_handlers=errors))

    def _endpoint(self, path: str) -> Callable[[Request], JSONResponse]:
        """Return the endpoint of a list. It is no coroutine, so it runs in a thread of its own."""

        def endpoint(request: Request) -> JSONResponse:
            digest = None if self._gate.is_open else self._digest(request)
            try:
                with self._database.connection() as connection:
                    readable = who_takes_part(self._settings, read_users(connection))
                    if digest is not None:
                        user_id = self._scope(request, connection, digest)
                        readable = [one for one in readable if user_id in (None, one.user_id)]
                    found = match_users(request.path_params["name"], readable)
                    if len(found) != 1:
                        raise HTTPException(404, ERRORS[404])
                    query = _query(request)
                    page = LISTS[path].page(connection, found[0], self._settings, self._clock.now(), ENGLISH)
            except DatabaseError:
                self._forgive(request, digest)
                raise
            lists = [shelf for shelf in page.shelves if shelf.heading in content.LABELS.values()]
            cards = [card for shelf in lists for card in shelf.cards if card.rank <= query.limit]
            titles = [_title(card, path) for card in cards if query.type in (None, card.row["media_type"])]
            return _answer(Listed(user=found[0].name, titles=titles).model_dump())

        return endpoint

    def _digest(self, request: Request) -> str:
        """Return the digest of the key that a program shows. Raises HTTPException: none, or too many wrong ones."""
        scheme, _, given = header_of(request.scope, b"authorization").partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, ERRORS[401], {"www-authenticate": "Bearer"})
        digest = digest_of(given.strip())
        # Programs behind one proxy share an address: wrong keys must not lock out a program whose key was right.
        if digest not in self._right and not self._throttle.take(digest, _address(request)):
            raise HTTPException(429, ERRORS[429], {"retry-after": f"{WINDOW_SECONDS:.0f}"})
        return digest

    def _scope(self, request: Request, connection: Connection, digest: str) -> str | None:
        """Return the user whose lists a key reads; None if it reads all. Raises HTTPException: it is wrong."""
        key = find_key(connection, digest)
        if key is None:
            self._right.discard(digest)
            raise HTTPException(401, ERRORS[401], {"www-authenticate": "Bearer"})
        self._forgive(request, digest)
        self._right.add(digest)
        return key["user_id"]

    def _forgive(self, request: Request, digest: str | None) -> None:
        """Forget an attempt of which nobody said that it was wrong."""
        if digest is not None and digest not in self._right:
            self._throttle.forgive(digest, _address(request))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _query(request: Request) -> Query:
    try:
        return Query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise HTTPException(400, "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())) from None


def _title(card: content.Card, path: str) -> Title:
    ids = {"server_item_id": card.item, "tmdb_id": card.row["tmdb_id"], "imdb_id": card.row["imdb_id"]}
    scored = {"score": card.row.get("score"), "reason": LISTS[path].reason(card.row)}
    return Title(type=card.row["media_type"], rank=card.rank, title=card.title, year=card.year, **ids, **scored)


def _answer(content: Any, status: int = 200, headers: Any = None) -> JSONResponse:
    usual = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(content, status, {**usual, **(headers or {})})


def _refused(request: Request, error: HTTPException) -> JSONResponse:
    return _answer({"status": error.status_code, "error": error.detail}, error.status_code, error.headers)


def _not_ready(request: Request, error: DatabaseError) -> JSONResponse:
    if not isinstance(error, NothingYet):
        # Its sentence is for the operator.
        _LOG.warning("%s", error)
    return _refused(request, HTTPException(503, ERRORS[503]))


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
                "get": {"summary": one.what, "operationId": path, "parameters": parameters, "responses": answers}
            }
            for path, one in LISTS.items()
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
