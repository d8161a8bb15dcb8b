"""JSON as services really send it."""

from __future__ import annotations

import json
import re
from typing import Any

# A backslash with what may follow it in a JSON string; the empty alternative is a backslash that escapes nothing.
_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)')


def parse_json(content: bytes, *, lenient: bool = False) -> Any:
    """Parse ``content``.

    Args:
        content: the body of an answer.
        lenient: accept raw control characters in strings, backslashes that escape nothing, and bytes that are not
            UTF-8 (which become U+FFFD). A valid text means the same either way.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        if not lenient:
            raise
    text = content.decode("utf-8", "replace")
    repaired = _ESCAPE.sub(lambda escape: escape[0] if escape[1] else r"\\", text)
    try:
        return json.loads(repaired, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
