"""A server that gives recorded answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from aperture_dagster.simulator.opinions import jpeg
from aperture_dagster.simulator.server import Simulator, running
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.recordings.recording import ID, Recorded


@contextmanager
def serving(recorded: Sequence[Recorded]) -> Iterator[str]:
    """Answer each request as the one was answered that is most like it; yield the address.

    Filters that nobody asked for match nothing. A path that begins with ``/only/3`` is answered with the third
    recording, whatever follows.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        known = {one.query.get("filters") for one in recorded}
        if request.query_params.get("filters") in known:
            response = _response(_chosen(recorded, request))
        else:
            response = JSONResponse({"Items": [], "TotalRecordCount": 0, "StartIndex": 0})
        await response(scope, receive, send)

    simulator = Simulator(World("empty"))
    simulator.app = answer
    with running(simulator) as served:
        yield served.url


def _chosen(recorded: Sequence[Recorded], request: Request) -> Recorded | None:
    path = request.url.path
    if path.startswith("/only/"):
        return recorded[int(path.split("/")[2])]
    query = dict(parse_qsl(request.url.query))

    def likeness(one: Recorded) -> tuple[bool, bool, int]:
        decisive = all(one.query.get(name) == query.get(name) for name in ("filters", "includeItemTypes"))
        alike = len(one.query.items() & query.items()) - len(one.query.keys() ^ query.keys())
        return one.route == path, decisive and ("ids" in one.query) == ("ids" in query), alike

    same = [one for one in recorded if one.method == request.method and ID.sub("", one.route) == ID.sub("", path)]
    return max(same, key=likeness, default=None)


def _response(one: Recorded | None) -> Response:
    if one is None:
        return Response(status_code=404)
    if one.type == "image/jpeg":
        return Response(jpeg("recorded", 200, 300), media_type=one.type)
    if isinstance(one.answer, dict | list):
        return JSONResponse(one.answer, one.status)
    return Response(status_code=one.status)
