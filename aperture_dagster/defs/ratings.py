"""The ratings of each user, in step with Trakt: the asset, its checks, and its job."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue import episodes, media_server, movies, series, users, watch_history
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.reporting import warn_unless
from aperture_dagster.defs.users import UserOutcome, for_each_user, record_user, rows_of_users, user_asset
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import TRAKT
from aperture_dagster.jobs import Group, Job
from aperture_dagster.model import Clock, elapsed
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.outbox import waiting_ratings
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts, why_no_sync, why_nobody
from aperture_dagster.trakt.keeper import RatingsKeeper
from aperture_dagster.trakt.pushing import NOT_FOUND
from aperture_dagster.trakt.sync import RatingsReport

__all__ = ["GROUP", "trakt_ratings"]


SHOWN_CHANGES = 20
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


@user_asset(
    group_name="ratings",
    deps=[trakt, media_server, users, movies, series, episodes, watch_history],
    kinds={"trakt", "postgres"},
    pool=TRAKT,
    metadata={"dagster/table_name": "trakt_ratings"},
)
def trakt_ratings(
    context: dg.AssetExecutionContext,
    config: TraktRatingsConfig,
    *,
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
        keeper = RatingsKeeper(settings, database, clock, trakt, media_servers, context.log, config.accept_first_sync)
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
                record_user(context, user, outcome, rows_of_users(context, database))
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
        shown["changes"] = markdown_table(report.changes[:SHOWN_CHANGES], ["title", "change", "rating"])
    if report.held:
        held = [
            {"title": one.title, "removed on": "Trakt" if one.removed_on == "trakt" else "this side"}
            for one in report.held[:SHOWN_CHANGES]
        ]
        shown["held_removals"] = markdown_table(held, ["title", "removed on"])
    if report.notes:
        shown["note"] = " ".join(report.notes)
    return shown


WAITS_FOR = timedelta(days=1)
SHOWN_WAITING = 10


@daily_check(
    asset=trakt_ratings,
    description="No rating has waited for more than a day to reach Trakt. If one has, the result says why; ratings are "
    "kept and sent with the next run.",
)
def reach_trakt_within_a_day(
    database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of ratings that wait, and say why. Titles that Trakt does not know are only counted."""
    with database.transaction() as connection:
        old = waiting_ratings(connection, queued_before=clock.now() - WAITS_FOR)
    waiting = [one for one in old if one["detail"] != NOT_FOUND]
    found = f"{len(waiting):,} ratings have waited for more than a day. {waiting[0]['detail'] or ''}" if waiting else ""
    table = markdown_table(waiting[:SHOWN_WAITING], ["user", "title", "rating", "attempts", "detail"])
    metadata = {"waiting": len(waiting), "unknown_to_trakt": len(old) - len(waiting), "ratings": table}
    return warn_unless(not waiting, found.strip(), metadata)


@daily_check(
    asset=trakt_ratings,
    description="Every user who connected Trakt is still connected. If not, their ratings wait: run `aperture trakt "
    "connect USER`.",
)
def have_working_connections(trakt: dg.ResourceParam[TraktAccounts]) -> dg.AssetCheckResult:
    """Warn of users who must connect again, or act on Trakt's site."""
    accounts = [account for account in trakt.accounts() if not account.gone]
    broken = [account for account in accounts if not account.works]
    found = "; ".join(f"{account.name}: {account.state.reason}" for account in broken[:SHOWN_WAITING])
    if broken:
        (first, *others) = broken
        is_clear = first.state.name == "reconnect" and not others
        found += f". Run `aperture trakt {f'connect {shlex.quote(first.name)}' if is_clear else 'status'}`."
    off = trakt.why_off()
    if accounts and off is not None:
        found = off
    metadata = {
        "connected": len(accounts) - len(broken),
        "accounts": markdown_table(
            [{"user": account.name, "state": account.state.name, "why": account.state.reason} for account in broken]
        ),
    }
    return warn_unless(not found, found, metadata)


CHECKS = (reach_trakt_within_a_day, have_working_connections)


SYNC_JOB = "sync_trakt_ratings"


JOBS = (
    Job(
        SYNC_JOB,
        "Keep the ratings of connected users in step with Trakt, both ways.",
        ("trakt_ratings",),
        cron="0 */2 * * *",
        why="A rating given in one place reaches the other; one that waits for Trakt is sent at once.",
        scope="users",
        quiet=True,
        off_if=why_no_sync,
        idle_if=why_nobody,
    ),
)


GROUP = Group(assets=(trakt, trakt_ratings), checks=CHECKS, jobs=JOBS)
