"""Where each user is in the series that they watch."""

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import daily_check, on_upstream_change
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import episodes, series, users, watch_history
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import is_brief, table, warn_unless
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_list
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.popularity.queries import outdated_shows, shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.popularity.watching import ShowLists
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings

SHOWN = 20
SHOWN_BRIEFLY = 5
# A new status or air date can wait for the night; a new episode cannot.
AT_NIGHT = dg.AssetSelection.assets(series, enriched_metadata)


@user_asset(
    group_name="popularity",
    deps=[users, series, episodes, watch_history, enriched_metadata],
    kinds={"postgres"},
    automation_condition=on_upstream_change(ignoring=AT_NIGHT, first=False),
    metadata={"dagster/table_name": "shows_you_watch"},
)
def shows_you_watch(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """Where each user is in the series that they watch, one row per user and series: the next episode, how many they
    are behind, and when the next one airs.

    By last activity, the latest first; only what the user may see. From the history and the library's episodes, made
    every night and when an episode is watched or arrives.
    """
    now = clock.now().astimezone(ZoneInfo(settings.schedule_timezone))
    with operator_errors(context, settings), database.transaction() as connection:
        lists = ShowLists.read(connection, settings, now)

    def serve(user: User) -> UserOutcome:
        with database.transaction() as connection:
            written = lists.renew(connection, user)
            shown = shows_table(connection, user.user_id, today=now.date())
            version = content_version(connection, "shows_you_watch", user_id=user.user_id)
        metadata = {
            "series": _shown(context, shown),
            "dagster/row_count": len(shown),
            "episodes_behind": sum(row["behind"] for row in shown),
        }
        return UserOutcome(version, rows_written=written, metadata=metadata)

    yield from for_each_user(context, settings, database, serve)


@daily_check(
    asset=shows_you_watch,
    description="Every next episode is in the library, and had not been watched when the list was made. If not, "
    "materialize shows_you_watch again.",
)
def lead_to_unwatched_episodes(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Warn of entries that lead nowhere, or to what the user has seen."""
    with database.transaction() as connection:
        stored = users_of_partitions(connection, user_partitions(context.instance))
        outdated = outdated_shows(connection, [user.user_id for user in stored.values()])
    problem = f"{len(outdated):,} next episodes are gone or were watched: materialize shows_you_watch."
    metadata = {"outdated": len(outdated)} | ({"entries": table(outdated[:SHOWN])} if outdated else {})
    return warn_unless(not outdated, problem if outdated else "", metadata)


def _shown(context: dg.AssetExecutionContext, rows: list[dict[str, Any]]) -> dg.MetadataValue:
    """Show the top of the list: a table, or a few lines in runs that a change started."""
    labels = [episode_label(row["next_season"], row["next_number"]) or row["next_title"] for row in rows]
    if is_brief(context):
        lines = [f"{row['title']}: {label or 'all watched'}" for row, label in zip(rows, labels, strict=True)]
        return markdown_list(lines[:SHOWN_BRIEFLY], numbered=True)
    return table(
        [
            {
                "rank": row["rank"],
                "title": row["title"],
                "next episode": label,
                "behind": row["behind"],
                "next air date": row["next_air_date"],
                "days until": row["days_until"],
            }
            for row, label in zip(rows[:SHOWN], labels, strict=False)
        ]
    )
