"""Responses that the stand-ins share, and faults on demand: what goes wrong, how often, and when."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from starlette import responses
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class JSONResponse(responses.JSONResponse):
    """Compact JSON in UTF-8."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return encode_json(content)


def encode_json(content: Any) -> bytes:
    """Encode as compact JSON in UTF-8. Raises UnicodeEncodeError for a lone surrogate."""
    return _ENCODER.encode(content).encode()


def raw_json(body: bytes) -> Response:
    """Return a body as JSON, whether or not it is valid."""
    return Response(body, media_type=JSONResponse.media_type)


def html_page(text: str, status: int) -> Response:
    """Return the kind of page that a proxy in front of a service serves in its place."""
    title = f"<head><title>{text}</title></head>"
    return HTMLResponse(f"<!DOCTYPE html><html>{title}<body><h1>{text}</h1></body></html>", status)


FaultKind = Literal[
    "status", "slow", "cut_off", "malformed_json", "html", "empty_object", "empty_list", "missing_field", "wrong_type",
    "shift", "wrong_content", "huge", "packed", "drip",
]  # fmt: skip
_HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><h1>Please wait</h1></body></html>"
_JSON_KINDS = ("empty_object", "empty_list", "missing_field", "wrong_type")
_LISTS = ("Items", "results", "data", "keywords")
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class FaultRule:
    """A fault that hits requests to ``service`` (``*``: any) whose path and query contain ``path_contains``.

    The first ``after`` matching requests pass, then ``times`` are hit (None: all that follow). ``delay_seconds``
    delays a response of any kind, up to a random ``delay_up_to_seconds`` if that is set. The kinds are:

    - ``status``: an error, with ``retry_after`` (seconds, or a date as text).
    - ``slow``, ``drip``: the correct response, late, or byte by byte, ``delay_seconds`` apart.
    - ``cut_off``, ``malformed_json``, ``empty_object``, ``empty_list``: part of the response or none.
    - ``missing_field``, ``wrong_type``: ``field`` is spoiled (default: the list of a listing). With
      ``entry_contains``, only in those entries of a listing whose JSON contains that text.
    - ``shift``: first, the media server loses the title with the key ``leaves`` and gets back the one with the key
      ``comes``, so that the remaining pages shift. With both, its totals stay the same.
    - ``html``: a page with status 200; ``wrong_content``: the same under the expected content type.
    - ``huge``: the correct response and ``megabytes`` more, without a length; ``packed``: the same as gzip.
    """

    service: str
    path_contains: str = ""
    kind: FaultKind = "status"
    times: int | None = None
    status: int = 500
    retry_after: int | str | None = None
    delay_seconds: float = 0.0
    delay_up_to_seconds: float | None = None
    after: int = 0
    field: str | None = None
    entry_contains: str = ""
    leaves: str | None = None
    comes: str | None = None
    megabytes: float = 50.0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown kind."""
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown kind of fault {self.kind!r}; known: {', '.join(get_args(FaultKind))}")

    @property
    def extra_bytes(self) -> int:
        """``megabytes`` as bytes."""
        return int(self.megabytes * 1_000_000)

    def delay(self) -> float:
        """Return how long to hold back a response, in seconds."""
        if self.delay_up_to_seconds is None:
            return self.delay_seconds
        return random.uniform(self.delay_seconds, self.delay_up_to_seconds)

    async def wait(self) -> None:
        """Hold a response back; one that drips takes its time as it is sent."""
        if self.kind != "drip" and (delay := self.delay()) > 0:
            await asyncio.sleep(delay)


class FaultBook:
    """The active faults, oldest first."""

    def __init__(self) -> None:
        self._rules: dict[int, FaultRule] = {}
        self._next_id = 1

    def add(self, rule: FaultRule) -> int:
        """Add a fault and return its id."""
        rule_id, self._next_id = self._next_id, self._next_id + 1
        self._rules[rule_id] = rule
        return rule_id

    def remove(self, rule_id: int) -> None:
        """Remove a fault. Raises KeyError when it is unknown or used up."""
        del self._rules[rule_id]

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def active(self) -> dict[int, FaultRule]:
        """Return the faults by id, with what is left of ``times`` and ``after``."""
        return dict(self._rules)

    def take(self, service: str, target: str) -> FaultRule | None:
        """Use up one hit of the first fault that matches this request, and return it; None when none matches."""
        for rule_id, rule in list(self._rules.items()):
            if rule.service not in (service, "*") or rule.path_contains not in target:
                continue
            if rule.after > 0:
                self._rules[rule_id] = replace(rule, after=rule.after - 1)
                continue
            if rule.times is None:
                return rule
            if rule.times > 1:
                self._rules[rule_id] = replace(rule, times=rule.times - 1)
            else:
                del self._rules[rule_id]
            return rule if rule.times > 0 else None
        return None


def spoil(response: Response, rule: FaultRule, error: Callable[[int], Response]) -> Response:
    """Return the response as the fault leaves it. ``slow`` and ``shift`` act elsewhere.

    Args:
        response: the correct response.
        rule: the fault.
        error: makes the service's response to an error of a given status.
    """
    body = bytes(response.body)
    match rule.kind:
        case "status":
            response = error(rule.status)
            if rule.retry_after is not None:
                response.headers["Retry-After"] = str(rule.retry_after)
            return response
        case "malformed_json":
            return _with_body(response, body[: max(1, len(body) * 2 // 3)] or b"{", response.status_code)
        case "html":
            return HTMLResponse(_HTML)
        case "wrong_content":
            return _with_body(response, _HTML)
        case "packed":
            packed = _with_body(response, gzip.compress(body + b" " * rule.extra_bytes, compresslevel=1))
            packed.headers["Content-Encoding"] = "gzip"
            return packed
        case "huge":
            return StreamingResponse(_endless(body, rule.extra_bytes), response.status_code, _other_headers(response))
        case "drip":
            return StreamingResponse(_drip(body, rule.delay()), response.status_code, response.headers)
        case "cut_off":
            return _CutOff(body, response.status_code, response.headers)
        case kind if kind not in _JSON_KINDS or (body and "json" not in response.headers.get("content-type", "")):
            return response
        case "empty_object":
            return _with_body(response, b"{}")
        case _:
            content = _spoil_content(json.loads(body or b"{}"), rule)
            return _with_body(response, encode_json(content), response.status_code)


def _other_headers(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "content-length"}


def _with_body(response: Response, body: bytes, status: int = 200) -> Response:
    return Response(body, status, _other_headers(response))


async def _endless(body: bytes, extra: int) -> AsyncIterator[bytes]:
    yield body
    for sent in range(0, extra, _CHUNK):
        yield bytes(min(_CHUNK, extra - sent))
        # Let other requests be answered even if the client reads as fast as this is written.
        await asyncio.sleep(0)


async def _drip(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for place in range(len(body)):
        yield body[place : place + 1]
        await asyncio.sleep(seconds)


class _CutOff(Response):
    """Closes the connection halfway through the body; of an answer without a body, nothing usable arrives."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the announced length; the server then closes the connection."""
        status, headers = self.status_code, self.raw_headers
        if not self.body:
            status, headers = 200, [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def _spoil_content(content: Any, rule: FaultRule) -> Any:
    if rule.kind == "empty_list":
        return _emptied(content)
    if rule.field is None:
        return _spoil_listing(content, rule.kind)
    if isinstance(content, dict) and rule.field in content and rule.entry_contains in encode_json(content).decode():
        _spoil_field(content, rule.field, rule.kind)
        return content
    entries = content if isinstance(content, list) else _listing(content)
    for entry in entries:
        if isinstance(entry, dict) and rule.field in entry and rule.entry_contains in encode_json(entry).decode():
            _spoil_field(entry, rule.field, rule.kind)
    return content


def _emptied(content: Any) -> Any:
    if not isinstance(content, dict):
        return []
    for name in _LISTS:
        if name in content:
            content[name] = []
    for name in ("TotalRecordCount", "total_results", "total_pages"):
        if name in content:
            content[name] = 0
    return content


def _spoil_listing(content: Any, kind: FaultKind) -> Any:
    if isinstance(content, list):
        for entry in content[:1]:
            for name in ("Id", "id"):
                if isinstance(entry, dict) and name in entry:
                    _spoil_field(entry, name, kind)
        return content
    if isinstance(content, dict):
        name = next((name for name in (*_LISTS, "id", "Id") if name in content), next(iter(content), None))
        if name is not None:
            _spoil_field(content, name, kind)
    return content


def _listing(content: Any) -> list[Any]:
    if isinstance(content, dict):
        for name in _LISTS:
            if isinstance(content.get(name), list):
                return content[name]
    return []


def _spoil_field(content: dict[str, Any], name: str, kind: FaultKind) -> None:
    if kind == "missing_field":
        del content[name]
    else:
        content[name] = ["unexpected"] if isinstance(content[name], str | int | float) else "unexpected"
