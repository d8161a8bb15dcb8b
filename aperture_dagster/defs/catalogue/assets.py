"""The media server: its films, series and episodes, and who uses it."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.people import partition_key, who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size, newest_titles
from aperture_dagster.catalogue.server_users import check_names, ids_on_server, read_users_once, user_rows
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users, users_differ, write_users
from aperture_dagster.catalogue.sync.libraries import ItemsRead, ItemType, choose_libraries, read_items
from aperture_dagster.defs.reporting import materialized, problems_table, table, warn_of_unreadable, warn_unless
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.instance.failures import cause_of, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.media_server.records import ServerLibrary
from aperture_dagster.model import Clock
from aperture_dagster.partitions import add_user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import change_version, content_version
from aperture_dagster.publishing.disk.paths import is_any_published, published_root
from aperture_dagster.publishing.manifest import published_library_ids, published_roots
from aperture_dagster.settings import Settings

media_server = dg.AssetSpec(
    "media_server",
    group_name="catalogue",
    description="The media server itself (Jellyfin or Emby): where titles, users and plays come from.",
    kinds={"jellyfin", "emby"},
)


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


def catalogue_asset(
    name: str, item_type: ItemType, *, description: str, deps: Sequence[dg.AssetsDefinition] = ()
) -> dg.AssetsDefinition:
    """Define the asset that lists one type of item of all libraries, and merges what was listed into the catalogue."""

    @dg.asset(
        name=name,
        description=description,
        group_name="catalogue",
        deps=[media_server, *deps],
        kinds={"jellyfin", "emby", "postgres"},
        pool=MEDIA_SERVER,
        metadata={"dagster/table_name": "episodes" if item_type == "episode" else "titles"},
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: CatalogueConfig,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
    ) -> dg.MaterializeResult:
        with operator_errors(context, settings), media_servers.open() as server, database.connection() as connection:
            listed = _without_ours(server.libraries(), database, settings)
            libraries = choose_libraries(listed, settings, item_type)
            accept = config.accept_removals
            read = read_items(server, connection, libraries, accept_removals=accept, log=context.log)
            if read.failure is not None:
                raise read.failure
            shown, version = _page(database, name, item_type)
            return _report(context, read, {"requests": server.requests, **shown}, version)

    return asset


def _without_ours(listed: Sequence[ServerLibrary], database: Database, settings: Settings) -> list[ServerLibrary]:
    """Leave out what was published, found by its folders, too: ids change with names."""
    with database.transaction() as connection:
        published = published_library_ids(connection)
        roots = {*published_roots(connection), *published_root(settings)}
    return [one for one in listed if one.library_id not in published and not is_any_published(one.locations, roots)]


def _page(database: Database, name: str, item_type: ItemType) -> tuple[dict[str, Any], str]:
    """Return what the asset's page shows of the catalogue, and the version of its rows."""
    with database.transaction() as connection:
        shown: dict[str, Any] = {"dagster/row_count": catalogue_size(connection)[name]}
        if item_type == "episode":
            return shown, change_version(connection, "episodes")
        newest = newest_titles(connection, item_type)
        shown["newest"] = markdown_table(newest, ["title", "year", "genres", "added"])
        return shown, change_version(connection, "titles", media_type=item_type)


def _report(
    context: dg.AssetExecutionContext, read: ItemsRead, shown: dict[str, Any], version: str
) -> dg.MaterializeResult:
    result = read.result
    warn_of_unreadable(context, "items", read.problems, read=result.listed)
    if result.refusal is not None:
        raise dg.Failure(
            description=f"{result.refusal} What is new or changed was written.",
            metadata={"rows_written": result.counts.written, "listed": result.listed, **cause_of([result.refusal])},
            allow_retries=False,
        )
    metadata = {
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
    }
    if result.orphaned_episodes:
        metadata["episodes_without_series"] = result.orphaned_episodes
    return materialized(context, metadata | shown | problems_table(read.problems), version=version)


movies = catalogue_asset(
    "movies",
    "movie",
    description="The films of the media server, one row each; copies of one film share a work.\n\n"
    "Read whole from the server every night, written only where something changed. A film that is gone is kept "
    "with a tombstone; if too much of a library vanished at once, nothing is removed and the run says so.",
)
series = catalogue_asset(
    "series",
    "series",
    description="The series of the media server, one row each; copies of one series share a work.\n\n"
    "Read whole from the server every night, written only where something changed. Their episodes are an asset "
    "of their own.",
)
episodes = catalogue_asset(
    "episodes",
    "episode",
    description="The episodes of all series on the media server, one row each.\n\n"
    "Read whole from the server every night, after the series, written only where something changed. They say "
    "who has watched how much of a series, and what comes next.",
    deps=[series],
)


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
            "gone": "yes" if user.gone else "",
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
        "names": markdown_table([{"problem": problem} for problem in problems] + [{"note": note} for note in notes]),
    }
    return warn_unless(not problems, " ".join(problems or notes), metadata)
