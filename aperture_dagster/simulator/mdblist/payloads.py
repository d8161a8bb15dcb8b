"""MDBList's JSON for titles: ratings on each site's own scale, with several forms for a missing one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import SCALES, Opinion, opinions, share
from aperture_dagster.simulator.tmdb.ids import named_id
from aperture_dagster.simulator.trakt.titles import trakt_id
from aperture_dagster.simulator.world import WorldTitle

_STREAMS = {8: "Netflix", 9: "Amazon Prime Video", 337: "Disney Plus", 1899: "Max", 350: "Apple TV Plus", 11: "MUBI"}
_KEYWORDS = (
    "anti-hero", "based-on-novel", "based-on-true-story", "betrayal", "blockbuster", "coming-of-age", "cult-film",
    "dark-comedy", "dystopia", "ensemble-cast", "female-protagonist", "friendship", "heist", "nonlinear-timeline",
    "plot-twist", "revenge", "road-trip", "satire", "slow-burn", "small-town", "surprise-ending", "time-travel",
)  # fmt: skip


def ids_of(title: WorldTitle) -> dict[str, str | int | None]:
    """Return a title's ids by provider, or null."""
    return {
        "imdb": title.imdb_id or None,
        "trakt": trakt_id(title.key),
        "tmdb": title.tmdb_id,
        "tvdb": title.tvdb_id,
        "mal": None,
        "mdblist": f"{stable_number(f'{title.key}|mdblist'):016x}"[:10],
    }


def title_payload(title: WorldTitle, *, with_keywords: bool) -> dict[str, Any]:
    """Return a film or series as an entry of a batch."""
    ratings, scores = opinions(title), _scores(title)
    content: dict[str, Any] = {
        "title": title.title,
        "year": title.year,
        "released": title.release_date or None,
        "description": title.overview,
        "runtime": title.runtime_minutes,
        "score": _combined(scores),
        "ids": ids_of(title),
        "type": "movie" if title.media_type == "movie" else "show",
        "ratings": _ratings(title, ratings, scores),
        "streams": _streams(title),
        "language": title.language,
        "certification": title.official_rating,
    }
    if with_keywords:
        content["keywords"] = [{"id": named_id("mdblist keyword", name), "name": name} for name in keywords(title)]
    return content


_SORTS: dict[str, Callable[[int, WorldTitle], Any]] = {
    "rank": lambda rank, title: rank,
    "title": lambda rank, title: title.title,
    "released": lambda rank, title: title.release_date or "",
    "score": lambda rank, title: _combined(_scores(title)) or 0,
    "tmdbpopular": lambda rank, title: title.popularity or 0.0,
}


def list_id(name: str) -> str:
    """Return the number of a list that is called ``user/slug``."""
    return str(1 + stable_number(f"mdblist list|{name}") % 1_000_000)


def sorted_entries(
    ranked: Sequence[tuple[int, WorldTitle]], sort: str | None, order: str | None
) -> list[tuple[int, WorldTitle]] | None:
    """Return the entries of a list (rank and title) in a requested order; None for an order that is not modelled."""
    if sort is None:
        return list(ranked)
    if sort not in _SORTS or order not in (None, "asc", "desc"):
        return None
    return sorted(ranked, key=lambda entry: _SORTS[sort](*entry), reverse=order == "desc")


def list_entry(rank: int, title: WorldTitle) -> dict[str, Any]:
    """Return a title as an entry of a list, where ``id`` is TMDb's."""
    ids = ids_of(title)
    return {
        "id": title.tmdb_id,
        "rank": rank,
        "adult": 0,
        "title": title.title,
        "imdb_id": ids["imdb"],
        "tvdb_id": ids["tvdb"],
        "language": title.language,
        "mediatype": "movie" if title.media_type == "movie" else "show",
        "release_year": title.year,
        "spoken_language": title.language,
        "ids": ids,
    }


def keywords(title: WorldTitle) -> list[str]:
    """Return most of TMDb's keywords, some in another case, and a few of MDBList's own."""
    names: list[str] = []
    for name in title.keywords:
        form = stable_number(f"{title.key}|{name}") % 6
        if form > 0:
            names.append({1: name.title(), 2: name.upper()}.get(form, name))
    number = stable_number(f"{title.key}|own keywords")
    own = {_KEYWORDS[(number >> (8 * place)) % len(_KEYWORDS)] for place in range(number % 4)}
    return names + sorted(own)


def _scores(title: WorldTitle) -> dict[str, int]:
    """Return the ratings of all sites out of 100."""
    return {site: _score(site, opinion) for site, opinion in opinions(title).items()}


def _score(site: str, opinion: Opinion) -> int:
    """Return a rating out of 100."""
    return round(100 * opinion.value / SCALES[site])


def _combined(scores: dict[str, int]) -> int | None:
    """Return MDBList's own score: the mean of all sites, or 0 with fewer than two."""
    if not scores:
        return None
    return round(sum(scores.values()) / len(scores)) if len(scores) > 1 else 0


def _ratings(title: WorldTitle, opinions_by_site: dict[str, Opinion], scores: dict[str, int]) -> list[dict[str, Any]]:
    ratings: list[dict[str, Any]] = []
    for site in SCALES:
        opinion = opinions_by_site.get(site)
        form = stable_number(f"{title.key}|{site}|form")
        name = ("popcorn", "popcorn", "tomatoesaudience", "audience")[form % 4] if site == "popcorn" else site
        rating: dict[str, Any] = {"source": name, "value": None, "score": None, "votes": None}
        rating |= {"popular": None, "url": None}
        if opinion is None:
            # Left out, null, or 0.
            if form % 3 > 0:
                ratings.append(rating | ({"value": 0, "score": 0} if form % 3 == 1 else {}))
            continue
        value = round(2 * opinion.value, 1) if site == "letterboxd" else opinion.value
        value = value if value % 1 else int(value)
        rating["value"] = str(value) if form % 10 == 0 else value
        rating["score"] = scores[site]
        rating["votes"] = opinion.votes
        if site == "imdb":
            rating |= {"popular": 1 + form % 5_000, "url": title.imdb_id}
        ratings.append(rating)
    return ratings


def _streams(title: WorldTitle) -> list[dict[str, Any]]:
    """Return the streaming services; some titles have none."""
    names = [(number, name) for number, name in _STREAMS.items() if share(title.key, f"stream|{number}") < 0.25]
    return [{"id": number, "name": name} for number, name in names[:2]]
