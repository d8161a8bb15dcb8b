"""Certifications and release dates by country, which the world gives or which follow from what it knows.

As on the real service, a country has several entries of a film, many of them without a certification; editions have
certifications of their own, and the entries are in no useful order (celiao/tmdbsimple issue 34, Komet/MediaElch issue
1641).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.tmdb.ids import country_code
from aperture_dagster.simulator.world import Release, WorldTitle

HOME_TYPES = (4, 5, 6)
"""Types of releases that can be watched at home."""
RELEASED_IN = ("DE", "FR", "GB", "US")
"""Countries whose releases are derived."""
ORDERS: dict[str, tuple[str, ...]] = {
    "US": ("NR", "G", "PG", "PG-13", "R", "NC-17"),
    "DE": ("0", "6", "12", "16", "18"),
    "GB": ("U", "PG", "12A", "12", "15", "18"),
    "FR": ("TP", "10", "12", "16", "18"),
}
"""Certifications of films by country, the mildest first."""
_RATED_ELSEWHERE = 0.85
# Official ratings, and what they are in other countries: the usual certification and a stricter one.
_ELSEWHERE: dict[str, dict[str, tuple[str, str]]] = {
    "G": {"DE": ("0", "6"), "GB": ("U", "PG"), "FR": ("TP", "TP")},
    "PG": {"DE": ("6", "12"), "GB": ("PG", "12A"), "FR": ("TP", "10")},
    "PG-13": {"DE": ("12", "16"), "GB": ("12A", "15"), "FR": ("TP", "12")},
    "R": {"DE": ("16", "18"), "GB": ("15", "18"), "FR": ("12", "16")},
    "NC-17": {"DE": ("18", "18"), "GB": ("18", "18"), "FR": ("16", "18")},
}  # fmt: skip
_ELSEWHERE |= {
    "TV-Y": _ELSEWHERE["G"], "TV-G": _ELSEWHERE["G"], "TV-Y7": _ELSEWHERE["PG"], "TV-PG": _ELSEWHERE["PG"],
    "TV-14": _ELSEWHERE["PG-13"], "TV-MA": _ELSEWHERE["R"],
}  # fmt: skip


def certifications(title: WorldTitle) -> dict[str, str]:
    """Return a title's certification by country. Countries that have none are left out."""
    if title.certifications is not None:
        return dict(title.certifications)
    if not title.official_rating:
        return {}
    found: dict[str, str] = {}
    for country, (usual, stricter) in _ELSEWHERE.get(title.official_rating, {}).items():
        if share(title.key, f"rated|{country}") < _RATED_ELSEWHERE:
            found[country] = usual if share(title.key, f"strict|{country}") < 0.8 else stricter
    return found | {"US": title.official_rating}


def releases(title: WorldTitle) -> tuple[Release, ...]:
    """Return all releases of a film, by country. Without a release date, they follow from the year, if it is known."""
    if title.releases is not None:
        return title.releases
    try:
        first = date.fromisoformat(title.release_date or f"{title.year or ''}-07-01")
    except ValueError:
        return ()
    rated = certifications(title)
    return tuple(
        release for country in RELEASED_IN for release in _in_country(title, first, country, rated.get(country, ""))
    )


def _in_country(title: WorldTitle, first: date, country: str, certification: str) -> list[Release]:
    origins = [country_code(one) for one in title.countries] or ["US"]
    wait = 0 if country in origins else int(120 * share(title.key, f"wait|{country}"))
    cinema = _later(first, wait)
    found = list(_screenings(title, first, cinema, country, certification))
    found += _home_releases(title, cinema, country, certification)
    return sorted(found, key=lambda release: stable_number(f"{title.key}|{release}"))


def _screenings(title: WorldTitle, first: date, cinema: date, country: str, certification: str) -> Iterator[Release]:
    if cinema == first and share(title.key, f"premiere|{country}") < 0.5:
        yield Release(country, 1, first.isoformat())
    if share(title.key, f"limited|{country}") < 0.15:
        yield Release(country, 2, cinema.isoformat())
    has_own = share(title.key, f"blank|{country}") >= 0.2
    yield Release(country, 3, cinema.isoformat(), certification if has_own else "")


def _home_releases(title: WorldTitle, cinema: date, country: str, certification: str) -> Iterator[Release]:
    digital = _later(max(cinema, date(2009, 6, 1)), 90 + int(90 * share(title.key, f"digital|{country}")))
    disc = _later(max(cinema, date(1999, 3, 1)), 150 + int(150 * share(title.key, f"disc|{country}")))
    yield Release(country, 4, digital.isoformat())
    # The classification of discs has no 12A.
    yield Release(country, 5, disc.isoformat(), "12" if certification == "12A" else certification, "DVD")
    if share(title.key, f"television|{country}") < 0.15:
        yield Release(country, 6, _later(disc, 400).isoformat())
    order = ORDERS[country]
    if certification in order[:-1] and share(title.key, f"edition|{country}") < 0.08:
        stricter = order[order.index(certification) + 1]
        yield Release(country, 5, _later(disc, 700).isoformat(), stricter, "Director's Cut")


def _later(day: date, days: int) -> date:
    # A world may have dates at the end of the calendar.
    return day + timedelta(days=min(days, (date.max - day).days))


def release_dates(title: WorldTitle) -> dict[str, Any]:
    """Return TMDb's JSON of a film's releases, grouped by country."""
    by_country: dict[str, list[dict[str, Any]]] = {}
    for release in releases(title):
        by_country.setdefault(release.country, []).append(
            {
                "certification": release.certification,
                "descriptors": [],
                "iso_639_1": "",
                "note": release.note,
                "release_date": f"{release.day}T00:00:00.000Z",
                "type": release.type,
            }
        )
    return {"results": [{"iso_3166_1": code, "release_dates": entries} for code, entries in by_country.items()]}


def content_ratings(title: WorldTitle) -> dict[str, Any]:
    """Return TMDb's JSON of a series' ratings."""
    rated = certifications(title).items()
    return {"results": [{"descriptors": [], "iso_3166_1": code, "rating": rating} for code, rating in rated]}
