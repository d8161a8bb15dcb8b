"""The page of a title: everything that is known of it, why it is on a list, and what is like it.

Sources are other people's: whatever is malformed in an answer is left out, and the rest is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.seasons import read_seasons
from aperture_dagster.discovery.suggestions import pool_details, suggested_among
from aperture_dagster.enrichment.details import read_collection, read_details, read_shared, works_of_tmdb
from aperture_dagster.enrichment.trailers import trailer_in
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import Card, Page, Row, Shelf, one_title, suggestions
from aperture_dagster.taste.alike import Alike
from aperture_dagster.texts import Texts, marked

CAST, LEADERS, PEOPLE = 15, 3, 6
"""Names in the cast; directors or creators; and people whose other titles are shown."""
NEAREST, ALIKE, OF_COLLECTION, OF_PERSON, OUTSIDE = (40, 400), 12, 24, 8, 6
"""Titles that are looked at at first, and by members who may see few of these; and that are on the page."""
LONGEST_MINUTES = 24 * 60
LONGEST_TEXT = 5_000
LARGEST_NUMBER = 10_000
"""Of a season, its episodes, or a year."""


class Scale(NamedTuple):
    """How a site rates: the column of ``enriched_metadata``, the best rating, and the column of its votes."""

    site: str
    column: str
    best: int
    votes: str = ""


SCALES = (
    Scale("TMDb", "vote_average", 10, "vote_count"),
    Scale("IMDb", "imdb_rating", 10, "imdb_votes"),
    Scale(marked("Rotten Tomatoes, critics"), "rotten_tomatoes", 100),
    Scale(marked("Rotten Tomatoes, audience"), "rotten_tomatoes_audience", 100),
    Scale("Metacritic", "metacritic", 100),
    Scale("Letterboxd", "letterboxd", 5),
    Scale("Trakt", "trakt", 100),
    Scale("MDBList", "mdblist_score", 100),
)
WAYS = {
    "flatrate": marked("With a subscription"),
    "free": marked("Free of charge"),
    "ads": marked("With advertisements"),
    "rent": marked("To rent"),
    "buy": marked("To buy"),
}
"""Ways to watch a title elsewhere, as TMDb has them."""


class TrailerLink(NamedTuple):
    """A link to a trailer on another site: ``text`` names the site, ``language`` is that of the video."""

    address: str
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class TitlePage(Page):
    """A title, with what is known of it in words: ``summary`` in a line, ``facts`` and ``scores`` with their names.

    ``strips`` are other titles below headings, which are translated.
    """

    tagline: str = ""
    overview: str = ""
    summary: Sequence[str] = field(default_factory=tuple)
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    scores: Sequence[tuple[str, str]] = field(default_factory=tuple)
    streams: Sequence[tuple[str, str]] = field(default_factory=tuple)
    seasons: Sequence[tuple[str, str]] = field(default_factory=tuple)
    strips: Sequence[tuple[str, Sequence[Card]]] = field(default_factory=tuple)
    trailer: TrailerLink | None = None


def title_page(
    alike: Alike, connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts, work: int
) -> TitlePage | None:
    """Return the page of a title; None if there is none that the member could find."""
    page = one_title(connection, viewer, settings, now, _, work)
    if page is None:
        return None
    card = page.shelves[0].cards[0]
    own = titles_in_sight(connection, viewer, [work]).get(work)
    if own is not None:
        row = read_details(connection, work)
        seasons = read_seasons(connection, own.item_id) if own.media_type == "series" else []
    else:
        row = pool_details(connection, work, country=settings.country)
        year = card.year if card.year is not None else row.get("year")
        card = card._replace(year=year, row={**card.row, "poster_path": row.get("poster_path")})
        seasons = seasons_in(row.get("seasons"))
    leaders = [*names_in(row.get("directors"))[:LEADERS], *names_in(row.get("creators"))[:LEADERS]]
    people = list(dict.fromkeys([*leaders, *names_in(row.get("cast"))]))[:PEOPLE]
    media_type = own.media_type if own is not None else str(row.get("media_type"))
    listed = [number for number in row.get("recommended_tmdb_ids") or () if number]
    near = alike.nearest(connection, work, NEAREST[-1]) or works_of_tmdb(connection, media_type, listed)
    near = [each for each in near if each != work]
    liked, shared = list(card.row.get("liked") or ()), _by_person(people, read_shared(connection, work, people))
    collection = read_collection(connection, work)
    others = {*near[: NEAREST[0]], *liked, *collection, *(each for works in shared.values() for each in works)}
    visible = titles_in_sight(connection, viewer, others)
    like_this = _cards(near[: NEAREST[0]], visible, media_type)
    if len(like_this) < ALIKE:
        like_this = _cards(near, visible | titles_in_sight(connection, viewer, near[NEAREST[0] :]), media_type)
    of_collection = _("More of the collection “%(name)s”", name=text_in(row.get("collection_name")))
    strips = [
        (of_collection, _cards(collection, visible)[:OF_COLLECTION]),
        (_("You liked"), _cards(liked, visible)),
        (_("Like this"), like_this[:ALIKE]),
    ]
    if suggested_among(connection, viewer.user_id, media_type, listed):
        asked = suggestions(connection, viewer, settings, now, _)
        known = {place: number for number, place in enumerate(listed)}
        outside = [
            each._replace(rank=0, lines=())
            for each in asked.listed(media_type)
            if each.row.get("tmdb_id") in known and each.work != work
        ]
        outside.sort(key=lambda each: known[each.row["tmdb_id"]])
        strips.append((_("Like this, not in the library"), outside[:OUTSIDE]))
    strips += [
        (_("More with %(name)s", name=name), _cards(works, visible)[:OF_PERSON]) for name, works in shared.items()
    ]
    return TitlePage(
        page.heading,
        "",
        [Shelf("", [card])],
        tagline=text_in(row.get("tagline")),
        overview=text_in(row.get("overview")),
        summary=summary_of(row, card.year, media_type, _),
        facts=facts_of(row, card.title, _),
        scores=scores_of(row, _),
        streams=streams_of(row, _),
        seasons=seasons_of(seasons, _),
        strips=[(heading, cards) for heading, cards in strips if cards],
        trailer=trailer_of(row, _),
    )


def _by_person(people: Sequence[str], rows: Iterable[Row]) -> dict[str, list[int]]:
    """Return some titles of each person; twice as many as are shown, since not all are for everybody."""
    works: dict[str, list[int]] = {name: [] for name in people}
    for row in rows:
        for name in works.keys() & set(row["names"]):
            if len(works[name]) < 2 * OF_PERSON:
                works[name].append(row["work_id"])
    return works


def _cards(works: Sequence[int], visible: Mapping[int, VisibleTitle], media_type: str | None = None) -> list[Card]:
    """Return those of some titles that are visible, in their order; of a media type alone, if one is given."""
    seen = [visible[work] for work in dict.fromkeys(works) if work in visible]
    return [
        Card(0, each.work_id, each.title, each.year, (), {}, each.server_item_id)
        for each in seen
        if media_type in (None, each.media_type)
    ]


def text_in(value: Any) -> str:
    """Return a text of bearable length; empty for anything else."""
    return value.strip()[:LONGEST_TEXT] if isinstance(value, str) else ""


def names_in(value: Any) -> list[str]:
    """Return the names in a list, each once; of anything else, none."""
    names = value if isinstance(value, (list, tuple)) else ()
    return list(dict.fromkeys(text for name in names if (text := text_in(name))))


def number_in(value: Any, most: float) -> float | None:
    """Return a number above 0 and up to ``most``; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value if 0 < value <= most else None


