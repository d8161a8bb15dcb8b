"""Reading parameters the way the real server does: what it cannot bind is a 400 with problem details."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from starlette.responses import Response

from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Query

_GUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class BindingError(Exception):
    """A parameter that cannot be read as what it should be."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"{field}: {value}")
        self.field = field
        self.value = value

    def response(self) -> Response:
        """400 with RFC 7807 problem details."""
        return problem(400, {self.field: [f"The value '{self.value}' is not valid."]})


class NotFoundError(Exception):
    """Something that does not exist, or not for this user."""


class UnknownUserError(NotFoundError):
    """A ``userId`` of nobody, which the real server looks up in passing: an uncaught exception, answered in text."""


def problem(status: int, errors: dict[str, list[str]] | None = None) -> Response:
    """An error in RFC 7807 form."""
    titles = {400: "One or more validation errors occurred.", 404: "Not Found"}
    content: dict[str, object] = {
        "type": f"https://tools.ietf.org/html/rfc9110#section-15.5.{1 if status == 400 else 5}",
        "title": titles.get(status, "Error"),
        "status": status,
        "traceId": f"00-{hashlib.md5(repr(errors).encode(), usedforsecurity=False).hexdigest()}-0000000000000001-00",
    }
    if errors:
        content["errors"] = errors
    return JSONResponse(content, status, media_type="application/problem+json; charset=utf-8")


def integer(query: Query, name: str) -> int | None:
    """An int32, or None when absent."""
    value = query.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", value) or not -(2**31) <= int(value) < 2**31:
        raise BindingError(name, value)
    return int(value)


def number(query: Query, name: str) -> float | None:
    """A float, or None when absent."""
    value = query.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        raise BindingError(name, value) from None


def boolean(query: Query, name: str) -> bool | None:
    """A boolean in any case, or None when absent."""
    value = query.get(name)
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise BindingError(name, value)
    return value.lower() == "true"


def guid(query: Query, name: str) -> str | None:
    """An id as 32 lower-case hex digits, or None when absent."""
    value = query.get(name)
    return None if value is None else as_guid(name, value)


def as_guid(name: str, value: str) -> str:
    """An id with or without dashes as 32 lower-case hex digits. Raises BindingError."""
    if not _GUID.fullmatch(value):
        raise BindingError(name, value)
    return value.replace("-", "").lower()


def guids(query: Query, name: str) -> tuple[str, ...]:
    """A list of ids; what is no id is dropped, as the real server does in lists."""
    return tuple(part.replace("-", "").lower() for part in query.split(name) if _GUID.fullmatch(part))


def moment(query: Query, name: str) -> float | None:
    """A date (ISO 8601, or ``yyyyMMddHHmmss``) in unix seconds, or None when absent."""
    value = query.get(name)
    if value is None:
        return None
    return parse_moment(name, value)


def parse_moment(name: str, value: str) -> float:
    """A date in unix seconds; one without zone is UTC. Raises BindingError."""
    try:
        if re.fullmatch(r"[0-9]{14}", value):
            when = datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        else:
            # A plus sign in an unencoded query arrives as a blank.
            when = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))
    except ValueError:
        raise BindingError(name, value) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def ticks_date(seconds: float) -> str:
    """Unix seconds as the server writes dates, UTC.

    Zeros at the end of a fraction are trimmed, but whole seconds have seven digits of them
    (jellyfin/jellyfin, ``src/Jellyfin.Extensions/Json/Converters/JsonDateTimeConverter.cs``, 10.9 to 12).
    """
    when = datetime.fromtimestamp(seconds, UTC)
    if when.microsecond < 1000:
        return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}0Z"
    return f"{when:%Y-%m-%dT%H:%M:%S}." + f"{when.microsecond:06d}".rstrip("0") + "Z"
