"""How good the lists of this server are, by what its users watched next."""

import math
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.markdown import markdown
from aperture_dagster.defs.media_server import movies, series, users, watch_history
from aperture_dagster.defs.pictures import figure_bars
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import latest_materialization, materialized, table, warn_unless
from aperture_dagster.defs.taste.crowd import read_configured_crowd
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.library import read_shelves
from aperture_dagster.defs.taste.recommendations import in_sight
from aperture_dagster.partitions import user_partitions
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.added import read_added
from aperture_dagster.storage.histories import read_histories
from aperture_dagster.storage.lists import read_copies, read_edges
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.vectors import active_model

if TYPE_CHECKING:
    from aperture_dagster.ranking.evaluation import Comparison, World

MEDIA_TYPES = {"movie": "films", "series": "series"}
NOTHING = "Nothing can be measured yet: that takes vectors, and users who watched titles at different times."


@dg.asset(
    group_name="taste",
    deps=[
        users, movies, series, enriched_metadata, embeddings,
        *(
            dg.AssetDep(one, partition_mapping=dg.AllPartitionMapping())
            for one in (watch_history, trakt_ratings)
        ),
    ],
    kinds={"numpy"},
)  # fmt: skip
def recommendation_quality(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """How much better the lists of this server are than "most voted", one row per figure, for films and for series: the
    last fifth of each history is held out, and lists are made from the rest, with what was in the library by then.

    A view of watch_history without a table of its own, made every week. At most 200 users are judged; with fewer than
    twenty, it says that there is too little to tell.
    """
    with operator_errors(context, settings):
        found = _measure(context, settings, database, clock)
        shown: dict[str, Any] = {}
        numbers: dict[str, float] = {}
        verdicts = []
        for name, (comparison, interval) in found.items():
            verdicts.append(f"{name.capitalize()}: {verdict(comparison, interval)}.")
            shown |= _page(name, comparison)
            numbers |= _numbers(name, comparison, interval)
    metadata = {"verdict": " ".join(verdicts) or NOTHING} | shown | numbers
    return materialized(context, metadata)


@dg.asset_check(
    asset=recommendation_quality,
    description="The lists are not worse than \"most voted\": the 95 % interval of the ratio is not below 1. If it is, "
    "see docs/ranking.md; a crowd helps most. With few users it passes, because there is too little to tell.",
)  # fmt: skip
def beats_popularity(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Warn when the lists are significantly worse than the titles with the most votes."""
    made = latest_materialization(context)
    values = {name: entry.value for name, entry in (made.metadata.items() if made else ())}
    worse, unclear = [], []
    for name in MEDIA_TYPES.values():
        if f"{name}_ratio_high" not in values:
            unclear.append(name)
        elif float(str(values[f"{name}_ratio_high"])) < 1.0:
            ratio = float(str(values[f"{name}_ratio"]))
            worse.append(f'The lists of {name} reach {ratio:.2f} of the NDCG@10 of "most voted".')
    if worse:
        return warn_unless(False, " ".join(worse), {})
    too_few = f"Too little to tell for {' and '.join(unclear)}." if unclear else None
    return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN, description=too_few)


def verdict(found: "Comparison", interval: tuple[float, float]) -> str:
    """Say in a clause how the lists compare with popularity, or that there is too little to tell."""
    if not found.is_enough:
        return f"too little to tell ({found.ours.users} users, who watched {found.hits} titles later)"
    low, high = interval
    said = "better than" if low > 1.0 else "worse than" if high < 1.0 else "not told apart from"
    return f'{said} "most voted" ({found.ratio:.2f} times its NDCG@10; 95 %: {low:.2f} to {high:.2f})'


def _measure(
    context: dg.AssetExecutionContext, settings: Settings, database: Database, clock: Clock
) -> "dict[str, tuple[Comparison, tuple[float, float]]]":
    """Return the comparison of each media type of which anything can be judged, and the interval of its ratio."""
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.ranking.evaluation import compare_with_votes, intervals
    from aperture_dagster.ranking.own_server import MOST_USERS, sample_of, worlds_of_server

    with database.transaction() as connection:
        people = users_of_partitions(connection, user_partitions(context.instance, settings))
        model_key = active_model(connection)
        if model_key is None or not people:
            return {}
        shelves = read_shelves(connection, model_key)
        histories = read_histories(connection, without=settings.ignored_ratings)
        edges = read_edges(connection)
        added = read_added(connection)
        chosen = set(sample_of((user.user_id for user in people.values()), MOST_USERS))
        asked = [user for user in people.values() if user.user_id in chosen]
        copies = read_copies(connection) if any(user.access.is_limited for user in asked) else []
    if len(asked) < len(people):
        context.log.info(f"Judging the lists of {len(asked):,} of {len(people):,} users, the same ones every week.")
    items = shelves.items
    _, hidden = in_sight(asked, items, copies)
    worlds = worlds_of_server(items, shelves.library, histories, added=added, hidden=hidden, as_of=clock.now())
    inputs = {
        "edges": edges if len(edges) else None,
        "crowd": read_configured_crowd(context, settings, items),
    }
    found = {}
    for media_type, name in MEDIA_TYPES.items():
        if media_type in worlds and worlds[media_type].users:
            lists = _lists(settings, worlds[media_type], inputs)
            comparison = compare_with_votes(worlds[media_type], lists)
            found[name] = comparison, intervals(comparison.ours, comparison.votes)[1]
    return found


def _lists(settings: Settings, world: "World", inputs: dict[str, Any]) -> dict[Any, Any]:
    from aperture_dagster.ranking.config import RankingConfig
    from aperture_dagster.ranking.evaluation import DEPTH, rank_household

    config = RankingConfig(limit=DEPTH, diversity=settings.diversity)
    everybody = sorted(set(world.training["user_id"]))
    return rank_household(world, everybody, config, ratings=True, **inputs)


def _page(name: str, found: "Comparison") -> dict[str, Any]:
    """Return what the page shows of a media type: a picture and a table."""
    rows = [
        {"figure": figure, "most voted": _rounded(votes), "lists": _rounded(ours)}
        for figure, votes, ours in found.rows()
    ]
    bars = [("lists", found.ours.ndcg), ("most voted", found.votes.ndcg)]
    picture = figure_bars(bars, title=f"NDCG@10, {name}")
    return {f"{name}_picture": markdown(picture), name: table(rows)}


def _numbers(name: str, found: "Comparison", interval: tuple[float, float]) -> dict[str, float]:
    """Return what is plotted over time. The ratio is given only when it can be trusted."""
    numbers = {f"{name}_users": found.ours.users, f"{name}_hits": found.hits, f"{name}_ndcg": found.ours.ndcg}
    numbers |= {f"{name}_ndcg_most_voted": found.votes.ndcg, f"{name}_coverage": found.ours.coverage}
    if found.is_enough:
        low, high = interval
        numbers |= {f"{name}_ratio": found.ratio, f"{name}_ratio_low": low, f"{name}_ratio_high": high}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def _rounded(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
