"""Who uses the media server."""

import dagster as dg

from aperture_dagster.catalogue.people import User, partition_key, read_users, users_differ, who_takes_part, write_users
from aperture_dagster.catalogue.servers import MediaServers, check_names, ids_on_server, read_users_once, user_rows
from aperture_dagster.defs.catalogue.server import media_server
from aperture_dagster.defs.reporting import materialized, problems_table, table, warn_of_unreadable, warn_unless
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import add_user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.publishing.published import published_library_ids
from aperture_dagster.settings import Settings

# What decides which titles a user may see. Everything else that the server says of a user changes no list.
ACCESS_COLUMNS = (
    "user_id", "is_disabled", "max_parental_rating", "all_libraries", "library_ids", "blocked_tags", "allowed_tags",
    "open_library_ids", "excluded_folders", "removed_at",
)  # fmt: skip


@dg.asset(
    group_name="catalogue",
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "users"},
)
def users(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """The users of the media server, and which of them take part: one row per user ever seen.

    Read whole from the media server, within half an hour of a change. A user who is gone is kept, with the date, and
    comes back as the same record; one who is renamed stays the same person, also for the settings. Each user who takes
    part has a partition in all per-user assets.
    """
    with operator_errors(context, settings), media_servers.open() as server:
        page = server.users()
        if not page.records:
            raise BadAnswer("The media server lists no users; it always has one. Nothing was changed.")
        warn_of_unreadable(context, "users", page.problems, read=len(page.records))
        with database.transaction() as connection:
            rows = user_rows(page, settings, published_library_ids(connection), known=read_users(connection))
            counts = write_users(connection, rows, still_there=ids_on_server(page), key_for=partition_key)
            stored = read_users(connection)
            version = content_version(connection, "users", columns=ACCESS_COLUMNS)
        taking_part = who_takes_part(settings, stored)
        partaking = [user.partition_key for user in taking_part]
        add_user_partitions(context.instance, partaking)
    sources = {row["user_id"]: row["email_source"] for row in rows}
    shown = [
        {
            "name": user.name,
            "takes part": "yes" if user.partition_key in partaking else "no",
            "limit": user.max_parental_rating,
            "e-mail": sources.get(user.user_id),
            "remarks": _remarks(user),
        }
        for user in stored
    ]
    metadata = {
        "dagster/row_count": len(page.records),
        "taking_part": len(partaking),
        "rows_written": counts.written,
        "requests": server.requests,
        "users": table(shown),
    }
    return materialized(context, metadata | problems_table(page.problems), version=version)


def _remarks(user: User) -> str:
    """Say what sets a user apart from the others."""
    return ", ".join(
        remark
        for applies, remark in (
            (user.is_administrator, "administrator"),
            (user.is_disabled, "disabled"),
            (user.gone, "gone"),
            (user.partition_key != user.name, f"partition {user.partition_key}"),
            (user.former_names, f"formerly {', '.join(user.former_names)}"),
        )
        if applies
    )


def no_user_changed(settings: Settings, clock: Clock) -> str | None:
    """Look at the server's users, and say why there is no need to sync them; None if there may be."""
    database = Database(settings)
    page = read_users_once(settings, database)
    with database.transaction() as connection:
        rows = user_rows(page, settings, published_library_ids(connection), known=read_users(connection))
        changed = users_differ(connection, rows, on_server=ids_on_server(page))
    return None if changed or page.problems else "No user changed since the last run."


@dg.asset_check(
    asset=users,
    description="The settings about users name users of the server, and somebody takes part. A name that matches "
    "nobody is ignored: correct APERTURE_INCLUDE_USERS, APERTURE_EXCLUDE_USERS or APERTURE_USER_EMAILS.",
)
def match_the_settings(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of names that no user ever had, of addresses that are none, and when nobody takes part."""
    with database.transaction() as connection:
        stored = read_users(connection)
    problems, notes = check_names(settings, stored)
    metadata = {
        "taking_part": len(who_takes_part(settings, stored)),
        "names": markdown_table([{"problem": one} for one in problems] + [{"note": one} for one in notes]),
    }
    return warn_unless(not problems, " ".join(problems or notes), metadata)
