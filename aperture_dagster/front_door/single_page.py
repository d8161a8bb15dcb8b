"""An application that answers every address with the same page, while there is nothing else to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from aperture_dagster.front_door.rendering import Renderer


def single_page(
    renderer: Renderer,
    answer: Callable[[Request], Response],
    health: str,
    *,
    prefix: str = "",
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application. What the page says is the same for everybody who asks, so there is nothing to guard.

    Args:
        renderer: serves the files that the page needs.
        answer: makes the page.
        health: answer to health checks; :mod:`aperture_dagster.up.health` knows it.
        prefix: of all paths.
        routes: addresses that are answered otherwise.
    """

    async def everything(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})
            return
        await answer(Request(scope))(scope, receive, send)

    async def file(request: Request) -> Response:
        return renderer.file(request.path_params["name"])

    async def say_health(request: Request) -> Response:
        return PlainTextResponse(health)

    return Starlette(
        routes=[
            *routes,
            Route(f"{prefix}/health", say_health),
            Route(f"{prefix}/static/{{name}}", file),
            Mount("", everything),
        ]
    )
