"""Tags, genres and keywords in the form in which they are compared, as media servers do it."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def clean_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return tags in the form in which they are compared; blank ones are dropped."""
    return frozenset(cleaned for tag in tags if (cleaned := _clean(tag)))


# Genres and keywords of thousands of titles are a few thousand different ones.
@functools.lru_cache(50_000)
def _clean(tag: str) -> str:
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", tag) if not unicodedata.combining(letter))
    return _NOT_ALPHANUMERIC.sub(" ", letters.lower()).strip()
