"""What must hold of ratings: none waits for long, and every connection works."""

import shlex
from datetime import timedelta

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.ratings.trakt import trakt_ratings
from aperture_dagster.defs.reporting import warn_unless
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.outbox import waiting_ratings
from aperture_dagster.ratings.pushing import NOT_FOUND

WAITS_FOR = timedelta(days=1)
SHOWN = 10


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
    table = markdown_table(waiting[:SHOWN], ["user", "title", "rating", "attempts", "detail"])
    metadata = {"waiting": len(waiting), "unknown_to_trakt": len(old) - len(waiting), "ratings": table}
    return warn_unless(not waiting, found.strip(), metadata)


@daily_check(
    asset=trakt_ratings,
    description="Every user who connected Trakt is still connected. If not, their ratings wait: run `aperture trakt "
    "connect USER`.",
)
def have_working_connections(trakt: dg.ResourceParam[TraktAccounts]) -> dg.AssetCheckResult:
    """Warn of users who must connect again, or act on Trakt's site."""
    accounts = [one for one in trakt.accounts() if not one.gone]
    broken = [one for one in accounts if one.state != "connected"]
    found = "; ".join(f"{one.name}: {one.trouble}" for one in broken[:SHOWN])
    if broken:
        (first, *others) = broken
        is_clear = first.state == "reconnect" and not others
        found += f". Run `aperture trakt {f'connect {shlex.quote(first.name)}' if is_clear else 'status'}`."
    off = trakt.why_off()
    if accounts and off is not None:
        found = off
    metadata = {
        "connected": len(accounts) - len(broken),
        "accounts": markdown_table([{"user": one.name, "state": one.state, "why": one.trouble} for one in broken]),
    }
    return warn_unless(not found, found, metadata)


CHECKS = (reach_trakt_within_a_day, have_working_connections)
