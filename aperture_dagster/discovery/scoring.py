"""Score titles outside the library for each user, by the functions that score recommendations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suggestions import listed_since, read_pool, read_pool_edges, replace_candidates
from aperture_dagster.discovery.suitability import today_of, unsuitable
from aperture_dagster.model import Clock
from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.earned import read_earned
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_items
from aperture_dagster.taste.ranking.config import COMPONENTS, RankingInputs
from aperture_dagster.taste.ranking.crowd import Crowd
from aperture_dagster.taste.ranking.earning import crowd_with
from aperture_dagster.taste.ranking.histories import rows_where
from aperture_dagster.taste.ranking.recommend import RankingModel, prepare
from aperture_dagster.taste.recommendations import ranking_configs
from aperture_dagster.taste.vectors import read_vectors

# Why a title of the pool is on no list.
ONLY_SEEN = "only seen elsewhere"
# After so many days on a list, a title loses score with each further day, so that others get their turn; off the list,
# it has all of it again.
FRESH_DAYS = 7
FATIGUE, MOST_FATIGUE = 0.05, 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Titles:
    """Titles as the ranking knows them, with vectors (n, d) and a mask (n,) of those that have one, in their order."""

    table: pd.DataFrame
    vectors: NDArray[Any]
    mask: NDArray[np.bool_]

    @property
    def works(self) -> NDArray[np.int64]:
        """The works of the titles."""
        return self.table["work_id"].to_numpy(dtype=np.int64)

    def among(self, keep: NDArray[np.bool_]) -> Titles:
        """Return some of the titles."""
        return Titles(rows_where(self.table, keep), self.vectors[keep], self.mask[keep])


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPool:
    """What all users of a run share, and which titles of the pool do not suit them, and why."""

    model: RankingModel
    unsuitable: Mapping[str, Mapping[int, str]]
    today: date
    is_empty: bool

    def replace_list(self, connection: Connection, user: User) -> WriteCounts:
        """Replace a user's suggestions."""
        rows = [
            {
                "user_id": user.user_id,
                "media_type": row["media_type"],
                "rank": int(row["rank"]),
                "work_id": int(row["work_id"]),
                "score": as_share(row["score"]),
                "components": {name: round(float(row[name]), 3) for name in COMPONENTS},
                "because": [int(work_id) for work_id in row["because"]],
            }
            for row in self.model.for_user(user.user_id).to_dict("records")
        ]
        return replace_candidates(connection, user.user_id, rows, today=self.today)


def score_pool(
    settings: Settings,
    database: Database,
    clock: Clock,
    users: Sequence[User],
    model_key: str,
    read_crowd: Callable[[pd.DataFrame], Crowd | None],
) -> ScoredPool:
    """Prepare the lists of users from the pool as it is; ``read_crowd`` returns what others watched of some titles."""
    now, user_ids = clock.now(), [user.user_id for user in users]
    today = today_of(now, settings)
    with database.transaction() as connection:
        configs = ranking_configs(settings, read_earned(connection, settings))
        items, outside = read_items(connection), read_pool(connection)
        library = Titles(items, *read_vectors(connection, model_key, items["work_id"]))
        pool = Titles(outside, *read_vectors(connection, model_key, outside["work_id"], "discovery_vectors"))
        histories = read_histories(connection, without=settings.ignored_ratings)
        edges = read_pool_edges(connection)
        why_not = unsuitable(connection, settings, users, now=now, works=outside["work_id"].tolist())
        since = listed_since(connection, user_ids)
    # What somebody has seen elsewhere counts for their taste, and is no reason to suggest it to anybody else.
    for own in why_not.values():
        for work_id in outside.loc[outside["only_seen"], "work_id"].tolist():
            own.setdefault(work_id, ONLY_SEEN)
    days = {user_id: {work: (today - day).days for work, day in own.items()} for user_id, own in since.items()}
    inputs = inputs_of(library, pool, histories, now, why_not, days)
    columns = ["work_id", "media_type", "tmdb_id", "imdb_id"]
    crowd = crowd_with(read_crowd(inputs.items.reindex(columns=columns)), configs["movie"].earned)
    inputs = replace(inputs, users=user_ids, edges=edges, crowd=crowd)
    configs = {name: replace(one, limit=settings.discovery_per_list) for name, one in configs.items()}
    return ScoredPool(prepare(inputs, configs), why_not, today, outside.empty)


def inputs_of(
    library: Titles,
    pool: Titles,
    histories: pd.DataFrame,
    as_of: datetime,
    closed: Mapping[str, Collection[int]],
    listed_days: Mapping[str, Mapping[int, int]],
) -> RankingInputs:
    """Put library and pool together, as the ranking reads them.

    Args:
        library: its titles are what users know, and are on no list.
        pool: the candidates; those that are in the library are ignored.
        histories: see :class:`RankingInputs`.
        as_of: the time of the run.
        closed: by user the works that do not suit them.
        listed_days: by user the days for which works have been on their list without a break.
    """
    pool = pool.among(~np.isin(pool.works, library.works))
    works = np.concatenate([library.works, pool.works])
    excluded: dict[Hashable, NDArray[np.bool_]] = {}
    fatigue: dict[Hashable, NDArray[np.float64]] = {}
    for user_id, out in closed.items():
        excluded[user_id] = np.isin(works, [*library.works, *out])
        late = np.array([listed_days.get(user_id, {}).get(work, 0) for work in works.tolist()]) - FRESH_DAYS
        fatigue[user_id] = np.clip(FATIGUE * late, 0.0, MOST_FATIGUE)
    return RankingInputs(
        items=pd.concat([library.table, pool.table], ignore_index=True),
        histories=histories,
        as_of=as_of,
        vectors=np.concatenate([library.vectors, pool.vectors]),
        vector_mask=np.concatenate([library.mask, pool.mask]),
        excluded=excluded,
        fatigue=fatigue,
    )


def as_share(score: float) -> float:
    """Return a score of the ranking as a number between 0 and 1; an average candidate has 0.5."""
    return round(1.0 / (1.0 + float(np.exp(-score))), 4)
