"""What must be true of vectors, tastes and recommendations."""

import dagster as dg

from aperture_dagster.defs.common import table
from aperture_dagster.defs.taste.assets import embeddings, recommendations
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings


@dg.asset_check(
    asset=embeddings, description="The model in use has a vector for at least 95 % of the titles.", blocking=True
)
def cover_the_library(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when the model in use lacks many vectors: similarity would be blind to those titles."""
    from aperture_dagster.storage.vectors import active_model, missing_vectors, model_table

    with database.transaction() as connection:
        model_key = active_model(connection)
        missing = missing_vectors(connection, model_key) if model_key else 0
        works = next((row["works"] for row in model_table(connection) if row["model"] == model_key), 0)
    total = works + missing
    return dg.AssetCheckResult(
        passed=model_key is not None and missing <= 0.05 * total,
        metadata={"missing": missing, "titles": total},
        description=None if model_key else "No model is complete yet.",
    )


@dg.asset_check(asset=recommendations, description="Nobody is recommended what they have watched.")
def hold_nothing_watched(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Fail when a list holds a title that its user had played when the list was made."""
    from aperture_dagster.storage.lists import watched_recommendations
    from aperture_dagster.storage.people import users_of_partitions

    with database.transaction() as connection:
        users = users_of_partitions(connection, context.instance.get_dynamic_partitions(USERS))
        watched = watched_recommendations(connection, [user.user_id for user in users.values()])
    return dg.AssetCheckResult(passed=watched == 0, metadata={"watched": watched})


@dg.asset_check(asset=recommendations, description="Every user who takes part has a list, and it is full.")
def are_full_for_every_user(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of users with no film or series recommended though there are unwatched ones."""
    from aperture_dagster.storage.lists import list_sizes

    partaking = set(context.instance.get_dynamic_partitions(USERS))
    with database.transaction() as connection:
        sizes = [row for row in list_sizes(connection) if row["partition"] in partaking]
    empty = [row for row in sizes if row["films"] + row["series"] == 0]
    return dg.AssetCheckResult(
        passed=not empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"users": len(sizes), "without_a_list": len(empty), "lists": table(sizes)},
        description=f"{len(empty)} users have no list yet." if empty else None,
    )


CHECKS = [cover_the_library, hold_nothing_watched, are_full_for_every_user]
