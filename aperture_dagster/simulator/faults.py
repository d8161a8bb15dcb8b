"""Faults on demand: what a service does wrong, how often, and when."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from aperture_dagster.simulator.asgi import Request, Response, Service, encode

FaultKind = Literal[
    "status", "slow", "cut_off", "malformed_json", "html", "empty_object", "empty_list", "missing_field", "wrong_type",
    "shift", "empty_body", "wrong_content", "huge", "packed", "drip",
]  # fmt: skip
_HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><h1>Please wait</h1></body></html>"
_OF_JSON = ("empty_object", "empty_list", "missing_field", "wrong_type")
_LISTS = ("Items", "results", "data", "keywords")


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault. It hits requests of ``service`` whose path and query hold ``path_contains``.

    The first ``after`` requests that match pass unharmed, then ``times`` are hit (None: all that follow).
    ``status`` with ``retry_after`` (seconds, or a date as text) is for the kind ``status``; ``delay_seconds`` delays
    any kind, by chance up to ``delay_up_to_seconds`` where that is given. ``field`` names what ``missing_field`` and
    ``wrong_type`` spoil; by default the list of a listing. With ``entry_contains`` they spoil ``field`` only in those
    entries of a listing whose JSON holds that text.
    ``shift`` moves the pages that are still to come: before the answer is made, the media server loses the title with
    the key ``leaves`` and gets back the one with the key ``comes``; with both its totals stay the same.
    ``html`` is a page that says so, ``wrong_content`` one that is named as what was asked for. ``huge`` goes on for
    ``megabytes`` after the right answer, without naming its length; ``packed`` is the right answer with so many blanks
    behind it, as gzip. ``drip`` sends the right answer byte by byte, ``delay_seconds`` apart.
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
        """Refuse what could never act. Raises ValueError."""
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown kind of fault {self.kind!r}; known: {', '.join(get_args(FaultKind))}")
        if self.times is not None and self.times < 0:
            raise ValueError("times must not be negative")
        if self.kind in ("slow", "drip") and self.delay_seconds <= 0:
            raise ValueError(f"the kind {self.kind} needs delay_seconds")
        if self.delay_up_to_seconds is not None and not 0 <= self.delay_seconds <= self.delay_up_to_seconds:
            raise ValueError("delay_up_to_seconds must not be less than delay_seconds")
        if self.kind == "shift" and self.leaves is None and self.comes is None:
            raise ValueError("a shift needs a title that leaves or comes")
        if self.entry_contains and self.field is None:
            raise ValueError("to spoil some entries, the field must be named")
        if self.service == "tmdb_images" and self.kind in _OF_JSON:
            raise ValueError(f"{self.kind} spoils JSON, and pictures are none")
        if self.megabytes <= 0:
            raise ValueError(f"the kind {self.kind} needs megabytes")
        if not 100 <= self.status <= 599:
            raise ValueError(f"{self.status} is not an HTTP status")

    def delay(self) -> float:
        """How long, in seconds, an answer that it hits is held back."""
        if self.delay_up_to_seconds is None:
            return self.delay_seconds
        return random.uniform(self.delay_seconds, self.delay_up_to_seconds)


class FaultBook:
    """The active faults, in order of their arrival."""

    def __init__(self) -> None:
        self._rules: dict[int, FaultRule] = {}
        self._next_id = 1

    def add(self, rule: FaultRule) -> int:
        """Add a fault and return its id."""
        rule_id, self._next_id = self._next_id, self._next_id + 1
        self._rules[rule_id] = rule
        return rule_id

    def remove(self, rule_id: int) -> None:
        """Remove one fault. Raises KeyError when there is none of this id (left)."""
        del self._rules[rule_id]

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def active(self) -> dict[int, FaultRule]:
        """Faults by id, with what is left of ``times`` and ``after``."""
        return dict(self._rules)

    def take(self, service: str, request: Request) -> FaultRule | None:
        """The fault that hits this request, used up by one; None when it passes."""
        if not self._rules:
            return None
        target = request.target
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


def spoil(response: Response, rule: FaultRule, service: Service) -> Response:
    """The answer as the fault leaves it.

    ``slow``, ``drip`` and ``cut_off`` act where it is sent, ``shift`` before it is made.
    """
    match rule.kind:
        case "status":
            answer = service.error(rule.status)
            if rule.retry_after is not None:
                answer.headers = (*answer.headers, ("Retry-After", str(rule.retry_after)))
            return answer
        case "malformed_json":
            return replace(response, body=response.body[: max(1, len(response.body) * 2 // 3)] or b"{")
        case "html":
            return Response(200, _HTML, "text/html; charset=utf-8")
        case "empty_body":
            return replace(response, status=200, body=b"")
        case "wrong_content":
            return replace(response, status=200, body=_HTML)
        case "huge":
            return replace(response, padding=int(rule.megabytes * 1_000_000))
        case "packed":
            content = gzip.compress(response.body + b" " * int(rule.megabytes * 1_000_000), compresslevel=1)
            return replace(response, body=content, headers=(*response.headers, ("Content-Encoding", "gzip")))
        case kind if kind in _OF_JSON and not _is_json(response):
            return response
        case "empty_object":
            return replace(response, status=200, body=b"{}")
        case "empty_list" | "missing_field" | "wrong_type":
            return replace(response, body=encode(_spoil_content(json.loads(response.body or b"{}"), rule)))
        case _:
            return response


def _is_json(response: Response) -> bool:
    return not response.body or "json" in (response.content_type or "")


def _spoil_content(content: Any, rule: FaultRule) -> Any:
    if rule.kind == "empty_list":
        return _emptied(content)
    if rule.field is None:
        return _spoil_listing(content, rule.kind)
    if isinstance(content, dict) and rule.field in content and rule.entry_contains in encode(content).decode():
        _spoil_field(content, rule.field, rule.kind)
        return content
    entries = content if isinstance(content, list) else _listing(content)
    for entry in entries:
        if isinstance(entry, dict) and rule.field in entry and rule.entry_contains in encode(entry).decode():
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
