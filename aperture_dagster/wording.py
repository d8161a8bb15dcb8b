"""Words around figures."""

from __future__ import annotations

from collections.abc import Sequence

# Nouns whose singular is not the plural without its s.
IRREGULAR = {"series": "series", "libraries": "library", "entries": "entry", "copies": "copy", "people": "person"}


def counted(count: int, what: str) -> str:
    """Return a number with what it counts: ``what`` is in the plural, and its first word the noun (`users served`)."""
    noun, space, rest = what.partition(" ")
    if count == 1:
        noun = IRREGULAR.get(noun, noun.removesuffix("s"))
    return f"{count:,} {noun}{space}{rest}"


def listed(names: Sequence[str], *, conjunction: str = "and") -> str:
    """Join names as a sentence does: `a`, `a and b`, `a, b and c`."""
    *others, last = names or [""]
    return f"{', '.join(others)} {conjunction} {last}" if others else last
