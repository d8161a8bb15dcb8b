"""Parameters of requests as the real server binds them. What it would refuse, no client of ours may send."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.responses import Response

from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Query, Unmodelled

T = TypeVar("T")
_GUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class NotFoundError(Exception):
    """Something does not exist, or not for this user."""


class ArgumentError(Exception):
    """An argument that the server cannot use: an uncaught exception, answered with 400 and plain text."""


class UnknownUserError(NotFoundError):
    """No user has this id. On the real server this is an uncaught exception, answered with plain text."""


def invalid(name: str, value: object) -> Unmodelled:
    """Return the error for a value that the server cannot bind."""
    return Unmodelled(f"the invalid value {value!r} of {name}")


def not_found() -> Response:
    """Return 404 with RFC 7807 problem details."""
    content = {"type": "https://tools.ietf.org/html/rfc9110#section-15.5.5", "title": "Not Found", "status": 404}
    return JSONResponse(content, 404, media_type="application/problem+json; charset=utf-8")


def listing(
    query: Query, entries: list[T], render: Callable[[list[T]], list[dict[str, Any]]], *, with_start: bool = True
) -> Response:
    """Return the page of a listing that ``startIndex`` and ``limit`` select.

    Args:
        query: the request's parameters.
        entries: the whole listing.
        render: makes the JSON of the entries of a page.
        with_start: whether the response repeats the start index.
    """
    start, limit = max(0, integer(query, "startIndex") or 0), integer(query, "limit")
    page = entries[start:] if limit is None else entries[start : start + max(0, limit)]
    total = len(page) if boolean(query, "enableTotalRecordCount") is False else len(entries)
    content = {"Items": render(page), "TotalRecordCount": total}
    return JSONResponse(content | {"StartIndex": start} if with_start else content)


def integer(query: Query, name: str) -> int | None:
    """Parse an int32; None when absent. Raises Unmodelled."""
    value = query.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", value) or not -(2**31) <= int(value) < 2**31:
        raise invalid(name, value)
    return int(value)


def boolean(query: Query, name: str) -> bool | None:
    """Parse a boolean in any case; None when absent. Raises Unmodelled."""
    value = query.get(name)
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise invalid(name, value)
    return value.lower() == "true"


def guid(query: Query, name: str) -> str | None:
    """Parse an id to 32 lower-case hex digits; None when absent. Raises Unmodelled."""
    value = query.get(name)
    return None if value is None else as_guid(name, value)


def as_guid(name: str, value: str) -> str:
    """Parse an id, with or without dashes, to 32 lower-case hex digits. Raises Unmodelled."""
    if not _GUID.fullmatch(value):
        raise invalid(name, value)
    return value.replace("-", "").lower()


def guids(query: Query, name: str) -> tuple[str, ...]:
    """Parse a list of ids, dropping invalid ones as the real server does."""
    return tuple(part.replace("-", "").lower() for part in query.split(name) if _GUID.fullmatch(part))


def moment(query: Query, name: str) -> float | None:
    """Parse a date (ISO 8601, or ``yyyyMMddHHmmss``) to Unix seconds; None when absent. Raises Unmodelled."""
    value = query.get(name)
    if value is None:
        return None
    return parse_moment(name, value)


def parse_moment(name: str, value: str) -> float:
    """Parse a date to Unix seconds; one without a zone is UTC. Raises Unmodelled."""
    try:
        if re.fullmatch(r"[0-9]{14}", value):
            when = datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        else:
            # An unencoded plus sign in a query arrives as a blank.
            when = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))
    except ValueError:
        raise invalid(name, value) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def ticks_date(seconds: float) -> str:
    """Format Unix seconds as the server writes dates, in UTC.

    Trailing zeros of a fraction are trimmed, but whole seconds have seven zeros
    (jellyfin/jellyfin, ``src/Jellyfin.Extensions/Json/Converters/JsonDateTimeConverter.cs``, 10.9 to 12).
    """
    when = datetime.fromtimestamp(seconds, UTC)
    if when.microsecond < 1000:
        return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}0Z"
    return f"{when:%Y-%m-%dT%H:%M:%S}." + f"{when.microsecond:06d}".rstrip("0") + "Z"
