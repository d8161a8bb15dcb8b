"""How good the lists of this server are, by what its users watched next."""

import math
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import latest_materialization, materialized, table, warn_unless
from aperture_dagster.defs.taste.lists import embeddings, recommendations
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.model import Clock, sentence
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.lists import watched_recommendations
from aperture_dagster.taste.quality import NOUNS, describe_weights, measure_quality, verdict
from aperture_dagster.taste.vectors import active_model, missing_vectors, model_table

if TYPE_CHECKING:
    from aperture_dagster.taste.ranking.evaluation import Comparison

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
    twenty, it says that there is too little to tell. A component of the score that makes the lists of this server worse
    loses weight in those that are made from now on.
    """
    with operator_errors(context, settings):
        with database.transaction() as connection:
            people = users_of_partitions(connection, user_partitions(context.instance))
        found = measure_quality(context.log, database, settings, list(people.values()), as_of=clock.now())
        shown: dict[str, Any] = {}
        numbers: dict[str, float] = {}
        verdicts = []
        for name, quality in found.items():
            verdicts.append(f"{name.capitalize()}: {verdict(quality.comparison, quality.interval)}.")
            shown[name] = _compared(quality.comparison)
            numbers |= _numbers(name, quality.comparison, quality.interval)
    weights = [f"{name.capitalize()}: {describe_weights(quality.earned)}." for name, quality in found.items()]
    metadata = {"verdict": " ".join(verdicts) or NOTHING} | shown | numbers
    if weights:
        metadata["weights"] = " ".join(weights)
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
    for name in NOUNS.values():
        if f"{name}_ratio_high" not in values:
            unclear.append(name)
        elif float(str(values[f"{name}_ratio_high"])) < 1.0:
            ratio = float(str(values[f"{name}_ratio"]))
            worse.append(f'The lists of {name} reach {ratio:.2f} of the NDCG@10 of "most voted".')
    if worse:
        return warn_unless(False, " ".join(worse), {})
    too_few = f"Too little to tell for {' and '.join(unclear)}." if unclear else None
    return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN, description=too_few)


def _compared(found: "Comparison") -> Any:
    """Return the table of a media type."""
    rows = [
        {"figure": figure, "most voted": _rounded(votes), "lists": _rounded(ours)}
        for figure, votes, ours in found.rows()
    ]
    return table(rows)


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


# A few titles whose text the model refuses are no reason to hold back everybody's list.
TOLERATED_WITHOUT_VECTOR = 0.05


@dg.asset_check(
    asset=embeddings,
    description="The model in use has a vector for at least 95 % of the titles; similarity is blind to the others. "
    "Materialize embeddings again. Until it passes, nothing downstream is made.",
    blocking=True,
)
def cover_the_library(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when the model in use lacks many vectors: similarity would be blind to those titles."""
    with database.transaction() as connection:
        model_key = active_model(connection)
        missing = missing_vectors(connection, model_key) if model_key else 0
        works = next((row["works"] for row in model_table(connection) if row["model"] == model_key), 0)
    total = works + missing
    found = f"{missing:,} of {total:,} titles have no vector" if missing else None
    return dg.AssetCheckResult(
        passed=model_key is not None and missing <= TOLERATED_WITHOUT_VECTOR * total,
        metadata={"missing": missing, "titles": total},
        description=found if model_key is not None else "no model is complete yet",
    )


# It looks at all users, so it does not belong to a run that serves one; and it runs when some users failed.
@dg.asset_check(
    asset=recommendations,
    description="No list holds what its user had watched when it was made. If one does, materialize "
    "recommendations again, and please report it.",
)
def hold_nothing_watched(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Fail when a list holds a title that its user had played when the list was made."""
    with database.transaction() as connection:
        users = users_of_partitions(connection, user_partitions(context.instance))
        watched = watched_recommendations(connection, [user.user_id for user in users.values()])
    return dg.AssetCheckResult(
        passed=watched == 0,
        metadata={"watched": watched},
        description=f"{watched:,} recommended titles had been watched." if watched else None,
    )


@daily_check(
    asset=recommendation_quality,
    description="What other people watched can be read, if `aperture crowd use` provides it. Lists are made without it "
    "otherwise; build the table again and use it, and materialize recommendations.",
)
def crowd_is_usable(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Warn when the table of other people's histories cannot be used."""
    place = table_in_use(settings)
    if not place.exists():
        return dg.AssetCheckResult(passed=True, description="No crowd is set up.")
    # pandas doubles the time that every `dagster` command takes to start.
    from aperture_dagster.taste.crowd_table import read_table

    try:
        found = read_table(place)
    except ServiceError as error:
        return warn_unless(False, sentence(error), {})
    header, films = found.header, len(found.arrays["tmdb_ids"])
    metadata = {"source": header.source, "people": header.people, "films": films, "licence": header.licence or "none"}
    return dg.AssetCheckResult(passed=True, metadata=metadata)


CHECKS = (
    cover_the_library,
    hold_nothing_watched,
    crowd_is_usable,
)
