"""The little of HTTP that the stand-ins need: a request, an answer, a table of routes.

The hot endpoints are asked thousands of times a second by benchmarks; a general router and its request objects
would be most of the cost. Services are plain: they map a `Request` to a `Response` and never await.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

JSON = "application/json; charset=utf-8"
Headers = tuple[tuple[str, str], ...]


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
    """What a request was found to ask: the endpoint's name for the counters, and who answers."""

    endpoint: str
    handler: Handler
    arguments: tuple[str, ...] = ()


class Service(Protocol):
    """A stand-in for one outside service."""

    name: str

    def find(self, request: Request) -> Route:
        """The route of a request; unknown paths have one, too (it answers 404)."""
        ...

    def error(self, status: int) -> Response:
        """How this service words an error of this status, for faults on demand."""
        ...


class Router:
    """Routes with ``{placeholders}``, which match one segment; paths match in any case when asked to."""

    def __init__(self, *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._fixed: dict[tuple[str, str], Route] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], str, Handler]]] = {}

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Register a handler, called with the request and one string per placeholder."""
        endpoint = f"{method} {pattern}"
        if "{" not in pattern:
            self._fixed[method, pattern.lower() if self._ignore_case else pattern] = Route(endpoint, handler)
            return
        expression = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(pattern))
        compiled = re.compile(expression, re.IGNORECASE if self._ignore_case else 0)
        self._patterns.setdefault(method, []).append((compiled, endpoint, handler))

    @property
    def endpoints(self) -> list[str]:
        """Every route as ``METHOD /pattern``, the name that the counters know it by."""
        patterns = [endpoint for routes in self._patterns.values() for _, endpoint, _ in routes]
        return [route.endpoint for route in self._fixed.values()] + patterns

    def find(self, method: str, path: str) -> Route | None:
        """The first route that matches, fixed paths before patterns."""
        fixed = self._fixed.get((method, path.lower() if self._ignore_case else path))
        if fixed is not None:
            return fixed
        for compiled, endpoint, handler in self._patterns.get(method, ()):
            match = compiled.fullmatch(path)
            if match is not None:
                return Route(endpoint, handler, match.groups())
        return None
