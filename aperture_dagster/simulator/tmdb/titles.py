"""The world's titles as TMDb knows them: ids, certifications, releases, and where they can be watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.world import Offer, Release, WorldTitle

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


_RECOMMENDED_AT_MOST = 40
_SIMILAR_AT_MOST = 20


class TitleIndex:
    """Titles by TMDb, IMDb and TVDb id. Rebuilt when the titles change.

    ``today`` decides what is available by now.
    """

    def __init__(self, titles: Iterable[WorldTitle], today: date) -> None:
        self.today = today
        self.movies: dict[int, WorldTitle] = {}
        self.series: dict[int, WorldTitle] = {}
        self.by_imdb: dict[str, WorldTitle] = {}
        self.by_tvdb: dict[int, WorldTitle] = {}
        for title in titles:
            if title.tmdb_id is None:
                continue
            self._of(title.media_type).setdefault(title.tmdb_id, title)
            if title.imdb_id:
                self.by_imdb.setdefault(title.imdb_id, title)
            if title.tvdb_id is not None and title.media_type == "series":
                self.by_tvdb.setdefault(title.tvdb_id, title)
        self._by_keyword: dict[str, dict[str, list[int]]] = {}
        self._popular: dict[str, list[WorldTitle]] = {}

    def _of(self, media_type: str) -> dict[int, WorldTitle]:
        return self.movies if media_type == "movie" else self.series

    def recommended(self, title: WorldTitle) -> list[WorldTitle]:
        """Return the world's recommendations for a title: at most 40 that TMDb knows, of the same media type."""
        known: Mapping[int, WorldTitle] = self._of(title.media_type)
        found = [known[tmdb_id] for tmdb_id in title.recommended_tmdb_ids if tmdb_id in known]
        return found[:_RECOMMENDED_AT_MOST]

    def similar(self, title: WorldTitle) -> list[WorldTitle]:
        """Return at most 20 titles of the same media type.

        They are the world's or, where it says nothing, those that share most keywords, then genres.
        """
        known = self._of(title.media_type)
        if title.similar_tmdb_ids is not None:
            return [known[tmdb_id] for tmdb_id in title.similar_tmdb_ids if tmdb_id in known][:_SIMILAR_AT_MOST]
        named = self._by_keyword.get(title.media_type)
        if named is None:
            named = self._by_keyword[title.media_type] = {}
            for number, other in known.items():
                for keyword in other.keywords:
                    named.setdefault(keyword, []).append(number)
        shared = Counter(number for keyword in title.keywords for number in named.get(keyword, ()))
        shared.pop(title.tmdb_id or 0, None)
        genres = set(title.genres)
        order = sorted(shared, key=lambda one: (-shared[one], -len(genres & set(known[one].genres)), one))
        found = [known[number] for number in order]
        return found[:_SIMILAR_AT_MOST]

    def popular(self, media_type: str) -> list[WorldTitle]:
        """Return all titles of a media type, the most popular first."""
        found = self._popular.get(media_type)
        if found is None:
            found = sorted(self._of(media_type).values(), key=lambda title: -(title.popularity or 0.0))
            self._popular[media_type] = found
        return found


# Certifications and release dates by country, which the world gives or which follow from what it knows.
#
# As on the real service, a country has several entries of a film, many of them without a certification; editions have
# certifications of their own, and the entries are in no useful order (celiao/tmdbsimple issue 34, Komet/MediaElch
# issue 1641).


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


_FLATRATE = {"Netflix": 8, "Amazon Prime Video": 9, "Disney Plus": 337, "Apple TV+": 350, "MUBI": 11}
_SHOPS = {"Apple TV": 2, "Google Play Movies": 3, "Amazon Video": 10}
_WITH_ADS = {"Pluto TV": 300, "Tubi TV": 73}
SERVICES = _FLATRATE | _SHOPS | _WITH_ADS
"""TMDb's ids of services by name."""
_ON_FLATRATE = 0.6
_IN_SHOPS = 0.8
_ON_ADS = 0.1


def service_id(name: str) -> int:
    """Return the id of a service, or one made from the name."""
    return SERVICES.get(name) or named_id("service", name)


def offers(title: WorldTitle, today: date) -> tuple[Offer, ...]:
    """Return where a title can be watched at home by now."""
    if title.offers is not None:
        return title.offers
    return tuple(offer for country in _available_in(title, today) for offer in _offers_in(title, country))


def _available_in(title: WorldTitle, today: date) -> list[str]:
    if title.media_type == "movie":
        out = {
            release.country
            for release in releases(title)
            if release.type in HOME_TYPES and release.day <= today.isoformat()
        }
        return sorted(out)
    begun = title.release_date or (f"{title.year}-01-10" if title.year else "")
    return list(RELEASED_IN) if begun and begun <= today.isoformat() else []


def _offers_in(title: WorldTitle, country: str) -> list[Offer]:
    found: list[Offer] = []
    if share(title.key, f"flatrate|{country}") < _ON_FLATRATE:
        names = list(_FLATRATE)
        found.append(Offer(country, "flatrate", names[int(len(names) * share(title.key, f"service|{country}"))]))
    if share(title.key, f"shops|{country}") < _IN_SHOPS:
        kinds = ("rent", "buy") if title.media_type == "movie" else ("buy",)
        found += [Offer(country, kind, shop) for kind in kinds for shop in _SHOPS]
    if share(title.key, f"ads|{country}") < _ON_ADS:
        found.append(Offer(country, "ads", "Pluto TV" if country != "US" else "Tubi TV"))
    return found


def watch_providers(title: WorldTitle, today: date) -> dict[str, Any]:
    """Return TMDb's JSON of a title's offers, by country and kind."""
    results: dict[str, dict[str, Any]] = {}
    path = "movie" if title.media_type == "movie" else "tv"
    for offer in offers(title, today):
        link = f"https://www.themoviedb.org/{path}/{title.tmdb_id}/watch?locale={offer.country}"
        entry = results.setdefault(offer.country, {"link": link})
        entry.setdefault(offer.kind, []).append(
            {
                "logo_path": service_logo(offer.service),
                "provider_id": service_id(offer.service),
                "provider_name": offer.service,
                "display_priority": service_id(offer.service) % 100,
            }
        )
    return {"results": results}


def service_logo(name: str) -> str:
    """Return the path of a service's logo."""
    return picture_path(f"service:{name}", "logo")
