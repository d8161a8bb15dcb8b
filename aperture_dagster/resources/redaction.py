"""Keeping secrets out of what is said: every form in which a key may come back from a service or a library."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache

HIDDEN = "***"


def redact(message: str, secrets: Iterable[str]) -> str:
    """``message`` with every secret replaced, also where it was quoted, more than once perhaps, for a URL, JSON, HTML
    or Python, or written in base64.

    To be applied before a message is cut: half a key at the edge would not be found.
    """
    pattern = _pattern(tuple(sorted(secret for secret in secrets if secret)))
    return pattern.sub(HIDDEN, message) if pattern else message


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    # The longest first: one secret may be part of another.
    return re.compile("|".join(map(_forms, sorted(secrets, key=len, reverse=True)))) if secrets else None


def _forms(secret: str) -> str:
    encoded = b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    return f"{''.join(map(_forms_of, secret))}|{re.escape(encoded)}=*"


@lru_cache(maxsize=256)
def _forms_of(character: str) -> str:
    """A pattern of all that one character of a secret becomes on its way."""
    import html
    import json

    # A URL within a URL quotes the percent signs of the inner one.
    quoted = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    if character.isalnum() and character.isascii():
        return f"(?:{character}|(?i:{quoted}))"
    if character.isspace():
        # A query has a plus for a space, and may be quoted again.
        return rf"(?:\s+|\+|\\[nrt]|(?i:%(?:25)*2b|{quoted}))"
    written = {character, json.dumps(character)[1:-1], repr(character)[1:-1], html.escape(character)}
    written |= {f"&#{ord(character)};", f"&#x{ord(character):x};"}
    longest_first = sorted(written, key=len, reverse=True)
    # Text in text, such as JSON in JSON, has more backslashes.
    return rf"(?:\\*(?:{'|'.join(map(re.escape, longest_first))})|(?i:{quoted}))"
