"""Parental limits: convert official ratings to ages.

Jellyfin stores a user's limit as a number similar to an age. Titles with an unknown rating are hidden from users
with a limit: a child's list should rather miss a title than show one too many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

AGES = {
    **dict.fromkeys(("G", "TV-Y", "TV-G", "APPROVED", "E", "U", "AL", "L", "T", "0"), 0),
    **dict.fromkeys(("TV-Y7", "TV-Y7-FV"), 7),
    **dict.fromkeys(("PG", "TV-PG"), 10),
    **dict.fromkeys(("PG-13", "M/PG"), 13),
    "TV-14": 14,
    **dict.fromkeys(("R", "M", "TV-MA", "MA"), 17),
    **dict.fromkeys(("NC-17", "X", "XXX", "AO"), 18),
}


# Ratings that mean something else in a country, or exist only there; where Jellyfin has a score for one
# (jellyfin/jellyfin, Emby.Server.Implementations/Localization/Ratings), its score.
AGES_IN: dict[str, dict[str, int]] = {
    "AU": {"EXEMPT": 0, "PG": 15, "M": 15, "MA": 15, "MA 15+": 15, "MA15+": 15, "AV 15+": 15, "R": 18, "R 18+": 18,
           "R18+": 18, "X 18+": 18},
    "BR": {"AL": 0},
    "CA": {"C": 0, "C8": 8, "PG": 8, "TV-PG": 8, "14A": 14, "TV-MA": 18, "18A": 18, "R": 18, "A": 18},
    "DK": {"A": 0, "TILLADT FOR ALLE": 0},
    "ES": {"A": 0, "APTA": 0, "AI": 0, "A/I": 0, "TP": 0, "INFANTIL": 0},
    "FI": {"S": 0, "K-7": 7, "K-12": 12, "K-16": 16, "K-18": 18, "K7": 7, "K12": 12, "K16": 16, "K18": 18},
    "FR": {"TP": 0, "TOUS PUBLICS": 0, "PUBLIC AVERTI": 0},
    "GB": {"ALL": 0, "UC": 0, "PG": 8, "TEEN": 13, "R18": 18},
    "IE": {"PG": 12},
    "IN": {"UA": 12, "U/A": 12, "U/A 7+": 7, "UA 7+": 7, "U/A 13+": 13, "UA 13+": 13, "U/A 16+": 16, "UA 16+": 16,
           "A": 18, "S": 18},
    "IT": {"PER TUTTI": 0, "BA": 0, "VM6": 6, "VM12": 12, "VM14": 14, "VM18": 18},
    "JP": {"PG12": 12, "PG-12": 12, "R15+": 15, "R18+": 18},
    "KR": {"ALL": 0, "EXEMPT": 0, "RESTRICTED SCREENING": 19},
    "MX": {"AA": 0, "A": 0, "B": 12, "B-15": 15, "B15": 15, "C": 18, "D": 18},
    "NL": {"MG6": 6},
    "NO": {"A": 0},
    "NZ": {"PG": 13, "RP13": 13, "R13": 13, "R15": 15, "M": 16, "RP16": 16, "R16": 16, "RP18": 18, "R18": 18, "R": 18},
    "PT": {"PÚBLICOS": 0, "M/3": 3, "M/6": 6, "M/12": 12, "M/14": 14, "M/16": 16, "M/18": 18},
    "SE": {"BTL": 0, "BARNTILLÅTEN": 0},
    "SG": {"PG13": 13, "NC16": 16, "M18": 18, "R21": 21},
}  # fmt: skip


# What distributors write when there is no certification.
NO_RATING = frozenset({"", "NR", "UR", "NOT RATED", "UNRATED"})


def age_of(official_rating: str | None, country: str | None = None) -> int | None:
    """Return the age of a rating such as ``PG-13``, ``TV-MA``, ``FSK-12`` or ``12A``; None if unknown.

    ``country`` (ISO 3166) is where the rating was given, if that is known.
    """
    rating = (official_rating or "").strip().upper()
    known = AGES_IN.get(country, {}) if country is not None else {}
    if rating in known:
        return known[rating]
    if rating in AGES:
        return AGES[rating]
    # Most other countries use the age itself: "FSK-12", "DE-6", "GB-12A", "12+".
    found = re.fullmatch(r"(?:[A-Z]{2,4}[-/ ])?(\d{1,2})\s*[A+]?", rating)
    if found:
        return int(found.group(1))
    origin, dash, rest = rating.partition("-")
    return AGES.get(rest) if dash and len(origin) == 2 else None


def within_limit(official_rating: str | None, limit: int | None) -> bool:
    """Return whether a user with this limit (None: no limit) may see a title with this rating."""
    if limit is None:
        return True
    age = age_of(official_rating)
    return age is not None and age <= limit


def certified_age(certifications: Mapping[str, Sequence[str]], countries: Sequence[str]) -> int | None:
    """Return the age of the strictest certification in the first of ``countries`` that has one; None if unrated.

    Editions of a title have certifications of their own, so a country may have several. One that is not known may be
    stricter than all others, so the title counts as unrated.
    """
    for country in countries:
        given = {one.strip().upper() for one in certifications.get(country, ())} - NO_RATING
        if given:
            ages = [age_of(one, country) for one in given]
            known = [age for age in ages if age is not None]
            return max(known) if len(known) == len(ages) else None
    return None