def summary_of(row: Row, year: int | None, media_type: str, _: Texts) -> list[str]:
    """Return year, length, age rating and genres of a title, as far as they are known."""
    minutes = number_in(row.get("runtime_minutes"), LONGEST_MINUTES)
    parts = [str(year) if year else "", length_of(int(minutes), _) if minutes else ""]
    if minutes and media_type == "series":
        parts[1] = _("%(length)s an episode", length=parts[1])
    parts += [text_in(row.get("official_rating")), ", ".join(names_in(row.get("genres")))]
    return [part for part in parts if part]


def length_of(minutes: int, _: Texts) -> str:
    """Write a length, such as ``2 h 13 min``."""
    hours, rest = divmod(minutes, 60)
    if not hours:
        return _("%(minutes)s min", minutes=rest)
    return _("%(hours)s h %(minutes)s min", hours=hours, minutes=rest)


def facts_of(row: Row, title: str, _: Texts) -> list[tuple[str, str]]:
    """Return people, dates and awards of a title, each with its name."""
    released, original = row.get("release_date"), text_in(row.get("original_title"))
    facts = [
        (_("Directed by"), ", ".join(names_in(row.get("directors"))[:LEADERS])),
        (_("Created by"), ", ".join(names_in(row.get("creators"))[:LEADERS])),
        (_("Cast"), ", ".join(names_in(row.get("cast"))[:CAST])),
        (_("Awards"), awards_of(row, _)),
        (_("First released"), _.day(released) if isinstance(released, date) else ""),
        (_("Original title"), original if original.casefold() != title.casefold() else ""),
        (_("Collection"), text_in(row.get("collection_name"))),
    ]
    return [(name, fact) for name, fact in facts if fact]


