"""The ratings of each user, in step with Trakt."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.media_server import users, watch_history
from aperture_dagster.defs.users import UserOutcome, for_each_user, record_user, user_asset
from aperture_dagster.instance.pools import TRAKT
from aperture_dagster.library.moments import elapsed
from aperture_dagster.library.people import User
from aperture_dagster.ratings.accounts import TraktAccount, TraktAccounts
from aperture_dagster.ratings.client import Trakt
from aperture_dagster.ratings.in_force import OWN, ratings_version
from aperture_dagster.ratings.in_force import TRAKT as FROM_TRAKT
from aperture_dagster.ratings.server import lacks_ratings, rate_on_server
from aperture_dagster.ratings.sync import RatingsReport, RatingsSync
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.resources.media_server.writer import MediaServerWriter
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings

SHOWN = 20
RECORD_EVERY = timedelta(hours=20)

trakt = dg.AssetSpec(
    "trakt",
    group_name="ratings",
    description="Trakt itself: where users rate films and series, too.",
    kinds={"trakt"},
)


class TraktRatingsConfig(dg.Config):
    """Run configuration of the ratings on Trakt."""

    accept_first_sync: bool = False
    """Push any number of ratings in a user's first sync."""
    accept_removals: bool = False
    """Remove the ratings whose removal was held back before this run."""


@user_asset(
    group_name="ratings",
    deps=[trakt, users, watch_history],
    kinds={"trakt", "postgres"},
    pool=TRAKT,
    metadata={"dagster/table_name": "trakt_ratings"},
)
def trakt_ratings(
    context: dg.AssetExecutionContext,
    config: TraktRatingsConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    trakt: dg.ResourceParam[TraktAccounts],
    media_servers: dg.ResourceParam[MediaServers],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """The ratings of films and series of each user who connected Trakt, one row per user and work, as both sides agree.

    The newest edit wins, removals travel both ways, and equal ratings are never written. A rating from here waits until
    Trakt shows it. Users without a connection are left out.
    """
    with operator_errors(context, settings), ExitStack() as stack:
        off, is_due = trakt.why_off(), _is_due(context, clock)
        # What a retry of this step finds held back was not shown when the run was started.
        started = context.instance.get_run_record_by_id(context.run.run_id) if config.accept_removals else None
        writers: list[MediaServerWriter] = []

        def serve(user: User) -> UserOutcome:
            report = RatingsReport()
            # Read for each user, since one may connect or disconnect during the run.
            note, requests = why_left_out(off, user.name, trakt.account(user.user_id)), 0
            if note is None:
                with trakt.open(user.user_id) as client:
                    sync = RatingsSync(
                        database,
                        clock,
                        user,
                        client,
                        log=context.log,
                        accept_first_sync=config.accept_first_sync,
                        accept_held_before=started.create_timestamp if started is not None else None,
                    )
                    report = sync.run()
                    if report.was_read:
                        _ask_for_membership(user, client)
                    requests = client.requests
            else:
                report.notes.append(note)
            if settings.ratings_to_server:
                _rate_on_server(user, report)
            with database.transaction() as connection:
                version = ratings_version(connection, user.user_id, OWN, FROM_TRAKT)
            outcome = UserOutcome(
                version,
                _shown(report),
                rows_written=report.rows_written,
                requests=requests,
                record=report.was_read
                or bool(report.notes and note is None)
                or (settings.ratings_to_server and is_due),
            )
            if report.refusal is not None:
                # Everything but the removals was written, and tastes must see it.
                record_user(context, user.partition_key, user.name, outcome)
                raise report.refusal
            return outcome

        def _ask_for_membership(user: User, client: Trakt) -> None:
            try:
                trakt.ask_for_membership(user.user_id, client)
            except ServiceError as error:
                # It only decides about a warning.
                context.log.info(f"{user.name}: Trakt did not say whether they have a membership: {error}")

        def _rate_on_server(user: User, report: RatingsReport) -> None:
            if not lacks_ratings(database, user):
                return
            try:
                if not writers:
                    writers.append(stack.enter_context(media_servers.open_writer()))
                written = rate_on_server(database, clock, writers[0], user, log=context.log)
            except ServiceError as error:
                # Ratings on Trakt do not wait for the media server; the next run writes what is missing.
                context.log.warning(f"{user.name}: ratings were not written to the media server: {error}")
                report.notes.append(f"Not written to the media server: {error}")
                return
            report.rows_written += written.written
            if written.note is not None:
                report.notes.append(written.note)

        yield from for_each_user(context, settings, database, serve, quiet=True)


def _is_due(context: dg.AssetExecutionContext, clock: Clock) -> bool:
    """Whether no partition was recorded for about a day, after which the asset would count as late."""
    last = context.instance.get_latest_materialization_event(context.asset_key)
    made_at = datetime.fromtimestamp(last.timestamp, UTC) if last is not None else None
    return elapsed(made_at, clock.now()) > RECORD_EVERY


def why_left_out(off: str | None, name: str, account: TraktAccount | None) -> str | None:
    """Say why a user's ratings are not compared with Trakt; None if they are."""
    if off is not None:
        return off
    command = f"`aperture trakt connect {shlex.quote(name)}`"
    if account is None:
        return f"Not connected to Trakt: run {command}."
    if account.state == "reconnect":
        return f"Must connect to Trakt again ({command}): {account.trouble}."
    if account.state == "parked":
        return f"Parked, and tried once a day: {account.trouble}."
    return None


def _shown(report: RatingsReport) -> dict[str, object]:
    shown: dict[str, object] = {
        "dagster/row_count": report.there,
        "ratings_here": report.here,
        "ratings_on_trakt": report.there,
        "pushed": report.pushed,
        "pulled": report.pulled,
        "removed": report.removed_here + report.removed_there,
        "held": len(report.held),
        "waiting": report.waiting,
        "conflicts": len(report.conflicts),
        "unmatched": report.unmatched,
    }
    if report.changes:
        shown["changes"] = markdown_table(report.changes[:SHOWN], ["title", "change", "rating"])
    if report.held:
        held = [
            {"title": one.title, "removed on": "Trakt" if one.removed_on == "trakt" else "this side"}
            for one in report.held[:SHOWN]
        ]
        shown["held_removals"] = markdown_table(held, ["title", "removed on"])
    if report.notes:
        shown["note"] = " ".join(report.notes)
    return shown
