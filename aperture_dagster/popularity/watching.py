"""The series that users are watching, as far as each may see them: from the catalogue and histories to the list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aperture_dagster.catalogue.access import Copy, copies_in_sight
from aperture_dagster.catalogue.parental import within_limit
from aperture_dagster.popularity.queries import read_episodes, read_series, replace_shows
from aperture_dagster.popularity.series import Series, WatchedSeries, WatchingRules, in_order, watched_series
from aperture_dagster.taste.lists import read_copies

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.settings import Settings


@dataclass(frozen=True, slots=True)
class ShowLists:
    """Makes the lists of a run.

    Args:
        rules: what makes a series one that somebody watches.
        library: the series by work id, and ``copies`` the copies of them.
        now: in the household's time zone.
    """

    rules: WatchingRules
    library: dict[int, Series]
    copies: list[Copy]
    now: datetime

    @classmethod
    def read(cls, connection: Connection, settings: Settings, now: datetime) -> ShowLists:
        """Read what the lists of all users are made from."""
        rules = WatchingRules(
            minimum_episodes=settings.shows_you_watch_minimum_episodes,
            days=settings.shows_you_watch_days,
            ended_days=settings.shows_you_watch_ended_days,
        )
        return cls(rules, read_series(connection), read_copies(connection, "series"), now)

    def renew(self, connection: Connection, user: User) -> int:
        """Make and store the list of a user; return the rows written."""
        in_sight: dict[int, set[int]] = {}
        for copy in copies_in_sight(self.copies, user.access):
            # A series may have been added since the others were read.
            one = self.library.get(copy.work_id)
            if one is not None and within_limit(one.official_rating, user.max_parental_rating):
                in_sight.setdefault(copy.work_id, set()).add(copy.item_id)
        found = [
            watched_series(self.library[work_id], states, in_sight[work_id], self.rules, now=self.now)
            for work_id, states in read_episodes(connection, user.user_id, since=self.rules.earliest(self.now))
            if work_id in in_sight
        ]
        listed = in_order(one for one in found if one is not None)
        rows = [_row(user, *one) for one in enumerate(listed, start=1)]
        return replace_shows(connection, user.user_id, rows).written


def _row(user: User, rank: int, one: WatchedSeries) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "work_id": one.work_id,
        "rank": rank,
        "item_id": one.item_id,
        "episodes_played": one.episodes_played,
        "episodes_out": one.episodes_out,
        "next_item_id": one.next.item_id if one.next is not None else None,
        "next_season": one.next_season,
        "next_number": one.next_number,
        "next_title": one.next.title if one.next is not None else None,
        "behind": one.behind,
        "next_air_date": one.next_air_date,
        "last_played_at": one.last_played_at,
    }
