"""The list of each user: what all share is prepared once, for those whose inputs have changed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.parental import within_limit
from aperture_dagster.catalogue.visibility import LibraryCopy, visible_copies
from aperture_dagster.members.hidden import hidden_titles
from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.earned import EarnedWeights, read_earned
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import (
    OUTSIDE,
    read_copies,
    read_edges,
    read_titles,
    replace_recommendations,
    replace_rows,
)
from aperture_dagster.taste.tables import first_places, whole_lists
from aperture_dagster.taste.vectors import read_vectors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.ranking.config import RankingConfig
    from aperture_dagster.taste.ranking.library import Library

# The titles of the library as lists are ranked in them, and which of them each user may see.


@dataclass(frozen=True, slots=True, eq=False)
class Shelves:
    """The item table without its lists of names, and what was computed from it and the vectors.

    What somebody has seen elsewhere is part of both, since it counts for tastes; its ``item_id`` is ``OUTSIDE``.
    """

    items: pd.DataFrame
    library: Library


def read_shelves(connection: Connection, model_key: str) -> Shelves:
    """Read and prepare the library."""
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.taste.ranking.library import library_of

    items, names = read_titles(connection, seen=True)
    vectors, mask = read_vectors(connection, model_key, items["work_id"])
    outside = outside_of(items)
    if outside.any():
        works = items.loc[outside, "work_id"]
        vectors[outside], mask[outside] = read_vectors(connection, model_key, works, "discovery_vectors")
    return Shelves(items, library_of(items, vectors, mask, names))


def outside_of(items: pd.DataFrame) -> NDArray[np.bool_]:
    """Mask the titles, shape (n,), that the library lacks."""
    return (items["item_id"] == OUTSIDE).to_numpy(dtype=bool)


def in_sight(
    users: Sequence[User],
    items: pd.DataFrame,
    copies: Sequence[LibraryCopy],
    unwanted: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> tuple[dict[str, Mapping[int, int]], dict[Hashable, NDArray[np.bool_]], dict[Hashable, NDArray[np.bool_]]]:
    """Return by user the works of which they may see a copy, with that copy; a mask of the titles to leave out of
    lists; and one of those that no reason names.

    What the library lacks is on no list. Reasons name it to whom nothing is forbidden: the others' limits go by copies.
    ``copies`` are all copies in the library; only users whose access is limited need them. ``unwanted`` has the works
    that users have hidden, by user.
    """
    outside = outside_of(items)
    usual: dict[int, int] = {
        work: item for work, item in zip(items["work_id"].tolist(), items["item_id"].tolist(), strict=True)
        if item != OUTSIDE
    }  # fmt: skip
    visible: dict[str, Mapping[int, int]] = {
        user.user_id: visible_copies(copies, user.visibility, usual) if user.visibility.is_limited else usual
        for user in users
    }
    masks: dict[Hashable, NDArray[np.bool_]] = {
        user.user_id: _hidden(user, items, visible[user.user_id], unwanted.get(user.user_id, ())) for user in users
    }
    return visible, {user_id: mask | outside for user_id, mask in masks.items()}, masks


def _hidden(
    user: User, items: pd.DataFrame, visible: Mapping[int, int], unwanted: Collection[int]
) -> NDArray[np.bool_]:
    """Mask the titles, shape (n,), of which a user may see no copy, which are beyond their parental limit, or which
    they have hidden.
    """
    import numpy as np

    mask = np.isin(items["work_id"], np.fromiter(unwanted, dtype=np.int64, count=len(unwanted)))
    if user.visibility.is_limited:
        mask |= ~np.isin(items["work_id"], np.fromiter(visible, dtype=np.int64, count=len(visible)))
    if user.max_parental_rating is not None:
        # A few dozen ratings are those of all titles.
        beyond = {one for one in items["official_rating"].unique() if not within_limit(one, user.max_parental_rating)}
        mask |= np.fromiter((one in beyond for one in items["official_rating"]), dtype=bool, count=len(items))
        mask |= outside_of(items)
    return mask


# Which titles rest after having been at the top of a list for a while, so that others get their turn.
#
# Somebody who watches nothing would see the same list for ever. So a title that has been among the first ten for 14
# days begins to rest: it comes after the first twenty others, and competes again four weeks later. Ten places and 14
# days are five titles a week. They begin one a day, on five days of seven, so that a new list, whose titles all came on
# one day, does not change at once: its first ones rest earlier. Nothing is drawn by lot: a day has one list.


TOP = 10
"""Length of the top of a list."""
LEAST = timedelta(days=3)
"""A title stays at the top for as long at least."""
WEEK = timedelta(days=7)
MOST = 5
"""At most so many titles of a list begin to rest in a week: all ten in 14 days."""
REST = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Place:
    """A title that is at the top of a user's list, or rests."""

    work_id: int
    media_type: str
    since: date
    """The day on which it came to the top."""
    rests_from: date | None = None
    rank: int | None = None
    """Its rank now; None if it is not on the list."""


