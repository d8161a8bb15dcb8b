"""What the media server has: its users, its films, series and episodes, and who watched what."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.assets.common import (
    SERVER,
    MissingPrerequisite,
    Progress,
    UserOutcome,
    for_each_user,
    operator_errors,
    problems_table,
    table,
)
from aperture_dagster.automation import fresh_within_a_day, fresh_within_hours
from aperture_dagster.partitions import USERS, users_partitions
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import Listing
from aperture_dagster.resources.providers import Clock, Database, MediaServers
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.media_server import MediaServer, MediaType, ServerLibrary
    from aperture_dagster.storage.catalogue import CatalogueResult, EpisodeStage, RemovalRules, TitleStage
    from aperture_dagster.storage.people import StoredUser

GROUP = "media_server"
CONTENT_TYPES = {"movie": {"movies", None, "mixed"}, "series": {"tvshows", None, "mixed"}}

media_server = dg.AssetSpec(
    SERVER,
    group_name=GROUP,
    description="The media server itself (Jellyfin or Emby): where titles, users and plays come from.",
    kinds={"jellyfin", "emby"},
)


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


class HistoryConfig(dg.Config):
    """Run configuration of the watch history."""

    full: bool = False
    """Compare the whole history now instead of reading what is new."""
    accept_removals: bool = False
    """Take marks back even if a user's whole history seems gone."""


@dg.asset(
    group_name=GROUP,
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_hours,
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
    from aperture_dagster.library.people import email_of, partition_key, who_takes_part
    from aperture_dagster.storage.people import read_users, write_users

    with operator_errors(context, settings), media_servers.open() as server:
        page = server.users()
        if not page.records:
            raise BadAnswer("The media server lists no users; it always has one. Nothing was changed.")
        rows = []
        for user in page.records:
            email, source = email_of(user.name, user.email_hint, settings.user_emails)
            rows.append(
                {
                    "user_id": user.user_id,
                    "name": user.name,
                    "email": email,
                    "email_source": source,
                    "is_administrator": user.is_administrator,
                    "is_hidden": user.is_hidden,
                    "is_disabled": user.is_disabled,
                    "max_parental_rating": user.max_parental_rating,
                    "all_libraries": user.all_libraries,
                    "library_ids": list(user.library_ids),
                    "last_activity_at": user.last_activity_at,
                }
            )
        there = {user.user_id for user in page.records} | set(page.unreadable_ids)
        with database.transaction() as connection:
            counts = write_users(connection, rows, still_there=there, key_for=partition_key)
            stored = read_users(connection)
        taking_part = who_takes_part(stored, include=settings.include_users, exclude=settings.exclude_users)
        partaking = [user.partition_key for user in taking_part]
        context.instance.add_dynamic_partitions(USERS, partaking)
        requests = server.requests
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
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(page.records),
            "taking_part": len(partaking),
            "rows_written": counts.written,
            "requests": requests,
            "users": table(shown),
        }
        | problems_table(page.problems)
    )


