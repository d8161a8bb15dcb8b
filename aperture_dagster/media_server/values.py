"""Parse single values of a media server's JSON, where nearly everything may be null or absent.

Functions return None (or an empty tuple) for an absent value, and raise BadAnswer for a value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import expect

TICKS_PER_MINUTE = 600_000_000


# Longer than any recording.
LONGEST_TICKS = 1e14


# Beyond it, JSON has no exact numbers; no number of a server is that large.
LARGEST_NUMBER = 2**53


LARGEST_INTEGER = 2**31 - 1


GUID = re.compile(r"^[0-9A-Fa-f]{8}(-?)(?:[0-9A-Fa-f]{4}\1){3}[0-9A-Fa-f]{12}$")
"""An id as Jellyfin and .NET write it: 32 digits in either case, or with dashes."""


_NORMAL_ID = re.compile(r"[0-9a-f]{32}").fullmatch


def parse_id(value: Any, name: str = "Id") -> str:
    """Normalise an id, which servers write with and without dashes, in upper and lower case."""
    if type(value) is str and _NORMAL_ID(value):
        return value
    text = expect(value, str, name).strip()
    if not text or not text.isprintable():
        raise BadAnswer(f"{name} is empty or not an id")
    return GUID.sub(lambda guid: guid[0].replace("-", "").lower(), text)


def parse_text(item: Mapping[str, Any], name: str) -> str | None:
    """Strip a text; an empty one is None."""
    value = item.get(name)
    if value is None:
        return None
    return (value if type(value) is str else expect(value, str, name)).strip() or None


def require_text(item: Mapping[str, Any], name: str) -> str:
    """Strip a text; raise BadAnswer if there is none."""
    value = item.get(name)
    if not isinstance(value, str) or not (text := value.strip()):
        raise BadAnswer(f"{name} is missing")
    return text


def parse_texts(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Strip the texts of a list; skip empty ones."""
    value = item.get(name)
    if value is None:
        return ()
    texts = [text.strip() for text in expect(value, list, name) if isinstance(text, str)]
    return tuple(filter(None, texts))


def parse_names(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the names of a list of objects."""
    value = item.get(name)
    if value is None:
        return ()
    names = [entry.get("Name") for entry in expect(value, list, name) if isinstance(entry, dict)]
    return tuple([entry for entry in names if isinstance(entry, str) and entry])


def parse_number(item: Mapping[str, Any], name: str) -> float | None:
    """Return a number; NaN is None."""
    value = item.get(name)
    if value is None:
        return None
    # Also False for True, which is no number in JSON.
    number = value if type(value) is int or type(value) is float else expect(value, (int, float), name)
    if abs(number) > LARGEST_NUMBER:
        raise BadAnswer(f"{name} is out of range")
    return float(number) if number == number else None


def parse_integer(item: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number."""
    value = item.get(name)
    if value is None:
        return None
    if type(value) is not int:
        value = parse_number(item, name)
        if value is None:
            return None
    if abs(value) > LARGEST_INTEGER:
        raise BadAnswer(f"{name} is out of range")
    return int(value)


def parse_minutes(item: Mapping[str, Any]) -> int | None:
    """Return an item's runtime."""
    ticks = parse_number(item, "RunTimeTicks")
    return round(ticks / TICKS_PER_MINUTE) if ticks and 0 < ticks < LONGEST_TICKS else None


def parse_moment(text: str) -> datetime | None:
    """Parse an ISO date as UTC, which is also assumed without a zone; None for an unusable one."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elif moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # .NET's "no date" is the first day of year 1.
    return moment if moment.year > 1900 else None


def moment_of(item: Mapping[str, Any], name: str) -> datetime | None:
    """Parse a date of an item; see :func:`parse_moment`."""
    text = parse_text(item, name)
    return parse_moment(text) if text else None


def day_of(item: Mapping[str, Any], name: str) -> date | None:
    """Parse the day of a date of an item."""
    moment = moment_of(item, name)
    return moment.date() if moment else None
