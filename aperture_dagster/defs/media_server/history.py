"""Who watched what on the media server."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

import dagster as dg

from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.media_server.catalogue import episodes, movies, series
from aperture_dagster.defs.media_server.people import ids_on_server, read_users_once, users
from aperture_dagster.defs.media_server.server import media_server
from aperture_dagster.defs.reporting import problems_table
from aperture_dagster.defs.users import UserLeft, UserOutcome, for_each_user, user_asset
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.library.history import next_watermark
from aperture_dagster.library.moments import past
from aperture_dagster.library.people import User
from aperture_dagster.library.removal import check_history_loss
from aperture_dagster.ratings.in_force import OWN, SERVER, rated_since, ratings_version
from aperture_dagster.ratings.outbox import take_server_ratings
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import NotFound, RequestRejected
from aperture_dagster.resources.media_server.reader import MediaServerReader
from aperture_dagster.resources.media_server.records import ItemState, Listing, in_batches, with_content
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.storage.added import last_addition
from aperture_dagster.storage.catalogue import catalogue_size
from aperture_dagster.storage.copies import record_states
from aperture_dagster.storage.history import (
    PageResult,
    SyncMark,
    count_marked_items,
    items_with_versions,
    latest_plays,
    marked_items,
    read_mark,
    write_mark,
)
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.queries import database_time
from aperture_dagster.storage.versions import content_version

# Servers note a user's activity about once a minute, so the end of a play may be later than what they say.
ACTIVITY_LAG = timedelta(minutes=5)


class HistoryConfig(dg.Config):
    """Run configuration of the watch history."""

    full: bool = False
    """Compare the whole history now instead of reading what is new."""
    accept_removals: bool = False
    """Take marks back even if a user's whole history seems gone."""