def resting(places: Sequence[Place], today: date) -> frozenset[int]:
    """Return which titles of a user rest today.

    A date in the future is that of a clock that was ahead: it lets nothing rest, or stay at the top, for years.
    """
    found: set[int] = set()
    for media_type in {place.media_type for place in places}:
        own = [place for place in places if place.media_type == media_type]
        begun = {place.work_id: place.rests_from for place in own if place.rests_from is not None}
        found |= {work for work, day in begun.items() if day <= today < day + REST}
        due = [place for place in own if place.rests_from is None and not place.since <= today < place.since + LEAST]
        lately = [day for day in begun.values() if today - WEEK < day <= today]
        if due and today not in lately and len(lately) < MOST:
            found.add(min(due, key=lambda place: (place.since, -(place.rank or 0), place.work_id)).work_id)
    return frozenset(found)


def next_places(
    places: Sequence[Place], rest: Collection[int], listed: Sequence[Mapping[str, Any]], today: date
) -> list[Place]:
    """Return the places after a user's list was made: the top of it, and what rests.

    Args:
        places: Those before.
        rest: The works that rest today.
        listed: The rows of the list, with ``work_id``, ``media_type`` and ``rank``.
        today: The day of the list.
    """
    before = {place.work_id: place for place in places}
    top = {
        row["work_id"]: min(before[row["work_id"]].since, today)
        if row["work_id"] in before and before[row["work_id"]].rests_from is None
        else today
        for row in listed
        if row["rank"] <= TOP and row["work_id"] not in rest
    }
    types = {row["work_id"]: row["media_type"] for row in listed}
    kept = [
        Place(place.work_id, place.media_type, place.since, place.rests_from or today)
        for place in places
        if place.work_id in rest
    ]
    return [*kept, *(Place(work, types[work], since) for work, since in top.items())]


def read_places(connection: Connection, user_ids: Sequence[str]) -> dict[str, list[Place]]:
    """Read the places of users."""
    statement = """
        SELECT p.user_id, p.work_id, p.media_type, p.since, p.rests_from, r.rank FROM first_places p
        LEFT JOIN recommendations r USING (user_id, work_id) WHERE p.user_id = ANY(:users) ORDER BY p.work_id"""
    found: dict[str, list[Place]] = {user_id: [] for user_id in user_ids}
    for row in read_rows(connection, statement, users=list(user_ids)):
        found[row.pop("user_id")].append(Place(**row))
    return found


def replace_places(connection: Connection, user_id: str, places: Sequence[Place]) -> None:
    """Replace the places of a user; equal ones are not written."""
    rows = [
        {"user_id": user_id, "work_id": one.work_id, "media_type": one.media_type, "since": one.since,
         "rests_from": one.rests_from}
        for one in places
    ]  # fmt: skip
    replace_rows(connection, first_places, rows, user_id=user_id)