def awards_of(row: Row, _: Texts) -> str:
    """Say what a title has won; in the words of OMDb where it says nothing in numbers."""

    def count(column: str) -> int:
        return int(number_in(row.get(column), 10_000) or 0)

    oscars, wins, nominations = count("oscars_won"), count("award_wins"), count("award_nominations")
    said = []
    if oscars:
        said.append(_.plural("%(count)s Oscar", "%(count)s Oscars", oscars))
    if wins:
        said.append(_.plural("%(count)s award", "%(count)s awards", wins))
    if nominations:
        said.append(_.plural("%(count)s nomination", "%(count)s nominations", nominations))
    return ", ".join(said) or text_in(row.get("awards"))


def scores_of(row: Row, _: Texts) -> list[tuple[str, str]]:
    """Return what each site rates a title, with its votes where they are known."""
    scores = []
    for scale in SCALES:
        value = number_in(row.get(scale.column), scale.best)
        if value is None:
            continue
        rounded = _.number(round(value, 1) if scale.best <= 10 else round(value))
        text = f"{rounded} %" if scale.best == 100 else _("%(rating)s of %(best)s", rating=rounded, best=scale.best)
        votes = number_in(row.get(scale.votes), 1e10)
        if votes:
            counted = _.plural("%(count)s vote", "%(count)s votes", int(votes))
            text += f" ({counted})"
        sources = row.get("sources")
        is_servers = isinstance(sources, Mapping) and sources.get(scale.column) == "server"
        scores.append((_("Media server") if is_servers else _(scale.site), text))
    return scores


def streams_of(row: Row, _: Texts) -> list[tuple[str, str]]:
    """Return the services that show a title, by way where that is known."""
    offers = row.get("offers")
    if isinstance(offers, Mapping):
        ways = [(_(name), ", ".join(names_in(offers.get(way)))) for way, name in WAYS.items()]
        return [(name, services) for name, services in ways if services]
    services = ", ".join(names_in(row.get("streams")))
    return [(_("Streams on"), services)] if services else []


def trailer_of(row: Row, _: Texts) -> TrailerLink | None:
    """Return the link to a title's trailer, which names its language if that is not the language of the page."""
    trailer = trailer_in(row.get("trailers"), _.locale.language)
    if trailer is None:
        return None
    text = _("Trailer on %(site)s", site=trailer.site)
    if trailer.language != _.locale.language:
        name = _.locale.languages.get(trailer.language, trailer.language)
        text = f"{text} ({name})"
    return TrailerLink(trailer.address, text, trailer.language)


def seasons_in(value: Any) -> list[dict[str, Any]]:
    """Return the seasons that the pool has of a series, as :func:`read_seasons` does for the library.

    Seasons without a number or without episodes are left out.
    """
    seasons = []
    for season in value if isinstance(value, list) else ():
        if not isinstance(season, Mapping):
            continue
        number, episodes, year = (
            number_in(season.get(name), LARGEST_NUMBER) for name in ("season", "episodes", "year")
        )
        is_specials = season.get("season") == 0 and season.get("season") is not False
        if episodes is not None and (number is not None or is_specials):
            seasons.append({"season": int(number or 0), "episodes": int(episodes), "year": int(year or 0) or None})
    return seasons


def seasons_of(rows: Iterable[Row], _: Texts) -> list[tuple[str, str]]:
    """Return the seasons of a series, with their episodes and the year in which they began."""
    seasons = []
    for row in rows:
        season, year = row["season"], row["year"]
        if season is None:
            name = _("Other episodes")
        else:
            name = _("Season %(number)s", number=season) if season else _("Specials")
        episodes = _.plural("%(count)s episode", "%(count)s episodes", row["episodes"])
        seasons.append((name, f"{episodes} · {year}" if year else episodes))
    return seasons
