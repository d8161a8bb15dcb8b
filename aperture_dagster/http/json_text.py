"""Parse JSON as services send it, and check what was parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from aperture_dagster.http.errors import BadAnswer

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
