"""Shared parts of the stand-ins, based on Starlette: strict routes, counting, and faults on demand."""

from __future__ import annotations

import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence
from email.utils import formatdate
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

from starlette import requests, routing
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from aperture_dagster.simulator.responses import FaultRule, JSONResponse, spoil

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

_LOG = logging.getLogger(__name__)


class Unmodelled(Exception):
    """The real service may support what the request asks for, but the stand-in does not.

    Answered with 501, and recorded, which fails the test that sent the request. Ignoring it would hide the gap.
    """


def refuse_other_fields(given: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raise Unmodelled if an object has fields other than the known ones; ``what`` names the object."""
    if other := given.keys() - set(known):
        raise Unmodelled(f"{what} with {', '.join(sorted(other))}")


class Query:
    """Query parameters. Names are case-insensitive and may be repeated."""

    def __init__(self, query_string: str) -> None:
        self._values: dict[str, list[str]] = {}
        if query_string:
            for name, value in parse_qsl(query_string, keep_blank_values=True):
                self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first value, or None when the parameter is absent or blank."""
        values = self._values.get(name.lower())
        return (values[0].strip() or None) if values else None

    def raw(self, name: str) -> str | None:
        """Return the first value with its blanks, or None when the parameter is absent."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def split(self, name: str, separator: str = ",") -> list[str]:
        """Return all values, with joined lists split and blanks dropped."""
        values = self._values.get(name.lower(), ())
        return [part.strip() for value in values for part in value.split(separator) if part.strip()]

    @property
    def names(self) -> KeysView[str]:
        """Names of all parameters, in lower case."""
        return self._values.keys()

    def without(self, *names: str) -> Query:
        """Return a copy that lacks some parameters."""
        dropped = {name.lower() for name in names}
        query = Query("")
        query._values = {name: values for name, values in self._values.items() if name not in dropped}
        return query


class Request(requests.Request):
    """A request to a stand-in. Its body is read before the handler, which does not await, is called."""

    content: bytes = b""

    @cached_property
    def path(self) -> str:
        """The path below the stand-in's mount point."""
        return self.scope["path"][len(self.scope["root_path"]) :] or "/"

    @property
    def query_string(self) -> str:
        """The query as sent."""
        return self.scope["query_string"].decode("latin-1")

    @cached_property
    def query(self) -> Query:
        """The parsed query string."""
        return Query(self.query_string)

    @property
    def target(self) -> str:
        """Path and query as sent."""
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

    def parse_json(self) -> Any:
        """Parse the body, or return None when it is empty. Raises ValueError when it is not JSON."""
        return json.loads(self.content) if self.content.strip() else None


Handler = Callable[..., Response]
"""Called with the request and, by name, one string per placeholder of the path."""


class Operation(routing.Route):
    """A method and path of a stand-in.

    Args:
        method: the HTTP method. Unlike in a plain Starlette route, GET does not include HEAD.
        path: the path, with ``{placeholders}``.
        handler: answers the request; None for an operation that the real service has and the stand-in does not model.
        parameters: names of the query parameters that the handler models. Any other is refused with 501.
        public: whether the operation needs no key.
    """

    def __init__(
        self, method: str, path: str, handler: Handler | None, parameters: Iterable[str] = (), *, public: bool = False
    ) -> None:
        super().__init__(path, handler or _refuse_as_unmodelled, name=f"{method} {path}" if handler else "unmodelled")
        self.methods = {method}
        self.is_modelled = handler is not None
        self.parameters = frozenset(name.lower() for name in parameters)
        self.public = public

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match method and path: a path with another method is another operation, not a 405."""
        if scope.get("method") in (self.methods or ()):
            match = self.path_regex.match(scope["path"][len(scope["root_path"]) :])
            if match is not None:
                return Match.FULL, {"path_params": match.groupdict()}
        return Match.NONE, {}


def _refuse_as_unmodelled(request: Request, **_: str) -> Response:
    raise Unmodelled(f"{request.method} {request.path}")


def left_out(method: str, *paths: str) -> list[Operation]:
    """Return operations that answer 501. Without ``/movie/popular``, for one, ``/movie/{id}`` would answer it.

    Place those with placeholders before the operations that they would otherwise fall into.
    """
    return [Operation(method, path, None) for path in paths]


class StandIn(ABC):
    """The stand-in for one service, as an ASGI application to be mounted."""

    name: ClassVar[str]
    """The service's name in counters and faults."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """Query parameters that every operation takes, such as the key."""
    ignore_case: ClassVar[bool] = False
    """Whether paths match in any case."""

    def __init__(self, state: SimulatorState, operations: Iterable[Operation]) -> None:
        self._state = state
        common = {name.lower() for name in self.parameters}
        # Literal paths first, or they would be taken for an id.
        self.operations = sorted(operations, key=lambda operation: "{" in operation.path)
        for operation in self.operations:
            operation.app = partial(self._serve, operation)
            operation.parameters |= common
            if self.ignore_case:
                operation.path_regex = re.compile(operation.path_regex.pattern, re.IGNORECASE)
        self._router = routing.Router(self.operations, redirect_slashes=False, default=partial(self._serve, None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._router(scope, receive, send)

    async def _serve(self, operation: Operation | None, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method not in ("GET", "HEAD"):
            request.content = await request.body()
        with self._state.lock:
            response, fault = self._respond(operation, request)
        response.headers.setdefault("date", formatdate(self._state.clock.now(), usegmt=True))
        if fault is not None:
            await fault.wait()
        await response(scope, receive, send)

    def _respond(self, operation: Operation | None, request: Request) -> tuple[Response, FaultRule | None]:
        state = self._state
        state.scans.pump()
        refusal = self.refuse(request, operation)
        state.counters.count(self.name, operation.name if operation else "unknown", request.target)
        fault = state.faults.take(self.name, request.target)
        if fault is not None and fault.kind == "status":
            # The service fails before it does anything.
            response = Response()
        else:
            if fault is not None and fault.kind == "shift":
                state.shift(leaves=fault.leaves, comes=fault.comes)
            response = refusal or self._handle(operation, request)
            state.sharing.settle()
        if fault is not None:
            response = spoil(response, fault, self.error)
        state.counters.count_status(self.name, 0 if fault and fault.kind == "cut_off" else response.status_code)
        answered = (fault is None or fault.kind == "slow") and response.status_code in (200, 404)
        state.counters.count_subjects(self.name, self.subjects(request), answered=answered)
        return response, fault

    def _handle(self, operation: Operation | None, request: Request) -> Response:
        try:
            self.check(operation, request)
            if operation is None:
                return self.unknown(request)
            if operation.is_modelled and request.query_string:
                unknown = request.query.names - operation.parameters
                if unknown:
                    raise Unmodelled(f"{operation.name} with the parameter {', '.join(sorted(unknown))}")
            return operation.endpoint(request, **request.path_params)
        except Unmodelled as gap:
            message = f"the stand-in for {self.name} does not model {gap}"
            self._state.counters.note_unmodelled(message)
            return JSONResponse({"error": message}, 501)
        except Exception as error:
            response = self.client_error(error)
            if response is None:
                _LOG.exception("the stand-in for %s failed at %s %s", self.name, request.method, request.path)
                return self.error(500)
            return response

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Return the refusal of a request that lacks the key or exceeds a limit; None admits it."""
        return None

    def check(self, operation: Operation | None, request: Request) -> None:
        """Raise Unmodelled for a request that is admitted on the real service by rules that are not modelled."""
        return

    def unknown(self, request: Request) -> Response:
        """Answer a path that matches no operation. Raises Unmodelled where the real service may know the path."""
        return _refuse_as_unmodelled(request)

    def client_error(self, error: Exception) -> Response | None:
        """Return the answer to a request that a handler rejected with this exception; None for an internal error."""
        return None

    def subjects(self, request: Request) -> Sequence[str]:
        """Return the ids of what a request asks about, for the counters."""
        return ()

    @abstractmethod
    def error(self, status: int) -> Response:
        """Return an error of this status as the service words it."""