def replace_list(
    connection: Connection,
    user_id: str,
    rows: Sequence[dict[str, Any]],
    places: Sequence[Place],
    *,
    whole: Sequence[dict[str, Any]] = (),
    today: date,
) -> WriteCounts:
    """Replace a user's lists and places together, with their whole lists; return what changed in the lists."""
    replace_places(connection, user_id, places)
    replace_rows(connection, whole_lists, whole, user_id=user_id)
    return replace_recommendations(connection, user_id, rows, today=today)


class Recommendations:
    """The lists of some users, each given with the works that rest in theirs, which are ranked one by one."""

    def __init__(
        self,
        log: logging.Logger,
        database: Database,
        settings: Settings,
        resting: Sequence[tuple[User, Collection[int]]],
        *,
        model_key: str,
        as_of: datetime,
    ) -> None:
        # pandas and numpy double the time that every `dagster` command takes to start.
        from aperture_dagster.taste.ranking.config import RankingInputs
        from aperture_dagster.taste.ranking.earning import crowd_with
        from aperture_dagster.taste.ranking.links import links_of
        from aperture_dagster.taste.ranking.recommend import prepare

        users = [user for user, _ in resting]
        with database.transaction() as connection:
            earned = read_earned(connection, settings)
            shelves = read_shelves(connection, model_key)
            items, library = shelves.items, shelves.library
            # The edges are not kept, so that they are not in memory together with what is learned.
            links = links_of(read_edges(connection), library.index, len(library.work_ids))
            histories = read_histories(connection, without=settings.ignored_ratings)
            copies = read_copies(connection) if any(user.visibility.is_limited for user in users) else []
            unwanted = hidden_titles(connection)
        self._visible, excluded, unnamed = in_sight(users, items, copies, unwanted)
        configs = ranking_configs(settings, earned)
        inputs = RankingInputs(
            items=items,
            histories=histories,
            as_of=as_of,
            users=[user.user_id for user in users],
            excluded=excluded,
            # What a user liked once may be hidden from them by now.
            unnamed=unnamed,
            resting={user.user_id: works for user, works in resting},
            crowd=crowd_with(read_crowd(log, settings, items), configs["movie"].earned),
        )
        self._model = prepare(inputs, configs, library=library, links=links)

    def of(self, user: User) -> list[dict[str, Any]]:
        """Return a user's rows of ``recommendations``."""
        ranked = self._model.for_user(user.user_id).to_dict("records")
        return [_recommendation_row(user, row, self._visible[user.user_id]) for row in ranked]

    def whole_of(self, user: User) -> list[dict[str, Any]]:
        """Return a user's rows of ``whole_lists``."""
        return [
            {"user_id": user.user_id, "media_type": media_type, "works": works.tolist(), "scores": scores.tolist()}
            for media_type, (works, scores) in self._model.whole_lists(user.user_id).items()
        ]


def ranking_configs(settings: Settings, earned: EarnedWeights = MappingProxyType({})) -> dict[str, RankingConfig]:
    """Return the parameters of the ranking that the settings ask for, by media type, with the weights that were earned.

    A weight that the operator gave a component stays as it is.
    """
    from aperture_dagster.taste.ranking.config import RankingConfig

    return {
        media_type: RankingConfig(
            limit=rules.per_list,
            diversity=rules.diversity,
            factors=rules.factors,
            earned={name: one for name, one in earned.get(media_type, {}).items() if name not in rules.weights},
        )
        for media_type, rules in settings.recommendation_rules.items()
    }


def _recommendation_row(user: User, row: Mapping[str, Any], copies: Mapping[int, int]) -> dict[str, Any]:
    from aperture_dagster.taste.ranking.config import COMPONENTS

    return {
        "user_id": user.user_id,
        "media_type": row["media_type"],
        "rank": int(row["rank"]),
        "work_id": int(row["work_id"]),
        "item_id": int(copies[row["work_id"]]),
        "score": round(float(row["score"]), 4),
        "components": {name: round(float(row[name]), 3) for name in COMPONENTS},
        "because": [int(work_id) for work_id in row["because"]],
        "is_cold": bool(row["cold"]),
    }
