"""What pages of any website may ask: which paths, and what each answer has, also before anything is set up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from aperture_dagster.front_door.rendering import NO_STORE

PATHS = (
    "/api/recommendations",
    "/api/search",
    "/api/watchlists",
    "/api/watchlists/promoted",
    "/api/watchlists/{number}",
)
_OPEN = r"/api/(?:recommendations|search|watchlists(?:/promoted|/[0-9]{1,9})?)/?"
ANY_ORIGIN = {
    # Without credentials: a browser sends no cookie of ours along, and lets no page read an answer to one.
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "retry-after",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
    **NO_STORE,
}
PREFLIGHT = {
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}
NOT_SET_UP = "No media server is configured here yet."


def open_paths(prefix: str = "") -> re.Pattern[str]:
    """Return which paths pages of any website may ask: at the root, where some clients look alone, and below a prefix.

    It has to match the whole path.
    """
    return re.compile(f"(?:{re.escape(prefix)})?{_OPEN}")


def preflight() -> Response:
    """Return the answer to a browser that asks whether a page may send a token. It needs none itself."""
    return Response(status_code=204, headers={**ANY_ORIGIN, **PREFLIGHT})


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the format that clients read, for pages of any website."""
    content = {"error": HTTPStatus(status).phrase, "message": message}
    kept = {name: value for name, value in (headers or {}).items() if name in ("retry-after", "allow")}
    return Response(json.dumps(content), status, {**ANY_ORIGIN, **kept}, "application/json")


def not_set_up_routes(prefix: str = "") -> list[BaseRoute]:
    """Return the routes while no media server is configured: all of them say so."""
    places = ("", prefix) if prefix else ("",)
    return [Route(f"{place}{path}{slash}", _NotSetUp()) for place in places for path in PATHS for slash in ("", "/")]


class _NotSetUp:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = preflight() if scope["method"] == "OPTIONS" else problem(503, NOT_SET_UP)
        await answer(scope, receive, send)
