"""The list of each user: what all share is prepared once, for those whose inputs have changed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_copies, read_edges
from aperture_dagster.taste.sight import hidden_titles
from aperture_dagster.taste.titles import in_sight, read_shelves

if TYPE_CHECKING:
    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.ranking.config import RankingConfig


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
        from aperture_dagster.taste.ranking.links import links_of
        from aperture_dagster.taste.ranking.recommend import prepare

        users = [user for user, _ in resting]
        with database.transaction() as connection:
            shelves = read_shelves(connection, model_key)
            items, library = shelves.items, shelves.library
            # The edges are not kept, so that they are not in memory together with what is learned.
            links = links_of(read_edges(connection), library.index, len(library.work_ids))
            histories = read_histories(connection, without=settings.ignored_ratings)
            copies = read_copies(connection) if any(user.access.is_limited for user in users) else []
            unwanted = hidden_titles(connection)
        self._visible, excluded = in_sight(users, items, copies, unwanted)
        inputs = RankingInputs(
            items=items,
            histories=histories,
            as_of=as_of,
            users=[user.user_id for user in users],
            excluded=excluded,
            resting={user.user_id: works for user, works in resting},
            crowd=read_crowd(log, settings, items),
        )
        self._model = prepare(inputs, ranking_configs(settings), library=library, links=links)

    def of(self, user: User) -> list[dict[str, Any]]:
        """Return a user's rows of ``recommendations``."""
        ranked = self._model.for_user(user.user_id).to_dict("records")
        return [_recommendation_row(user, row, self._visible[user.user_id]) for row in ranked]


def ranking_configs(settings: Settings) -> dict[str, RankingConfig]:
    """Return the parameters of the ranking that the settings ask for, by media type."""
    from aperture_dagster.taste.ranking.config import RankingConfig

    return {
        media_type: RankingConfig(limit=rules.per_list, diversity=rules.diversity, factors=rules.factors)
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
