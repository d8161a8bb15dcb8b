"""The ratings of each user, in step with Trakt."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue import users, watch_history
from aperture_dagster.defs.users import UserOutcome, for_each_user, record_user, user_asset
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import TRAKT
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.moments import elapsed
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.keeper import RatingsKeeper
from aperture_dagster.ratings.sync import Decisions, RatingsReport
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
    with operator_errors(context, settings):
        # What a retry of this step finds held back was not shown when the run was started.
        started = context.instance.get_run_record_by_id(context.run.run_id) if config.accept_removals else None
        decisions = Decisions(config.accept_first_sync, started.create_timestamp if started is not None else None)
        keeper = RatingsKeeper(settings, database, clock, trakt, media_servers, context.log, decisions)
        is_due = settings.ratings_to_server and _is_due(context, clock)

        def serve(user: User) -> UserOutcome:
            report = keeper.serve(user)
            has_news = report.was_read or bool(report.notes and not report.is_left_out)
            outcome = UserOutcome(
                report.version,
                _shown(report),
                rows_written=report.rows_written,
                requests=report.requests,
                record=has_news or is_due,
            )
            if report.refusal is not None:
                # Everything but the removals was written, and tastes must see it.
                record_user(context, user.partition_key, user.name, outcome)
                raise report.refusal
            return outcome

        yield from for_each_user(context, settings, database, serve, quiet=True)


def _is_due(context: dg.AssetExecutionContext, clock: Clock) -> bool:
    """Whether no partition was recorded for about a day, after which the asset would count as late."""
    last = context.instance.get_latest_materialization_event(context.asset_key)
    made_at = datetime.fromtimestamp(last.timestamp, UTC) if last is not None else None
    return elapsed(made_at, clock.now()) > RECORD_EVERY


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