@user_asset(
    group_name="media_server",
    deps=[media_server, users, movies, series, episodes],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "watch_state"},
)
def watch_history(
    context: dg.AssetExecutionContext,
    config: HistoryConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What each user has watched and rated: one row per user and item for the state, and an append-only log of plays.

    Read from the media server every two hours if anybody was active; once a day everything is compared. If the server
    suddenly reports no history for a user who had one, the stored history is kept.
    """
    with operator_errors(context, settings), media_servers.open() as server:
        with database.transaction() as connection:
            if not any(catalogue_size(connection).values()):
                # No item would be recognised, and the history would count as read until the next full comparison.
                raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")

        versioned = _read_versions_once(database)

        def serve(user: User) -> UserOutcome:
            before = server.requests
            try:
                outcome = _sync_history(user, config, settings, database, server, clock, versioned)
            except (NotFound, RequestRejected) as error:
                there = ids_on_server(server.users())
                if there is None or not there or user.user_id in there:
                    raise
                raise UserLeft(user.name) from error
            outcome.requests = server.requests - before
            return outcome

        yield from for_each_user(context, settings, database, serve, quiet=True)


def _read_versions_once(database: Database) -> Callable[[], list[str]]:
    """Return a function that reads the ids of :func:`items_with_versions` when it is first asked."""

    @functools.cache
    def versioned() -> list[str]:
        with database.transaction() as connection:
            return items_with_versions(connection)

    return versioned


@dataclass(slots=True)
class _Reading:
    """What reading a user's history has found so far."""

    listed: set[str] = field(default_factory=set)
    dates: list[datetime | None] = field(default_factory=list)
    unmatched: list[datetime | None] = field(default_factory=list)
    written: int = 0
    plays: int = 0
    unknown: int = 0
    unmarked: int = 0
    ratings: int = 0

    @property
    def rows_written(self) -> int:
        return self.written + self.plays + self.unmarked + self.ratings


def _sync_history(
    user: User,
    config: HistoryConfig,
    settings: Settings,
    database: Database,
    server: MediaServerReader,
    clock: Clock,
    versioned: Callable[[], list[str]],
) -> UserOutcome:
    """Read what is new of a user's history, or all of it when that is due.

    ``versioned`` returns the ids of :func:`items_with_versions`, which are the same for everybody.

    Raises:
        RemovalRefused: the server knows of nothing, or much less, for a user who had a history.
    """
    now = clock.now()
    with database.transaction() as connection:
        mark = read_mark(connection, user.user_id)
        known = marked_items(connection, user.user_id)
        # Other processes rate items on the server, too, and what is read here may be older than that.
        started_at = database_time(connection)
    full = config.full or config.accept_removals or mark.full_is_due(now, settings.history_full_sync_hours)
    watermark = mark.watermark
    # A mark in the future was made by a clock that has been set back since, so it does not show what is new.
    full = full or watermark is None or watermark > now
    found, listing = _Reading(), Listing()

    def write(page: list[ItemState]) -> PageResult:
        with database.transaction() as connection:
            result = record_states(connection, user.user_id, page, now=now, started_share=settings.started_share)
            found.ratings += take_server_ratings(
                connection, user.user_id, result.ratings, now=now, requested_at=started_at
            )
            return result

    if full or watermark is None:
        pages = server.all_states(user.user_id, listing)
        # Jellyfin 12 lists no progress in a version that lies in its film's own folder: the film itself hints at it.
        pages = chain(pages, with_content(server.states_of(user.user_id, versioned())))
    else:
        pages = server.changed_states(user.user_id, watermark, listing)
    _write_listed(pages, write, found)
    found.listed |= set(listing.unreadable_ids)
    watermark = next_watermark(watermark, found.dates, now, unmatched=found.unmatched)
    if listing.shifted and not full:
        # What moved over the edge of a page may be new, and is looked for again.
        watermark = mark.watermark
    compared = full and listing.complete
    if compared:
        # What is not listed may have a new id, or be hidden from this user, so the items are requested by id.
        told = [state for page in server.states_of(user.user_id, sorted(known - found.listed)) for state in page]
        believed = bool(found.listed) or not (user.access.all_libraries or user.access.library_ids)
        check_history_loss(
            user.name,
            listed=len(found.listed),
            lost=len(told if believed else known),
            known=len(known),
            limit=settings.removal_limit,
            accepted=config.accept_removals,
        )
        found.unmarked = write(told).states.written
    with database.transaction() as connection:
        write_mark(connection, user.user_id, watermark, now=now, full=compared and not listing.problems)
    return _outcome(user, settings, database, mark, found, now=now, compared=compared, problems=listing.problems)


def _write_listed(
    pages: Iterable[list[ItemState]], write: Callable[[list[ItemState]], PageResult], found: _Reading
) -> None:
    """Write what the server lists, in batches, and note what was found."""
    for page in in_batches(pages):
        result = write(page)
        found.written += result.states.written
        found.plays += result.plays
        found.unknown += result.unknown
        found.dates += [state.last_played_at for state in page]
        found.unmatched += [state.last_played_at for state in result.unmatched]
        found.listed |= {state.server_item_id for state in page}


def _outcome(
    user: User,
    settings: Settings,
    database: Database,
    before: SyncMark,
    found: _Reading,
    *,
    now: datetime,
    compared: bool,
    problems: list[str],
) -> UserOutcome:
    """Report what was read of a user's history; ``before``: how far it had been read until then."""
    with database.transaction() as connection:
        marked = count_marked_items(connection, user.user_id)
        shown = latest_plays(
            connection, [user.user_id], timezone=settings.schedule_timezone, tombstone_days=settings.tombstone_days
        )
        # Those from Trakt have an asset of their own, which also carries those of the command line, but is optional.
        versions = (
            content_version(connection, "watch_state", user_id=user.user_id),
            ratings_version(connection, user.user_id, SERVER, OWN),
        )
        rated = before.synced_at is not None and rated_since(connection, user.user_id, before.synced_at, now=now)
    return UserOutcome(
        "-".join(versions),
        rows_written=found.rows_written,
        metadata={
            "dagster/row_count": marked,
            "states_written": found.written,
            "plays_logged": found.plays,
            "marks_taken_back": found.unmarked,
            "ratings_changed": found.ratings,
            "unknown_items": found.unknown,
            "latest_plays": markdown_table(shown[:8], ["title", "episode", "played_at", "completion"]),
            "compared_in_full": compared,
        }
        | problems_table(problems),
        # Once a day everybody is recorded, so that the asset stays fresh in a household that watches nothing.
        record=compared or rated,
    )


def nobody_was_active(settings: Settings, clock: Clock) -> str | None:
    """Look when the users were last active, and say why there is no need to read histories; None if there may be.

    One request instead of one per user. Titles that are new in the catalogue require a read, since somebody may have
    watched them before. Marks that another program sets for a user who was not active wait for the daily comparison.
    """
    database = Database(settings)
    active_at = {user.user_id: user.last_activity_at for user in read_users_once(settings, database).records}
    if not any(active_at.values()):
        return None
    with database.transaction() as connection:
        stored = read_users(connection)
        taking_part = settings.participants(stored)
        marks = {user.user_id: read_mark(connection, user.user_id) for user in taking_part}
        rated = {
            user_id
            for user_id, mark in marks.items()
            if mark.synced_at is not None and rated_since(connection, user_id, mark.synced_at, now=clock.now())
        }
        added_at = past(last_addition(connection), clock.now())
    for user_id, mark in marks.items():
        last = active_at.get(user_id)
        synced_at = past(mark.synced_at, clock.now())
        if synced_at is None or mark.full_is_due(clock.now(), settings.history_full_sync_hours):
            return None
        if last is not None and last > synced_at - ACTIVITY_LAG:
            return None
        if user_id in rated or (added_at is not None and added_at > synced_at):
            return None
    return "Nobody was active since their history was read."
