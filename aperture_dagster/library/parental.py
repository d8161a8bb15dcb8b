"""Parental limits: from what is printed on a title to an age.

Jellyfin keeps a user's limit as an age-like number. A title whose mark is unknown is not offered to a user with a
limit: a list that a child sees had better miss one than hold one too many.
"""

from __future__ import annotations

import re

AGES = {
    **dict.fromkeys(("G", "TV-Y", "TV-G", "APPROVED", "E", "U", "AL", "L", "T", "0"), 0),
    **dict.fromkeys(("TV-Y7", "TV-Y7-FV"), 7),
    **dict.fromkeys(("PG", "TV-PG"), 10),
    **dict.fromkeys(("PG-13", "M/PG"), 13),
    "TV-14": 14,
    **dict.fromkeys(("R", "M", "TV-MA", "MA"), 17),
    **dict.fromkeys(("NC-17", "X", "XXX", "AO"), 18),
}


def age_of(official_rating: str | None) -> int | None:
    """The age that a mark such as ``PG-13``, ``TV-MA``, ``FSK-12`` or ``12A`` stands for; None if unknown."""
    mark = (official_rating or "").strip().upper()
    if mark in AGES:
        return AGES[mark]
    # Marks of other countries mostly carry the age itself: "FSK-12", "DE-6", "GB-12A", "12+".
    found = re.fullmatch(r"(?:[A-Z]{2,4}[-/ ])?(\d{1,2})\s*[A+]?", mark)
    if found:
        return int(found.group(1))
    country, dash, rest = mark.partition("-")
    return AGES.get(rest) if dash and len(country) == 2 else None


def within_limit(official_rating: str | None, limit: int | None) -> bool:
    """Whether a user with this limit (None: no limit) may be offered a title with this mark."""
    if limit is None:
        return True
    age = age_of(official_rating)
    return age is not None and age <= limit
