"""How good the lists of this server are, measured on the histories of its own users."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from aperture_dagster.catalogue.queries import read_added
from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_copies, read_edges
from aperture_dagster.taste.recommendations import in_sight, ranking_configs, read_shelves
from aperture_dagster.taste.vectors import active_model

if TYPE_CHECKING:
    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.ranking.evaluation import Comparison, Interval

NOUNS = {"movie": "films", "series": "series"}


def measure_quality(
    log: logging.Logger, database: Database, settings: Settings, people: Sequence[User], *, as_of: datetime
) -> dict[str, tuple[Comparison, Interval]]:
    """Compare the lists of each media type with "most voted", with the 95 % interval of the ratio.

    A media type of which nothing can be judged is left out; without vectors, nothing can.
    """
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.taste.ranking.evaluation import (
        DEPTH,
        MOST_USERS,
        compare_with_votes,
        intervals,
        rank_household,
        sample_of,
        worlds_of_server,
    )

    with database.transaction() as connection:
        model_key = active_model(connection)
        if model_key is None or not people:
            return {}
        shelves = read_shelves(connection, model_key)
        histories = read_histories(connection, without=settings.ignored_ratings)
        edges = read_edges(connection)
        added = read_added(connection)
        chosen = set(sample_of((user.user_id for user in people), MOST_USERS))
        asked = [user for user in people if user.user_id in chosen]
        copies = read_copies(connection) if any(user.visibility.is_limited for user in asked) else []
    if len(asked) < len(people):
        log.info(f"Judging the lists of {len(asked):,} of {len(people):,} users, the same ones every week.")
    _, hidden = in_sight(asked, shelves.items, copies)
    worlds = worlds_of_server(shelves.items, shelves.library, histories, added=added, hidden=hidden, as_of=as_of)
    crowd = read_crowd(log, settings, shelves.items)
    configs = ranking_configs(settings)
    found: dict[str, tuple[Comparison, Interval]] = {}
    for media_type, name in NOUNS.items():
        world = worlds.get(media_type)
        if world is None or not world.users:
            continue
        everybody = sorted(set(world.training["user_id"]))
        config = replace(configs[media_type], limit=DEPTH)
        lists = rank_household(replace(world, edges=edges), everybody, config, crowd=crowd)
        comparison = compare_with_votes(world, lists)
        found[name] = comparison, intervals(comparison.ours, comparison.votes)[1]
    return found


def verdict(found: Comparison, interval: Interval) -> str:
    """Say in a clause how the lists compare with popularity, or that there is too little to tell."""
    if not found.is_enough:
        return f"too little to tell ({found.ours.users} users, who watched {found.hits} titles later)"
    low, high = interval
    said = "better than" if low > 1.0 else "worse than" if high < 1.0 else "not told apart from"
    return f'{said} "most voted" ({found.ratio:.2f} times its NDCG@10; 95 %: {low:.2f} to {high:.2f})'
