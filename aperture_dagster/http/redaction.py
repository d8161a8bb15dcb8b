"""Redact secrets in messages, in every form in which a service or a library may repeat a key."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache

HIDDEN = "***"


def redact(message: str, secrets: Iterable[str]) -> str:
    """Replace every secret, also where it is escaped (for a URL, JSON, HTML or Python, even repeatedly) or in base64.

    Call it before a message is truncated: half a key at the edge would not be found.
    """
    pattern = _pattern(tuple(sorted(secret for secret in secrets if secret)))
    return pattern.sub(HIDDEN, message) if pattern else message


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    # Longest first, because one secret may be part of another.
    return re.compile("|".join(map(_forms, sorted(secrets, key=len, reverse=True)))) if secrets else None


def _forms(secret: str) -> str:
    encoded = b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    return f"{''.join(map(_forms_of, secret))}|{re.escape(encoded)}=*"


@lru_cache(maxsize=256)
def _forms_of(character: str) -> str:
    """Return a pattern of all escaped forms of a character."""
    # A URL within a URL escapes the percent signs of the inner one.
    quoted = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    if character.isalnum() and character.isascii():
        return f"(?:{character}|(?i:{quoted}))"
    if character.isspace():
        # A query has a plus for a space, and may be escaped again.
        return rf"(?:\s+|\+|\\[nrt]|(?i:%(?:25)*2b|{quoted}))"
    written = {character, json.dumps(character)[1:-1], repr(character)[1:-1], html.escape(character)}
    written |= {f"&#{ord(character)};", f"&#x{ord(character):x};"}
    longest_first = sorted(written, key=len, reverse=True)
    # Nested escapes, such as JSON in JSON, have more backslashes.
    return rf"(?:\\*(?:{'|'.join(map(re.escape, longest_first))})|(?i:{quoted}))"
