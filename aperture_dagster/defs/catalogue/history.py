"""Who watched what on the media server."""

from collections.abc import Iterator

import dagster as dg

from aperture_dagster.catalogue.history.activity import may_have_watched
from aperture_dagster.catalogue.history.marks import count_marked_items
from aperture_dagster.catalogue.history.plays import latest_plays
from aperture_dagster.catalogue.history.progress import read_mark
from aperture_dagster.catalogue.history.reader import HistoryRead, HistoryReader
from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.server_users import has_left, read_activity_once
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.defs.catalogue.assets import episodes, media_server, movies, series, users
from aperture_dagster.defs.reporting import problems_table
from aperture_dagster.defs.users import UserLeft, UserOutcome, for_each_user, user_asset
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.publishing.copies.moving import StateMover
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.ratings.in_force import IMPORTED, OWN, SERVER, rated_since, ratings_version
from aperture_dagster.settings import Settings


class HistoryConfig(dg.Config):
    """Run configuration of the watch history."""

    full: bool = False
    """Compare the whole history now instead of reading what is new."""
    accept_removals: bool = False
    """Take marks back even if a user's whole history seems gone."""


@user_asset(
    group_name="catalogue",
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
    suddenly reports no history for a user who had one, the stored history is kept. What was watched, liked or marked as
    favourite on published copies then moves to the originals on the server, where it does not share that itself.
    """
    with operator_errors(context, settings), media_servers.open_writer() as writer:
        with database.transaction() as connection:
            if not any(catalogue_size(connection).values()):
                # No item would be recognised, and the history would count as read until the next full comparison.
                raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
        server = writer.reader
        reader = HistoryReader(server, database, clock, record_states)
        mover = StateMover(database, clock, writer, context.log)

        def serve(user: User) -> UserOutcome:
            before = server.requests
            try:
                read = reader.read(user, full=config.full, accept_removals=config.accept_removals)
            except (NotFound, RequestRejected) as error:
                if has_left(server.users(), user.user_id):
                    raise UserLeft(user.name) from error
                raise
            moved = mover.move_or_warn(user)
            outcome = _outcome(user, read, settings, database, clock)
            outcome.metadata["states_moved"] = moved
            outcome.requests = server.requests - before
            return outcome

        yield from for_each_user(context, settings, database, serve, quiet=True, at_once=True)


def _outcome(user: User, read: HistoryRead, settings: Settings, database: Database, clock: Clock) -> UserOutcome:
    """Report what was read of a user's history."""
    with database.transaction() as connection:
        marked = count_marked_items(connection, user.user_id)
        shown = latest_plays(connection, [user.user_id], timezone=settings.schedule_timezone)
        # Those from Trakt have an asset of their own, which also carries those of the command line, but is optional.
        versions = (
            content_version(connection, "watch_state", "plays", "seen_elsewhere", user_id=user.user_id),
            ratings_version(connection, user.user_id, SERVER, OWN, IMPORTED),
        )
        synced_at = read.before.synced_at
        rated = synced_at is not None and rated_since(connection, user.user_id, synced_at, now=clock.now())
    metadata = {
        "titles_marked": marked,
        "states_written": read.written,
        "plays_logged": read.plays,
        "marks_taken_back": read.unmarked,
        "ratings_changed": read.ratings,
        "unknown_items": read.unknown,
        "latest_plays": markdown_table(shown[:8], ["title", "episode", "played_at", "completion"]),
        "compared_in_full": read.compared,
    }
    return UserOutcome(
        "-".join(versions),
        rows_written=read.rows_written,
        metadata=metadata | problems_table(read.problems),
        # Once a day everybody is recorded, so that the asset stays fresh in a household that watches nothing.
        record=read.compared or rated,
    )


def nobody_was_active(settings: Settings, clock: Clock) -> str | None:
    """Look when the users were last active, and say why there is no need to read histories; None if there may be.

    A request or two instead of one per user.
    """
    database, now = Database(settings), clock.now()
    active_at = read_activity_once(settings, database)
    with database.transaction() as connection:
        user_ids = [user.user_id for user in who_takes_part(settings, read_users(connection))]
        marks = [(user_id, read_mark(connection, user_id).synced_at) for user_id in user_ids]
        rated = any(at is not None and rated_since(connection, user_id, at, now=now) for user_id, at in marks)
        if rated or may_have_watched(connection, active_at, user_ids, now=now):
            return None
    return "Nobody was active since their history was read."
