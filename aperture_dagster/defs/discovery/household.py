"""What would please most people of the household."""

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.pool import discovery_pool
from aperture_dagster.defs.discovery.reporting import household_lists
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import users
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.partitions import user_partitions
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.suggestions import household_table, read_candidates, replace_household
from aperture_dagster.storage.versions import content_version


@dg.asset(
    group_name="discovery",
    deps=[users, discovery_pool, discovery_candidates],
    kinds={"numpy", "postgres"},
    # Before the pool has been filled, nobody can have a list, and on a new home nobody is known either.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(users, discovery_pool), after=[discovery_pool.key]
    ),
    metadata={"dagster/table_name": "household_candidates"},
)
def household_candidates(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """What to add to the library to please as many of the household as possible: one row per title, with their names.

    Made from the suggestions of all users who take part, whenever they change.
    """
    from aperture_dagster.ranking.discovery import household

    with operator_errors(context, settings), database.transaction() as connection:
        people = users_of_partitions(connection, user_partitions(context.instance)).values()
        user_ids = [user.user_id for user in people]
        candidates = read_candidates(connection, user_ids)
        lists = {user_id: own for user_id, own in candidates.groupby("user_id")}
        ranked = household(lists, limit=settings.discovery_per_list, users=user_ids)
        rows = [
            {
                "media_type": row["media_type"],
                "rank": int(row["rank"]),
                "work_id": int(row["work_id"]),
                "score": round(float(row["score"]), 4),
                "user_ids": list(row["user_ids"]),
            }
            for row in ranked.to_dict("records")
        ]
        counts = replace_household(connection, rows)
        shown = household_table(connection, country=settings.country)
        version = content_version(connection, "household_candidates")
    metadata = {"dagster/row_count": len(shown), "users": len(lists), "rows_written": counts.written}
    return materialized(context, metadata | household_lists(settings, shown), version=version)
