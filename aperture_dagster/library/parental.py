"""Parental limits: convert official ratings to ages.

Jellyfin stores a user's limit as a number similar to an age. Titles with an unknown rating are hidden from users with a
limit: a child's list should rather miss a title than show one too many.
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
    """Return the age of a rating such as ``PG-13``, ``TV-MA``, ``FSK-12`` or ``12A``; None if unknown."""
    rating = (official_rating or "").strip().upper()
    if rating in AGES:
        return AGES[rating]
    # Most other countries use the age itself: "FSK-12", "DE-6", "GB-12A", "12+".
    found = re.fullmatch(r"(?:[A-Z]{2,4}[-/ ])?(\d{1,2})\s*[A+]?", rating)
    if found:
        return int(found.group(1))
    country, dash, rest = rating.partition("-")
    return AGES.get(rest) if dash and len(country) == 2 else None


def within_limit(official_rating: str | None, limit: int | None) -> bool:
    """Return whether a user with this limit (None: no limit) may see a title with this rating."""
    if limit is None:
        return True
    age = age_of(official_rating)
    return age is not None and age <= limit