@dg.asset(
    group_name=GROUP,
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def movies(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every film item of the media server, one row each; copies of one film share a work.

    Read whole every time, written only where something changed. A film that is gone gets a tombstone, unless too much
    of a library vanished at once.
    """
    return _sync_titles(context, config, settings, database, media_servers, "movie")


@dg.asset(
    group_name=GROUP,
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def series(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every series item of the media server, one row each; copies of one series share a work.

    Read whole every time, written only where something changed.
    """
    return _sync_titles(context, config, settings, database, media_servers, "series")


@dg.asset(
    group_name=GROUP,
    deps=[media_server, series],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def episodes(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every episode item of the media server, one row each, below its series.

    Read whole every time, written only where something changed.
    """
    from aperture_dagster.storage.catalogue import EpisodeStage, largest_series

    return _sync_catalogue(
        context,
        config,
        settings,
        database,
        media_servers,
        media_type="series",
        counted="episodes",
        make_stage=EpisodeStage,
        pages=lambda server, library, listing: server.episodes(library, listing),
        shown=lambda connection: {"largest_series": table(largest_series(connection))},
    )


@dg.asset(
    group_name=GROUP,
    deps=[media_server, users, movies, episodes],
    partitions_def=users_partitions,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
)
def watch_history(
    context: dg.AssetExecutionContext,
    config: HistoryConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What each user has watched: one row per user and item for the state, and an append-only log of plays.

    Only what is new is read, and once a day everything is compared. A server that suddenly knows of no history at all
    for a user who had one is not believed.
    """
    from aperture_dagster.storage.catalogue import catalogue_size

    with operator_errors(context, settings), media_servers.open() as server:
        with database.transaction() as connection:
            if not any(catalogue_size(connection).values()):
                # Read now, nothing would be recognised, and it would pass for read until the next full comparison.
                raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")

        def serve(user: "StoredUser") -> UserOutcome:
            before = server.requests
            outcome = _sync_history(user, config, settings, database, server, clock)
            outcome.requests = server.requests - before
            return outcome

        return for_each_user(context, database, serve)


def _sync_titles(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    media_type: "MediaType",
) -> dg.MaterializeResult:
    from aperture_dagster.storage.catalogue import TitleStage, newest_titles

    return _sync_catalogue(
        context,
        config,
        settings,
        database,
        media_servers,
        media_type=media_type,
        counted="movies" if media_type == "movie" else "series",
        make_stage=lambda connection: TitleStage(connection, media_type),
        pages=lambda server, library, listing: server.titles(library, media_type, listing),
        shown=lambda connection: {"newest": table(newest_titles(connection, media_type))},
    )


def _sync_catalogue(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    *,
    media_type: "MediaType",
    counted: str,
    make_stage: "Callable[[Connection], TitleStage | EpisodeStage]",
    pages: "Callable[[MediaServer, ServerLibrary, Listing], Iterator[list[Any]]]",
    shown: "Callable[[Connection], dict[str, Any]]",
) -> dg.MaterializeResult:
    """List one kind of item of all libraries, and merge it into the catalogue in one transaction.

    Args:
        media_type: which libraries hold it.
        counted: its name in the catalogue's size, and in the progress.
        make_stage, pages: where it is staged, and how the server is asked for it.
        shown: the tables for the asset's page.
    """
    from aperture_dagster.storage.catalogue import catalogue_size, write_libraries

    with operator_errors(context, settings), media_servers.open() as server:
        chosen, scope = _libraries(server, settings, media_type)
        with database.transaction() as connection:
            write_libraries(connection, chosen)
            stage = make_stage(connection)
            listings: dict[str, Listing] = {}
            progress = Progress(context, counted)
            for library in chosen:
                listing = listings[library.library_id] = Listing()
                for page in pages(server, library, listing):
                    stage.add(library, page)
                    progress.add(len(page))
            result = stage.merge(**_removal_scope(chosen, listings, scope, connection), rules=_rules(settings, config))
            size = catalogue_size(connection)[counted]
            tables = shown(connection)
    return _report(context, result, listings, size, server.requests, tables)


def _libraries(
    server: "MediaServer", settings: Settings, media_type: "MediaType"
) -> "tuple[list[ServerLibrary], dict[str, set[str]]]":
    """The libraries to read, and which ids are on the server and which the operator left out.

    Raises:
        BadAnswer: the server lists no libraries at all.
        MissingPrerequisite: a chosen library does not exist.
    """
    listed = server.libraries()
    if not listed:
        raise BadAnswer("The media server lists no libraries. Nothing was changed.")
    by_name = {library.name.casefold() for library in listed}
    unknown = [name for name in settings.libraries if name.casefold() not in by_name]
    if unknown:
        raise MissingPrerequisite(
            f"APERTURE_LIBRARIES names {unknown[0]!r}; the server has {', '.join(one.name for one in listed)}."
        )
    wanted = {name.casefold() for name in settings.libraries}
    unwanted = {name.casefold() for name in settings.exclude_libraries}
    excluded = {
        library.library_id
        for library in listed
        if library.name.casefold() in unwanted or (wanted and library.name.casefold() not in wanted)
    }
    chosen = [
        library
        for library in listed
        if library.library_id not in excluded and library.collection_type in CONTENT_TYPES[media_type]
    ]
    return chosen, {"listed": {library.library_id for library in listed}, "excluded": excluded}


def _removal_scope(
    chosen: "list[ServerLibrary]", listings: dict[str, Listing], scope: dict[str, set[str]], connection: Any
) -> dict[str, Any]:
    """Which libraries can be trusted to be whole, for the removals."""
    from aperture_dagster.storage.catalogue import known_libraries

    complete = {key for key, listing in listings.items() if listing.complete}
    # A library that the server has no more lists nothing, and whole: the guard decides.
    vanished = known_libraries(connection) - scope["listed"]
    return {
        "complete": complete | vanished,
        "incomplete": [one.name for one in chosen if one.library_id not in complete],
        "unreadable": [identity for listing in listings.values() for identity in listing.unreadable_ids],
        "excluded": scope["excluded"],
    }


def _rules(settings: Settings, config: CatalogueConfig) -> "RemovalRules":
    from aperture_dagster.storage.catalogue import RemovalRules

    return RemovalRules(settings.removal_limit, config.accept_removals, settings.tombstone_days)


def _report(
    context: dg.AssetExecutionContext,
    result: "CatalogueResult",
    listings: dict[str, Listing],
    size: int,
    requests: int,
    shown: dict[str, Any],
) -> dg.MaterializeResult:
    metadata = {
        "dagster/row_count": size,
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed + result.purged,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
        "purged": result.purged,
        "requests": requests,
    }
    metadata |= shown
    problems = [problem for listing in listings.values() for problem in listing.problems]
    metadata |= problems_table(problems)
    if problems:
        context.log.warning(f"{len(problems)} items could not be read and were left as they are: {problems[0]}")
    if result.orphaned_episodes:
        metadata["episodes_without_series"] = result.orphaned_episodes
    if result.incomplete_libraries:
        context.log.warning(
            f"{', '.join(result.incomplete_libraries)} changed while it was read; nothing is removed from it this time."
        )
    if result.refusal is not None:
        raise dg.Failure(
            description=f"{result.refusal} What is new or changed was written.",
            metadata={"rows_written": result.counts.written, "listed": result.listed},
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=metadata)


def _sync_history(
    user: "StoredUser",
    config: HistoryConfig,
    settings: Settings,
    database: Database,
    server: "MediaServer",
    clock: Clock,
) -> UserOutcome:
    """Read what is new of a user's history, or all of it when that is due.

    Raises:
        RemovalRefused: the server knows of nothing, or much less, for a user who had a history.
    """
    from datetime import timedelta

    from aperture_dagster.library.history import next_watermark
    from aperture_dagster.library.removal import check_history_loss
    from aperture_dagster.storage.history import (
        count_marked,
        latest_plays,
        read_mark,
        unmark_missing,
        write_mark,
        write_states,
    )

    now = clock.now()
    with database.transaction() as connection:
        mark = read_mark(connection, user.user_id)
        marked_before = count_marked(connection, user.user_id)
    age = now - mark.full_synced_at if mark.full_synced_at is not None else None
    full_is_due = age is None or not timedelta(0) <= age < timedelta(hours=settings.history_full_sync_hours)
    listing = Listing()
    if config.full or full_is_due or mark.watermark is None:
        full, pages = True, server.all_states(user.user_id, listing)
    else:
        full, pages = False, server.changed_states(user.user_id, mark.watermark, listing)
    watermark = mark.watermark
    listed: set[str] = set()
    written = plays = unknown = unmarked = 0
    for page in pages:
        with database.transaction() as connection:
            result = write_states(connection, user.user_id, page, now=now, started_share=settings.started_share)
        written += result.states.written
        plays += result.plays
        unknown += result.unknown
        watermark = next_watermark(watermark, [state.last_played_at for state in page], now)
        listed |= {state.server_item_id for state in page}
    listed |= set(listing.unreadable_ids)
    compared = full and listing.complete
    with database.transaction() as connection:
        if compared:
            check_history_loss(
                user.name,
                listed=len(listed),
                known=marked_before,
                limit=settings.removal_limit,
                accepted=config.accept_removals,
            )
            unmarked = unmark_missing(connection, user.user_id, listed)
        write_mark(connection, user.user_id, watermark, now=now, full=compared)
        marked = count_marked(connection, user.user_id)
        shown = latest_plays(connection, [user.user_id])
    return UserOutcome(
        rows_written=written + plays + unmarked,
        metadata={
            "dagster/row_count": marked,
            "states_written": written,
            "plays_logged": plays,
            "marks_taken_back": unmarked,
            "unknown_items": unknown,
            "compared_in_full": compared,
            "latest_plays": table(shown),
        }
        | problems_table(listing.problems),
    )
