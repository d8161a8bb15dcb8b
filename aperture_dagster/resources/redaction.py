"""Keeping secrets out of what is said: every form in which a key may come back from a service or a library."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache

HIDDEN = "***"


def redact(message: str, secrets: Iterable[str]) -> str:
    """``message`` with every secret replaced, also where it was quoted for a URL, JSON, HTML or Python, or in base64.

    To be applied before a message is cut: half a key at the edge would not be found.
    """
    pattern = _pattern(tuple(sorted(secret for secret in secrets if secret)))
    return pattern.sub(HIDDEN, message) if pattern else message


def forms_of(secret: str) -> set[str]:
    """The secret itself, and what it becomes on its way through URLs, headers, JSON, HTML and Python's ``repr``."""
    import html
    import json
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, " ".join(secret.split()), repr(secret)[1:-1]}
    forms |= {html.escape(secret, quote=quotes) for quotes in (True, False)}
    forms |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        forms |= {quoted, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)}
    forms |= {b64encode(raw).decode(), b64encode(raw).decode().rstrip("=")}
    return {form for form in forms if form}


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in forms_of(secret)}
    # The longest first: one secret may be part of another.
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None
