"""How the Top Picks of a day are made from the household's plays, a list from outside, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aperture_dagster.defs.failures import sentence
from aperture_dagster.library.listed import WorkIds
from aperture_dagster.resources.errors import Cancelled, ServiceError
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import Services
from aperture_dagster.sources.top_lists import ORIGINS, TopList, origin_of, read_top_list, source_of
from aperture_dagster.storage.history import read_plays
from aperture_dagster.storage.lists import latest_top_picks_day, replace_top_picks, top_picks_sources

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "series")
NOUNS: dict[MediaType, str] = {"movie": "Films", "series": "Series"}
# When nobody watched anything in the window (a holiday), it is widened up to so many times its length.
WIDEST = 12
# A title can be high in both without being at the top of either.
HYBRID_DEPTH = 3


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
        items: of :func:`aperture_dagster.storage.lists.read_items`, read once for all days.
    """

    settings: Settings
    today: date
    items: pd.DataFrame
    outside: dict[MediaType, TopList | str] = field(default_factory=dict)
    requests: int = 0

    def read_outside(self, services: Services, *, waiting: Callable[[float], None]) -> None:
        """Read the lists of today from outside; a list that cannot be read costs only that media type."""
        for media_type in MEDIA_TYPES:
            origin = origin_of(self.settings, media_type)
            if origin is None:
                continue
            depth = HYBRID_DEPTH if source_of(self.settings, media_type) == "hybrid" else 1
            wanted = self.settings.top_picks_per_list * depth
            label = ORIGINS[origin].label
            try:
                found = read_top_list(
                    services, self.settings, origin, media_type, self._works(media_type), wanted=wanted, waiting=waiting
                )
            except Cancelled:
                raise
            except ServiceError as error:
                self.outside[media_type] = sentence(error)
                continue
            self.requests += found.requests
            nothing = f"None of the {found.entries:,} titles on {label}'s list are in the library."
            self.outside[media_type] = found if found.works else nothing

    def make(self, connection: Connection, day: date, media_type: MediaType) -> Made:
        """Make and store the list of a day. A list that exists is never replaced by an empty one."""
        source, before = source_of(self.settings, media_type), top_picks_sources(connection, day).get(media_type)
        if source == "local":
            return self._store(connection, day, media_type, "local")
        if day < self.today:
            return self._make_past(connection, day, media_type, source, before)
        outside = self.outside[media_type]
        if isinstance(outside, TopList):
            return self._store(connection, day, media_type, source, outside.works)
        if source == "hybrid" and before != "hybrid":
            made = self._store(connection, day, media_type, "local")
            made.notes.append(f"{outside} The list is made from the household's plays alone.")
        else:
            latest = latest_top_picks_day(connection, day, media_type)
            kept = f"The list of {latest} is kept." if latest is not None else "There is no earlier list to keep."
            made = Made(before, kept=True, notes=[f"{outside} {kept}"])
        made.is_warning = True
        return made

    def _make_past(
        self, connection: Connection, day: date, media_type: MediaType, source: str, before: str | None
    ) -> Made:
        """Make a past day again. What a list from outside held then is not known, so what was made of it is kept."""
        if source == "hybrid" and before in (None, "local"):
            made = self._store(connection, day, media_type, "local")
            made.notes.append("A list from outside is only that of today, so this one is made from plays alone.")
            return made
        left = "what was made then is kept" if before else "it has no list"
        note = f"A list from outside is only that of today, so Top Picks of a past day cannot be made from it; {left}."
        return Made(before, kept=True, notes=[note])

    def _store(
        self, connection: Connection, day: date, media_type: MediaType, source: str, works: Sequence[int] = ()
    ) -> Made:
        found, window = self._rank(connection, day, media_type, source, works)
        rows = self._rows(day, media_type, source, found)
        if not rows:
            return Made(None, window_days=window, notes=["Nobody has watched anything: there is nothing to rank."])
        written = replace_top_picks(connection, day, media_type, rows).written
        made = Made(source, picks=len(rows), written=written, window_days=window)
        made.relaxed = sum(row["relaxed"] for row in rows)
        if made.relaxed:
            minimum = self.settings.top_picks_minimum_viewers
            few = f"{made.relaxed} of {len(rows)} picks have fewer than {minimum} viewers"
            made.notes.append(f"{few}, because too few titles have that many.")
        return made

    def _rank(
        self, connection: Connection, day: date, media_type: MediaType, source: str, works: Sequence[int]
    ) -> tuple[pd.DataFrame, int]:
        """Return the ranked titles, and how many days were looked back on."""
        from aperture_dagster.ranking.popularity import hybrid_top_picks, listed_top_picks, local_top_picks

        settings = self.settings
        until = datetime.combine(day, time.min, ZoneInfo(settings.schedule_timezone))
        window = settings.top_picks_window_days
        how: dict[str, Any] = {"as_of": until, "limit": settings.top_picks_per_list, "media_type": media_type}
        local: dict[str, Any] = {"min_viewers": settings.top_picks_minimum_viewers}
        while True:
            plays = read_plays(connection, since=until - timedelta(days=window), until=until)
            how["window_days"] = window
            if source == "hybrid":
                weight = settings.top_picks_local_weight
                return hybrid_top_picks(works, plays, self.items, local_weight=weight, **local, **how), window
            if source != "local":
                return listed_top_picks(works, plays, self.items, **how), window
            found = local_top_picks(plays, self.items, **local, **how)
            widest = settings.top_picks_window_days * WIDEST
            if len(found) or window >= widest:
                return found, window
            window = min(window * 2, widest)

    def _rows(self, day: date, media_type: MediaType, source: str, found: pd.DataFrame) -> list[dict[str, Any]]:
        copies = dict(zip(self.items["work_id"], self.items["item_id"], strict=True))
        return [
            {
                "day": day,
                "media_type": media_type,
                "rank": int(pick["rank"]),
                "work_id": int(pick["work_id"]),
                "item_id": int(copies[pick["work_id"]]),
                "viewers": int(pick["viewers"]),
                "plays": int(pick["plays"]),
                "completion": round(float(pick["completion"]), 4),
                "score": round(float(pick["score"]), 4),
                "relaxed": bool(pick["relaxed"]),
                "source": source,
            }
            for pick in found.to_dict("records")
        ]

    def _works(self, media_type: MediaType) -> list[WorkIds]:
        columns = ("work_id", "media_type", "tmdb_id", "imdb_id")
        return [
            WorkIds(int(work_id), int(tmdb_id) if tmdb_id == tmdb_id and tmdb_id is not None else None, imdb_id or None)
            for work_id, type_, tmdb_id, imdb_id in zip(*(self.items[name] for name in columns), strict=True)
            if type_ == media_type
        ]
