"""Who uses the media server."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import dagster as dg

from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server.server import media_server
from aperture_dagster.defs.reporting import materialized, problems_table, table, warn_of_unreadable
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.library.people import email_of, participants, partition_key
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server.records import Page, ServerUser
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.storage.people import read_users, users_differ, write_users
from aperture_dagster.storage.published import published_library_ids
from aperture_dagster.storage.versions import content_version

# What decides which titles a user may see. Everything else that the server says of a user changes no list.
ACCESS_COLUMNS = (
    "user_id", "is_disabled", "max_parental_rating", "all_libraries", "library_ids", "blocked_tags", "allowed_tags",
    "open_library_ids", "excluded_folders", "removed_at",
)  # fmt: skip


@dg.asset(
    group_name="media_server",
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
    """Every user of the media server, one row each.

    Read whole every time. A user who is gone is kept, with the date, and comes back as the same record. Users who take
    part have a partition, added here; the sensor removes partitions and serves newcomers.
    """
    with operator_errors(context, settings), media_servers.open() as server:
        page = server.users()
        if not page.records:
            raise BadAnswer("The media server lists no users; it always has one. Nothing was changed.")
        warn_of_unreadable(context, "users", page.problems, read=len(page.records))
        with database.transaction() as connection:
            rows = user_rows(page, settings, published_library_ids(connection))
            counts = write_users(connection, rows, still_there=ids_on_server(page), key_for=partition_key)
            stored = read_users(connection)
            version = content_version(connection, "users", columns=ACCESS_COLUMNS)
        taking_part = participants(stored, include=settings.include_users, exclude=settings.exclude_users)
        partaking = [user.partition_key for user in taking_part]
        context.instance.add_dynamic_partitions(USERS, partaking)
    shown = [
        {
            "name": user.name,
            "partition": user.partition_key,
            "takes_part": user.partition_key in partaking,
            "administrator": user.is_administrator,
            "disabled": user.is_disabled,
            "parental_limit": user.max_parental_rating,
            "gone": user.gone,
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


def user_rows(page: Page[ServerUser], settings: Settings, published: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows of the users that could be read.

    Published libraries do not count among a user's libraries: who may see them follows from the lists, and must not
    change the lists.
    """
    rows = []
    for user in page.records:
        row = asdict(user)
        email, source = email_of(user.name, row.pop("email_hint"), settings.user_emails)
        lists = {name: list(value) for name, value in row.items() if isinstance(value, tuple)}
        lists["library_ids"] = [one for one in user.library_ids if one not in published]
        rows.append(row | lists | {"email": email, "email_source": source})
    return rows


def ids_on_server(page: Page[ServerUser]) -> set[str] | None:
    """Return the ids of all users on the server; None if one of them cannot be read: that one may be anybody."""
    if len(page.problems) != len(page.unreadable_ids):
        return None
    return {user.user_id for user in page.records} | set(page.unreadable_ids)


def read_users_once(settings: Settings, database: Database) -> Page[ServerUser]:
    """Ask the server for its users, without retries, because a schedule is waiting for the answer."""
    with MediaServers(settings.model_copy(update={"http_attempts": 1}), database).open() as server:
        return server.users()


def no_user_changed(settings: Settings, clock: Clock) -> str | None:
    """Look at the server's users, and say why there is no need to sync them; None if there may be."""
    database = Database(settings)
    page = read_users_once(settings, database)
    with database.transaction() as connection:
        rows = user_rows(page, settings, published_library_ids(connection))
        changed = users_differ(connection, rows, on_server=ids_on_server(page))
    return None if changed or page.problems else "No user changed since the last run."
