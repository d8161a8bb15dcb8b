"""Requests to services and their answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.model import Progress

# Parse JSON as services send it, and check what was parsed.


# A backslash and what may follow it in a JSON string; the empty alternative is a backslash that escapes nothing.
_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)')


def parse_json(content: bytes, *, lenient: bool = False) -> Any:
    """Parse ``content``.

    ``lenient`` accepts raw control characters in strings, backslashes that escape nothing, and bytes that are not UTF-8
    (which become U+FFFD). Valid JSON has the same meaning either way.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        try:
            return json.loads(content)
        except ValueError:
            if not lenient:
                raise
        text = content.decode("utf-8", "replace")
        repaired = _ESCAPE.sub(lambda escape: escape[0] if escape[1] else r"\\", text)
        return json.loads(repaired, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return ``value`` if it is an instance of ``kind``, or else raise BadAnswer, naming both types."""
    if type(value) is kind:
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # Python counts True as a number; JSON does not.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(one.__name__ for one in kinds)
        raise BadAnswer(f"{what}: expected {names}, got {type(value).__name__}")
    return value


def as_object(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, leaving out everything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def one_line(value: Any) -> str | None:
    """Return a text trimmed and on one line; None for an empty one and for anything else."""
    return " ".join(value.split()) or None if isinstance(value, str) else None


def unique(texts: Iterable[str | None]) -> list[str]:
    """Return each text once, leaving out empty ones."""
    return list(dict.fromkeys(text for text in texts if text))


LARGEST_BODY = 32_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a service.

    Args:
        path: appended to the service's address; begins with a slash.
        json, content: a body to send as JSON, or unchanged.
        headers: override those of the transport. A token in ``Authorization`` is redacted like the transport's secrets.
        max_bytes: the largest decoded body to accept.
        repeatable: whether a failed attempt may be repeated; by default everything but POST and PATCH may.
        accept: statuses of 300 and above to return instead of raising an error.
        timeout_seconds: how long to wait for the answer, if that is longer than the transport's own limit.
        progress: counts the bytes of a long answer as they come.
    """

    method: str
    path: str
    _: KW_ONLY
    params: Mapping[str, Any] | None = None
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = LARGEST_BODY
    repeatable: bool | None = None
    accept: Collection[int] = ()
    timeout_seconds: float | None = None
    progress: Progress | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether a failed attempt may be repeated."""
        return self.method not in ("POST", "PATCH") if self.repeatable is None else self.repeatable

    def __str__(self) -> str:
        """Describe the request for messages, without its parameters, which may hold a key."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a service. ``headers`` ignores case; ``body`` is decoded and complete.

    ``where`` returns ``source``, which takes longer to make than most answers to read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    where: Callable[[], str]

    @property
    def source(self) -> str:
        """The service and the request, for messages, without any secret."""
        return self.where()

    @property
    def content_type(self) -> str:
        """The content type, for messages and comparisons."""
        return self.headers.get("content-type", "no content type").lower()

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self, *, lenient: bool = False) -> Any:
        """Parse the body, None if it is empty; see :func:`parse_json`. Raises BadAnswer if it is not JSON."""
        if not self.body.strip():
            return None
        try:
            return parse_json(self.body, lenient=lenient)
        except ValueError:
            raise BadAnswer(f"{self.source}: the answer is not JSON ({self.content_type})") from None

    def fields(self, *, lenient: bool = False) -> dict[str, Any]:
        """Parse the body; empty unless it is a JSON object."""
        try:
            return as_object(self.json(lenient=lenient))
        except BadAnswer:
            return {}

    @property
    def is_object(self) -> bool:
        """Whether the body begins as a JSON object."""
        return self.body[:200].lstrip()[:1] == b"{"

    def message(self, *names: str, lenient: bool = False) -> str:
        """Return the service's words about an error: the first of these fields with a text, or a body of plain text."""
        if self.is_object:
            fields = self.fields(lenient=lenient)
            return next((text for name in names if (text := one_line(fields.get(name)))), "")
        return "" if "html" in self.content_type else one_line(self.text) or ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """The answer of a service whose body is still arriving: ``parts`` yields it as sent, and not unpacked."""

    status: int
    headers: Mapping[str, str]
    parts: Iterator[bytes]


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Parse ``Retry-After`` (seconds or a date): seconds from now, never negative; None if absent or unusable."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), timedelta(days=365).total_seconds())
