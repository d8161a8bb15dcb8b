"""How good the lists of this server are, measured on the histories of its own users."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from aperture_dagster.catalogue.queries import read_added
from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.earned import read_earned, write_earned
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_copies, read_edges
from aperture_dagster.taste.recommendations import in_sight, ranking_configs, read_shelves
from aperture_dagster.taste.vectors import active_model

if TYPE_CHECKING:
    import pandas as pd

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.ranking.earning import Change, Earned
    from aperture_dagster.taste.ranking.evaluation import Comparison, Interval, World

NOUNS = {"movie": "films", "series": "series"}
COMPONENTS = {
    "crowd": "what the crowd watched",
    "co_watch": "what people watched together",
    "recommended_from": "TMDb's recommended lists",
    "similarity": "similarity to what was watched",
    "era": "closeness in years",
    "rating": "the rating",
    "popularity": "the number of votes",
}
"""What the components that earn their weight are, in words."""


@dataclass(frozen=True)
class Quality:
    """How the lists of a media type compare with "most voted", and the weights that they are made with from now on."""

    comparison: Comparison
    interval: Interval
    """The 95 % interval of the ratio."""
    earned: Earned


def measure_quality(
    log: logging.Logger, database: Database, settings: Settings, people: Sequence[User], *, as_of: datetime
) -> dict[str, Quality]:
    """Let components earn their weights, and compare lists with these with "most voted", by the noun of a media type.

    What decides weights is the last part of what is known, so they do not know what their lists are judged by. They are
    stored, for the lists that are made from now on. A media type of which nothing can be judged is left out, and keeps
    no weights; without vectors, nothing can be judged.
    """
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.taste.ranking.earning import crowd_with, earn_on
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
        configs = ranking_configs(settings, read_earned(connection, settings))
    if len(asked) < len(people):
        log.info(f"Judging the lists of {len(asked):,} of {len(people):,} users, the same ones every week.")
    _, hidden, _ = in_sight(asked, shelves.items, copies)

    def worlds_from(known: pd.DataFrame) -> dict[str, World]:
        worlds = worlds_of_server(shelves.items, shelves.library, known, added=added, hidden=hidden, as_of=as_of)
        return {media_type: replace(world, edges=edges) for media_type, world in worlds.items()}

    crowd = read_crowd(log, settings, shelves.items)
    found: dict[str, Quality] = {}
    weights: dict[str, Mapping[str, float]] = {}
    for media_type, world in worlds_from(histories).items():
        if media_type not in NOUNS or not world.users:
            continue
        everybody = sorted(set(world.training["user_id"]))
        config = replace(configs[media_type], limit=DEPTH)
        of_type = crowd if media_type == "movie" else None
        given = settings.recommendation_rules[media_type].weights
        earned = earn_on(worlds_from(world.training)[media_type], everybody, config, crowd=of_type, given=given)
        config = replace(config, earned=earned.weights)
        lists = rank_household(world, everybody, config, crowd=crowd_with(crowd, earned.weights))
        comparison = compare_with_votes(world, lists)
        interval = intervals(comparison.ours, comparison.votes)[1]
        found[NOUNS[media_type]] = Quality(comparison, interval, earned)
        weights[media_type] = earned.weights
    with database.transaction() as connection:
        write_earned(connection, settings, weights)
    return found


def describe_weights(earned: Earned) -> str:
    """Say in sentences which components have less weight than usual on this server, and why."""
    from aperture_dagster.taste.ranking.earning import ENOUGH_TITLES

    if not earned.is_enough:
        return (
            f"every component keeps its weight, since {earned.titles:,} titles that users watched later are too few to "
            f"judge one by (at least {ENOUGH_TITLES})"
        )
    why = {change.component: change for change in earned.changes}
    parts: list[str] = []
    for name, weight in earned.weights.items():
        says = f"{COMPONENTS[name]} {'counts half' if weight else 'does not count'}"
        change = why.pop(name, None)
        parts.append(says if change is None else f"{says} from now on{_because(change)}")
    parts += [f"{COMPONENTS[name]} counts in full again{_because(change)}" for name, change in why.items()]
    rest = "every other component keeps its weight" if parts else "every component keeps its weight"
    return "; ".join([*parts, f"{rest} (judged by {earned.titles:,} titles that users watched later)"])


def _because(change: Change) -> str:
    return f", which changes NDCG@50 by {change.difference:+.3f} (± {change.margin:.3f})"


def verdict(found: Comparison, interval: Interval) -> str:
    """Say in a clause how the lists compare with popularity, or that there is too little to tell."""
    if not found.is_enough:
        return f"too little to tell ({found.ours.users} users, who watched {found.hits} titles later)"
    low, high = interval
    said = "better than" if low > 1.0 else "worse than" if high < 1.0 else "not told apart from"
    return f'{said} "most voted" ({found.ratio:.2f} times its NDCG@10; 95 %: {low:.2f} to {high:.2f})'
