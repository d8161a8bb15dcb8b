"""The little of HTTP that the stand-ins need: a request, an answer, a table of routes.

The hot endpoints are asked thousands of times a second by benchmarks; a general router and its request objects
would be most of the cost. Services are plain: they map a `Request` to a `Response` and never await.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, KeysView, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote

JSON = "application/json; charset=utf-8"
Headers = tuple[tuple[str, str], ...]


class Unmodelled(Exception):
    """A request asked for something that the real service may know and the stand-in does not model.

    Raised by handlers, and by the routers for undeclared parameters. The simulator answers 501 with the message and
    records it, which fails the test that asked: answering as if nothing had been asked for would hide the mistake.
    """


class Query:
    """Query parameters; names match in any case, a name may be given more than once."""

    __slots__ = ("_values",)

    def __init__(self, query_string: str) -> None:
        values: dict[str, list[str]] = {}
        if query_string:
            for name, value in parse_qsl(query_string, keep_blank_values=True):
                values.setdefault(name.lower(), []).append(value)
        self._values = values

    def get(self, name: str) -> str | None:
        """The first value, or None when the parameter is absent or blank."""
        values = self._values.get(name.lower())
        return (values[0].strip() or None) if values else None

    def all(self, name: str) -> list[str]:
        """Every value of a repeated parameter, unsplit."""
        return self._values.get(name.lower(), [])

    def split(self, name: str, separator: str = ",") -> list[str]:
        """Every value, with joined lists taken apart and blanks dropped."""
        return [part.strip() for value in self.all(name) for part in value.split(separator) if part.strip()]

    @property
    def names(self) -> KeysView[str]:
        """Names of all parameters, in lower case."""
        return self._values.keys()

    def without(self, *names: str) -> Query:
        """The same without some parameters."""
        dropped = {name.lower() for name in names}
        query = Query("")
        query._values = {name: values for name, values in self._values.items() if name not in dropped}
        return query


class Request:
    """One request, with its path relative to the service's mount point."""

    __slots__ = ("_headers", "_query", "body", "client", "method", "path", "query_string", "raw_headers", "raw_path")

    def __init__(
        self,
        method: str,
        path: str,
        query_string: str = "",
        raw_headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        client: str = "127.0.0.1",
        raw_path: str | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.raw_path = path if raw_path is None else raw_path
        self.query_string = query_string
        self.raw_headers = raw_headers or []
        self.body = body
        self.client = client
        self._headers: dict[str, str] | None = None
        self._query: Query | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name; of a repeated one the last counts."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers
            }
        return self._headers

    @property
    def query(self) -> Query:
        """The parsed query string."""
        if self._query is None:
            self._query = Query(self.query_string)
        return self._query

    @property
    def target(self) -> str:
        """Path and query as they were sent."""
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

    def json(self) -> Any:
        """The body as JSON, None when there is none. Raises ValueError when it is not JSON."""
        return json.loads(self.body) if self.body.strip() else None

    def path_parts(self) -> list[str]:
        """Path segments, decoded one by one, so that a name may hold a slash."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")]


@dataclass(slots=True)
class Response:
    """One answer, complete in memory but for ``padding``: so many bytes of nothing follow the body."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: Headers = ()
    padding: int = 0


def json_response(content: Any, status: int = 200, headers: Headers = (), content_type: str = JSON) -> Response:
    """``content`` as compact JSON in UTF-8."""
    return Response(status, encode(content), content_type, headers)


def text_response(text: str, status: int = 200) -> Response:
    """Plain text, as uncaught errors of the real servers answer."""
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def html_response(text: str, status: int) -> Response:
    """A page, as proxies before a service answer in its place."""
    page = f"<!DOCTYPE html><html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
    return Response(status, page.encode(), "text/html; charset=utf-8")


def empty_response(status: int = 204) -> Response:
    """An answer without a body."""
    return Response(status, b"", None)


def encode(content: Any) -> bytes:
    """Compact JSON in UTF-8. A lone surrogate, which a world must not hold, would raise."""
    return _ENCODER.encode(content).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)

Handler = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request leads: the endpoint's name in the counters, the handler, and the parameters that it models.

    ``parameters`` holds lower-case names; None accepts any parameter.
    """

    endpoint: str
    handler: Handler
    arguments: tuple[str, ...] = ()
    parameters: frozenset[str] | None = None

    def answer(self, request: Request) -> Response:
        """Call the handler.

        Raises:
            Unmodelled: the request has a parameter that the route does not model.
        """
        if self.parameters is not None and request.query_string:
            unknown = request.query.names - self.parameters
            if unknown:
                raise Unmodelled(f"{self.endpoint} with the parameter {', '.join(sorted(unknown))}")
        return self.handler(request, *self.arguments)


def _refuse(request: Request, *_: str) -> NoReturn:
    raise Unmodelled(f"{request.method} {request.path}")


UNMODELLED = Route("unmodelled", _refuse)
"""The route of a path that the real service may know and the stand-in does not."""


class Service(Protocol):
    """A stand-in for one outside service."""

    name: str

    def find(self, request: Request) -> Route:
        """The route of a request. Unknown paths have one, too: it answers 404, or raises Unmodelled."""
        ...

    def error(self, status: int) -> Response:
        """How this service words an error of this status, for faults on demand."""
        ...


class Router:
    """Routes with ``{placeholders}``, which match one segment.

    Args:
        ignore_case: paths match in any case.
        parameters: names of the query parameters that every route of the service takes, such as its key.
    """

    def __init__(self, *, ignore_case: bool = False, parameters: Collection[str] = ()) -> None:
        self._ignore_case = ignore_case
        self._common = {name.lower() for name in parameters}
        self._fixed: dict[tuple[str, str], Route] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        self._endpoints: list[str] = []

    def add(self, method: str, pattern: str, handler: Handler, parameters: Collection[str] | None = None) -> None:
        """Register a handler, called with the request and one string per placeholder.

        Args:
            method: the HTTP method.
            pattern: the path.
            handler: answers the request.
            parameters: names of the query parameters that it models; any other is refused with 501. None accepts any.
        """
        endpoint = f"{method} {pattern}"
        self._endpoints.append(endpoint)
        known = None if parameters is None else frozenset(self._common | {name.lower() for name in parameters})
        self._register(method, pattern, Route(endpoint, handler, parameters=known))

    def leave_out(self, method: str, *patterns: str) -> None:
        """Register paths that the real service has and the stand-in does not model: they answer 501.

        Without this, ``/movie/popular`` would be taken for ``/movie/{id}``. Register patterns before those that they
        would fall into.
        """
        for pattern in patterns:
            self._register(method, pattern, UNMODELLED)

    def _register(self, method: str, pattern: str, route: Route) -> None:
        if "{" not in pattern:
            self._fixed[method, pattern.lower() if self._ignore_case else pattern] = route
            return
        expression = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(pattern))
        compiled = re.compile(expression, re.IGNORECASE if self._ignore_case else 0)
        self._patterns.setdefault(method, []).append((compiled, route))

    @property
    def endpoints(self) -> list[str]:
        """Every modelled route as ``METHOD /pattern``, the name that the counters know it by."""
        return self._endpoints

    def find(self, method: str, path: str) -> Route | None:
        """The first route that matches, fixed paths before patterns."""
        fixed = self._fixed.get((method, path.lower() if self._ignore_case else path))
        if fixed is not None:
            return fixed
        for compiled, route in self._patterns.get(method, ()):
            match = compiled.fullmatch(path)
            if match is not None:
                return Route(route.endpoint, route.handler, match.groups(), route.parameters)
        return None
