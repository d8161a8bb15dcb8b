"""Control a running simulator from other processes: ``POST /_control/OPERATION``; from this machine only.

An operation is a public method of `SimulatorState`, and the body its arguments as a JSON object. The response is
``{"result": value}``, or ``{"error": text}`` with 400 for wrong arguments and 404 for an unknown user, title or the
like.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import CastMember, Play, WorldTitle, WorldUser

_LOOPBACK = ("127.0.0.1", "::1", "testclient")


def control_route(state: SimulatorState) -> Route:
    """Build the route that runs the operations of a state."""

    async def control(request: Request) -> Response:
        if request.client is None or request.client.host not in _LOOPBACK or "origin" in request.headers:
            # A page in a browser sends its origin.
            return JSONResponse({"error": "from this machine only"}, 403)
        name = request.path_params["operation"]
        operation = getattr(state, name, None)
        if operation is None or not getattr(operation, "is_operation", False):
            return JSONResponse({"error": f"no operation {name!r}"}, 404)
        try:
            arguments = await request.json() if await request.body() else {}
            result = operation(**_PARSERS.get(name, dict)(arguments))
            return JSONResponse({"result": result})
        except KeyError as error:
            return JSONResponse({"error": f"unknown: {error.args[0]}"}, 404)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return Route("/_control/{operation}", control, methods=["POST"])


def _parse_play(body: dict[str, Any]) -> Play:
    played_at = datetime.fromisoformat(body["played_at"]) if "played_at" in body else datetime.now(UTC)
    return Play(**{**body, "played_at": played_at if played_at.tzinfo else played_at.replace(tzinfo=UTC)})


def _parse_title(body: dict[str, Any]) -> WorldTitle:
    """Parse a title; its cast as names or as ``{name, character}``."""
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    cast = (
        CastMember(**member) if isinstance(member, dict) else CastMember(member) for member in facts.pop("cast", ())
    )
    return WorldTitle(cast=tuple(cast), **facts)


_PARSERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "add_fault": lambda body: {"rule": FaultRule(**body)},
    "add_title": lambda body: {"title": _parse_title(body)},
    "add_user": lambda body: {"user": WorldUser(**body)},
    "play_item": lambda body: body | ({"at": datetime.fromisoformat(body["at"])} if body.get("at") else {}),
    "play": lambda body: {"play": _parse_play(body)},
}
"""Operations whose arguments are the fields of one object."""
