"""Control of a running simulator from other processes, under ``/_control``; from this machine only.

Names in paths are percent-encoded, a slash included. Every answer is JSON; errors are ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.simulator.asgi import Request, Response, Route, Router, json_response
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import CastMember, Play, WorldTitle, WorldUser

_LOOPBACK = ("127.0.0.1", "::1", "testclient")
_TITLE_TUPLES = (
    "genres", "keywords", "directors", "creators", "writers", "composers", "cinematographers", "companies", "networks",
    "countries", "recommended_tmdb_ids", "episodes_per_season", "collection",
)  # fmt: skip


class ControlService:
    """The operations of a `SimulatorState` over HTTP."""

    name = "control"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._router = Router()
        for method, path, handler in (
            ("GET", "/counters", lambda _: json_response(state.counters.snapshot())),
            ("POST", "/reset", lambda _: _done(state.reset_counters())),
            ("GET", "/faults", lambda _: json_response({str(k): asdict(v) for k, v in state.faults.active().items()})),
            ("POST", "/faults", lambda asked: json_response({"id": state.add_fault(FaultRule(**_body(asked)))}, 201)),
            ("DELETE", "/faults", lambda _: _done(state.clear_faults())),
            ("DELETE", "/faults/{id}", lambda _, fault: _done(state.remove_fault(int(fault)))),
            ("GET", "/rate", self._rate),
            ("GET", "/arrivals", self._arrivals),
            ("GET", "/asked", lambda asked: json_response(state.asked(_service(asked)))),
            ("GET", "/answered", lambda asked: json_response(state.answered(_service(asked)))),
            ("POST", "/day", lambda _: _done(state.start_day())),
            ("POST", "/quota", self._use_quota),
            ("POST", "/play", self._play),
            ("POST", "/mark", self._mark),
            ("GET", "/users", self._users),
            ("POST", "/users", lambda asked: json_response({"id": state.add_user(WorldUser(**_body(asked)))}, 201)),
            ("DELETE", "/users/{name}", lambda asked, _: _done(state.remove_user(asked.path_parts()[1]))),
            ("POST", "/users/{name}/rename", self._rename),
            ("POST", "/users/{name}/change", self._change),
            ("GET", "/titles/{key}", lambda asked, _: self._ids(asked.path_parts()[1])),
            ("POST", "/titles/add", self._add_title),
            ("POST", "/titles/remove", lambda asked: _done(state.remove_title(_body(asked)["key"]))),
            ("POST", "/titles/reassign", self._reassign),
            ("POST", "/libraries/hide", lambda asked: _done(state.hide_library(_body(asked)["name"]))),
            ("POST", "/libraries/show", lambda asked: _done(state.show_library(_body(asked)["name"]))),
        ):
            self._router.add(method, path, handler)

    def find(self, request: Request) -> Route:
        """The route of a request; refused when it comes from elsewhere, or from a page in a browser."""
        if request.client not in _LOOPBACK or "origin" in request.headers:
            return Route("refused", lambda *_: json_response({"error": "from this machine only"}, 403))
        # Encoded paths, so that a name with a slash stays one segment.
        route = self._router.find(request.method, request.raw_path)
        if route is None:
            return Route("unknown", lambda *_: json_response({"error": "no such operation"}, 404))
        handler = route.handler
        return Route(route.endpoint, lambda asked, *parts: _guarded(handler, asked, parts), route.arguments)

    def error(self, status: int) -> Response:
        """Control never misbehaves on demand."""
        return json_response({"error": str(status)}, status)

    def _rate(self, request: Request) -> Response:
        seconds, service = request.query.get("seconds"), request.query.get("service") or "tmdb"
        rate = self._state.rates[service]
        length = float(seconds) if seconds else rate.seconds
        most = self._state.most_in_window(service, length)
        return json_response({"seconds": length, "most": most, "arrivals": len(rate.arrivals)})

    def _use_quota(self, request: Request) -> Response:
        body = _body(request)
        return _done(self._state.use_quota(body["service"], int(body["requests"])))

    def _arrivals(self, request: Request) -> Response:
        service, text = request.query.get("service") or "", request.query.get("contains") or ""
        return json_response({"arrivals": self._state.arrivals(service, text)})

    def _play(self, request: Request) -> Response:
        body = _body(request)
        played_at = body.pop("played_at", None)
        when = datetime.fromisoformat(played_at) if played_at else datetime.now(UTC)
        self._state.play(Play(played_at=when if when.tzinfo else when.replace(tzinfo=UTC), **body))
        return _done()

    def _mark(self, request: Request) -> Response:
        body = _body(request)
        user, key = body.pop("user"), body.pop("title_key")
        where = {name: body.pop(name) for name in ("season", "episode") if name in body}
        if "played" in body:
            bare = bool(body.pop("bare", False))
            if body.pop("played"):
                self._state.mark_played(user, key, bare=bare, **where)
            else:
                self._state.mark_unplayed(user, key, **where)
        if "rating" in body:
            self._state.rate(user, key, body.pop("rating"))
        if "favorite" in body:
            self._state.set_favorite(user, key, bool(body.pop("favorite")))
        if body:
            raise TypeError(f"unknown marks: {', '.join(body)}")
        return _done()

    def _users(self, request: Request) -> Response:
        users = [{"id": user.id, "name": user.name, "items": len(user.data)} for user in self._state.users.values()]
        return json_response(users)

    def _rename(self, request: Request, _: str) -> Response:
        return _done(self._state.rename_user(request.path_parts()[1], _body(request)["name"]))

    def _change(self, request: Request, _: str) -> Response:
        name, body = request.path_parts()[1], _body(request)
        if "libraries" in body:
            self._state.allow_libraries(name, body.pop("libraries"))
        if body:
            self._state.change_user(name, **body)
        return _done()

    def _ids(self, key: str) -> Response:
        return json_response({"ids": self._state.item_ids(key)})

    def _add_title(self, request: Request) -> Response:
        return json_response({"ids": self._state.add_title(title_from_json(_body(request)))}, 201)

    def _reassign(self, request: Request) -> Response:
        body = _body(request)
        ids = self._state.reassign_item_ids(body["key"], keep_user_data=bool(body.get("keep_user_data", True)))
        return json_response({"ids": ids})


def title_from_json(content: dict[str, Any]) -> WorldTitle:
    """A title from its fields in JSON; cast as names or ``{name, character}``. Raises TypeError for unknown fields."""
    content = dict(content)
    for name in _TITLE_TUPLES:
        if content.get(name) is not None:
            content[name] = tuple(content[name])
    cast = content.pop("cast", ())
    members = tuple(CastMember(**member) if isinstance(member, dict) else CastMember(member) for member in cast)
    return WorldTitle(cast=members, **content)


def _done(_: object = None) -> Response:
    return json_response({"ok": True})


def _service(request: Request) -> str:
    service = request.query.get("service")
    if service is None:
        raise ValueError("which service?")
    return service


def _body(request: Request) -> dict[str, Any]:
    content = request.json()
    if not isinstance(content, dict):
        raise TypeError("the body must be a JSON object")
    return content


def _guarded(handler: Callable[..., Response], request: Request, parts: tuple[str, ...]) -> Response:
    try:
        return handler(request, *parts)
    except KeyError as error:
        return json_response({"error": f"unknown or missing: {error.args[0]}"}, 404)
    except (TypeError, ValueError) as error:
        return json_response({"error": str(error)}, 400)
