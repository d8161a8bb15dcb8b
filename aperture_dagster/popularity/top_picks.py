"""How the Top Picks of a day are made from the household's plays, a list from outside, or both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.history.plays import read_plays
from aperture_dagster.enrichment.listed import ListPage, WorkIds, works_listed
from aperture_dagster.enrichment.mdblist.client import LARGEST_PAGE
from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.http.errors import Cancelled, ServiceError
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import MEDIA_TYPES, sentence
from aperture_dagster.popularity.stored_picks import latest_top_picks_day, replace_top_picks, top_picks_sources
from aperture_dagster.settings import Settings
from aperture_dagster.settings.lists import TopPicksSource
from aperture_dagster.worklist.services import MeteredService, Service

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from aperture_dagster.popularity.pick_ranking import KnownTitles

NOUNS: dict[MediaType, str] = {"movie": "Films", "series": "Series"}
SERVICES: dict[str, Service[Any]] = {"tmdb": TMDB, "mdblist": MDBLIST}
# Enrichment can use a service for hours, and a list of yesterday is better than a run that waits for it.
PATIENCE_SECONDS = 60.0
# A small library has few titles of a long list, so reading ends somewhere: after 500 entries, or 4,000.
TMDB_PAGES = 25
MDBLIST_PAGES = 4
# When nobody watched anything in the window (a holiday), it is widened up to so many times its length.
WIDEST = 12
# A title can be high in both without being at the top of either.
HYBRID_DEPTH = 3


def source_of(settings: Settings, media_type: MediaType) -> TopPicksSource:
    """Return what the Top Picks of a media type are made from."""
    return TopPicksSource.parse(settings.top_picks_rules[media_type].source)


def missed_days(made: Iterable[date], today: date, *, within: timedelta) -> list[date]:
    """Return the days before ``today`` that were not made since the first one that was, as after an outage."""
    there = set(made)
    first = max(min(there, default=today), today - within)
    return [day for number in range((today - first).days) if (day := first + timedelta(days=number)) not in there]


@dataclass(slots=True)
class Made:
    """The outcome of making one list of a day.

    Args:
        source: what the list of the day was made from; None: the day has no list of its own.
        kept: whether an earlier list was kept instead of making one.
        picks: rows of the day.
        written: rows that changed.
        window_days: days of plays that were looked at.
        relaxed: rows with fewer viewers than the minimum.
        notes: what the operator should know, as sentences; ``is_warning`` tells whether something is wrong.
    """

    source: str | None
    kept: bool = False
    picks: int = 0
    written: int = 0
    window_days: int = 0
    relaxed: int = 0
    notes: list[str] = field(default_factory=list)
    is_warning: bool = False


@dataclass(slots=True)
class Picker:
    """Makes the lists of one run.

    Args:
        settings: sources, window and lengths.
        today: in the operator's time zone; only its lists can be made from outside.
        items: of :func:`aperture_dagster.taste.lists.read_items`, read once for all days.
        user_ids: the users who take part; the plays of others do not count.
        outside: works of the library on today's lists from outside, or why there are none.
        requests: how many were sent to read these lists.
    """

    settings: Settings
    today: date
    items: pd.DataFrame
    user_ids: Collection[str]
    outside: dict[MediaType, list[int] | str] = field(default_factory=dict)
    requests: int = 0
    # Both media types of a day look at the same plays, and all days at the same titles.
    _plays: tuple[tuple[datetime, datetime], pd.DataFrame] | None = None
    _known: dict[MediaType, KnownTitles] = field(default_factory=dict)
    _copies: dict[int, int] = field(default_factory=dict)

    def read_outside(self, services: Mapping[str, MeteredService[Any]], *, waiting: Callable[[float], None]) -> None:
        """Read the lists of today from ``services``; a list that cannot be read costs only that media type."""
        for media_type in MEDIA_TYPES:
            source = source_of(self.settings, media_type)
            if source.service is None:
                continue
            wanted = self.settings.top_picks_rules[media_type].per_list * (HYBRID_DEPTH if source.is_local else 1)
            service = services[source.service]
            try:
                with service.open(waiting=waiting, patience_seconds=PATIENCE_SECONDS) as client:
                    pages = self._pages(client, source, media_type)
                    works, entries = works_listed(pages, self._works(media_type), wanted=wanted)
                    self.requests += client.requests
            except Cancelled:
                raise
            except ServiceError as error:
                self.outside[media_type] = sentence(error)
                continue
            label = SERVICES[source.service].label
            nothing = f"None of the {entries:,} titles on {label}'s list are in the library."
            self.outside[media_type] = works or nothing

    def _pages(self, client: Any, source: TopPicksSource, media_type: MediaType) -> Iterator[ListPage]:
        if source.service == "tmdb":
            for page in range(1, TMDB_PAGES + 1):
                yield client.listed(media_type, source.list_name, page)
            return
        # As many entries as fit: each request counts against the day's quota.
        how = {"sort": self.settings.top_picks_rules[media_type].mdblist_sort, "limit": LARGEST_PAGE}
        for page in range(MDBLIST_PAGES):
            yield client.listed(media_type, source.list_name, offset=page * LARGEST_PAGE, **how)

    def make(self, connection: Connection, day: date, media_type: MediaType) -> Made:
        """Make and store the list of a day. A list that exists is never replaced by an empty one."""
        kind, before = source_of(self.settings, media_type).kind, top_picks_sources(connection, day).get(media_type)
        if kind == "local":
            return self._store(connection, day, media_type, kind)
        if day < self.today:
            return self._make_past(connection, day, media_type, before)
        outside = self.outside[media_type]
        if not isinstance(outside, str):
            return self._store(connection, day, media_type, kind, outside)
        if kind == "hybrid" and before != "hybrid":
            made = self._store(connection, day, media_type, "local")
            made.notes.append(f"{outside} The list is made from the household's plays alone.")
        else:
            latest = latest_top_picks_day(connection, day, media_type)
            kept = f"The list of {latest} is kept." if latest is not None else "There is no earlier list to keep."
            made = Made(before, kept=True, notes=[f"{outside} {kept}"])
        made.is_warning = True
        return made

    def _make_past(self, connection: Connection, day: date, media_type: MediaType, before: str | None) -> Made:
        """Make a past day again. What a list from outside held then is not known, so what was made of it is kept."""
        if source_of(self.settings, media_type).is_local and before in (None, "local"):
            made = self._store(connection, day, media_type, "local")
            made.notes.append("A list from outside is only that of today, so this one is made from plays alone.")
            return made
        left = "what was made then is kept" if before else "it has no list"
        note = f"A list from outside is only that of today, so Top Picks of a past day cannot be made from it; {left}."
        return Made(before, kept=True, notes=[note])

    def _store(
        self, connection: Connection, day: date, media_type: MediaType, kind: str, works: Sequence[int] = ()
    ) -> Made:
        found, window = self._rank(connection, day, media_type, kind, works)
        self._copies = self._copies or dict(
            zip(self.items["work_id"].tolist(), self.items["item_id"].tolist(), strict=True)
        )
        rows = [
            {
                "day": day,
                "media_type": media_type,
                "rank": int(pick["rank"]),
                "work_id": int(pick["work_id"]),
                "item_id": self._copies[pick["work_id"]],
                "viewers": int(pick["viewers"]),
                "plays": int(pick["plays"]),
                "completion": round(float(pick["completion"]), 4),
                "score": round(float(pick["score"]), 4),
                "relaxed": bool(pick["relaxed"]),
                "source": kind,
            }
            for pick in found.to_dict("records")
        ]
        if not rows:
            return Made(None, window_days=window, notes=[self._why_nothing(media_type)])
        written = replace_top_picks(connection, day, media_type, rows).written
        made = Made(kind, picks=len(rows), written=written, window_days=window)
        made.relaxed = sum(row["relaxed"] for row in rows)
        if made.relaxed:
            minimum = self.settings.top_picks_rules[media_type].minimum_viewers
            few = f"{made.relaxed} of {len(rows)} picks have fewer than {minimum} viewers"
            made.notes.append(f"{few}, because too few titles have that many.")
        return made

    def _why_nothing(self, media_type: MediaType) -> str:
        from aperture_dagster.popularity.pick_ranking import LEAST_VIEWERS

        if self.settings.top_picks_rules[media_type].minimum_viewers < LEAST_VIEWERS:
            return "Nobody has watched anything: there is nothing to rank."
        return (
            f"No title was watched by {LEAST_VIEWERS} people who take part, and Top Picks do not show what one person "
            "watches, unless their rule minimum_viewers is 1."
        )

    def _rank(
        self, connection: Connection, day: date, media_type: MediaType, kind: str, works: Sequence[int]
    ) -> tuple[pd.DataFrame, int]:
        """Return the ranked titles, and how many days were looked back on."""
        from aperture_dagster.popularity.pick_ranking import KnownTitles, PickRules, top_picks
        from aperture_dagster.taste.ranking.histories import rows_where

        if media_type not in self._known:
            self._known[media_type] = KnownTitles.of(rows_where(self.items, self.items["media_type"] == media_type))
        given = self.settings.top_picks_rules[media_type]
        until = datetime.combine(day, time.min, ZoneInfo(self.settings.schedule_timezone))
        weight = {"local": 1.0, "hybrid": given.local_weight}.get(kind, 0.0)
        window = given.window_days
        widest = window * (WIDEST if kind == "local" else 1)
        while True:
            rules = PickRules(window, given.minimum_viewers, given.per_list, weight)
            plays = self._read_plays(connection, until - timedelta(days=window), until)
            found = top_picks(plays, self._known[media_type], rules, as_of=until, works=works)
            if len(found) or window >= widest:
                return found, window
            window = min(window * 2, widest)

    def _read_plays(self, connection: Connection, since: datetime, until: datetime) -> pd.DataFrame:
        if self._plays is None or self._plays[0] != (since, until):
            self._plays = (since, until), read_plays(connection, self.user_ids, since=since, until=until)
        return self._plays[1]

    def _works(self, media_type: MediaType) -> list[WorkIds]:
        columns = ("work_id", "media_type", "tmdb_id", "imdb_id")
        return [
            WorkIds(int(work_id), int(tmdb_id) if tmdb_id == tmdb_id and tmdb_id is not None else None, imdb_id or None)
            for work_id, type_, tmdb_id, imdb_id in zip(*(self.items[name] for name in columns), strict=True)
            if type_ == media_type
        ]
