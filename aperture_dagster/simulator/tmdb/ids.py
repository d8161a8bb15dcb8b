"""Ids that follow from names, in a range that the real service does not use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.world import WorldTitle

FIRST_INVENTED = 900_000_000
_GENRES = {
    "action": 28, "adventure": 12, "animation": 16, "comedy": 35, "crime": 80, "documentary": 99, "drama": 18,
    "family": 10751, "fantasy": 14, "history": 36, "horror": 27, "music": 10402, "mystery": 9648, "romance": 10749,
    "science fiction": 878, "tv movie": 10770, "thriller": 53, "war": 10752, "western": 37, "action & adventure": 10759,
    "kids": 10762, "news": 10763, "reality": 10764, "sci-fi & fantasy": 10765, "soap": 10766, "talk": 10767,
    "war & politics": 10768,
}  # fmt: skip
COUNTRIES = {
    "AR": "Argentina", "AT": "Austria", "AU": "Australia", "BE": "Belgium", "BR": "Brazil", "CA": "Canada",
    "CH": "Switzerland", "CN": "China", "DE": "Germany", "DK": "Denmark", "ES": "Spain", "FI": "Finland",
    "FR": "France", "GB": "United Kingdom", "GR": "Greece", "HK": "Hong Kong", "HU": "Hungary", "ID": "Indonesia",
    "IE": "Ireland", "IL": "Israel", "IN": "India", "IR": "Iran", "IS": "Iceland", "IT": "Italy", "JP": "Japan",
    "KR": "South Korea", "MX": "Mexico", "NL": "Netherlands", "NO": "Norway", "NZ": "New Zealand", "PL": "Poland",
    "RU": "Russia", "SE": "Sweden", "SU": "Soviet Union", "TW": "Taiwan", "US": "United States of America",
    "XG": "West Germany", "ZA": "South Africa",
}  # fmt: skip
"""Names of countries by ISO 3166-1 code; those that no longer exist have TMDb's codes."""
_CODES = {name: code for code, name in COUNTRIES.items()}


@lru_cache(maxsize=262_144)
def named_id(kind: str, name: str) -> int:
    """Return the id of a person, company, network or keyword; it fits 32 bits."""
    return FIRST_INVENTED + stable_number(f"{kind}|{name}") % 1_000_000_000


def genre_id(name: str) -> int:
    """Return TMDb's id of a genre, or one made from the name."""
    return _GENRES.get(name.lower()) or named_id("genre", name)


def country_code(country: str) -> str:
    """Return the code of a country that a world gives by name or by code."""
    return _CODES.get(country, country)


def credit_id(*parts: object) -> str:
    """Return a credit id: 24 hex digits."""
    return f"{stable_number('|'.join(map(str, parts))):016x}{len(parts):08x}"


def logo_path(kind: str, name: str) -> str | None:
    """Return the path of a company's or network's logo. Some logos are SVG; None for organisations without one."""
    number = stable_number(f"{kind}|{name}|logo")
    if number % 10 < 3:
        return None
    return f"/{number:016x}.{'svg' if number % 10 == 9 else 'png'}"


def picture_path(key: str, use: str) -> str:
    """Return the path of a title's poster or backdrop."""
    return f"/{stable_number(f'{key}|{use}'):016x}.jpg"


def picture_names(titles: Iterable[WorldTitle]) -> Iterator[str]:
    """Yield the file names of all pictures of these titles."""
    organisations: set[tuple[str, str]] = set()
    for title in titles:
        first = 0 if title.specials else 1
        keys = [title.key, *(f"{title.key}|{season}" for season in range(first, len(title.episodes_per_season) + 1))]
        if title.collection is not None:
            keys.append(f"collection:{title.collection[0]}")
        yield from (picture_path(key, use)[1:] for key in keys for use in ("poster", "backdrop"))
        organisations.update(("company", name) for name in title.companies)
        organisations.update(("network", name) for name in title.networks)
    for kind, name in organisations:
        path = logo_path(kind, name)
        if path is not None:
            yield path[1:]
