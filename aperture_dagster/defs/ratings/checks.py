"""What must hold of ratings: none waits for long, and every connection works."""

from datetime import timedelta

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.ratings.trakt import trakt_ratings
from aperture_dagster.defs.reporting import markdown_table, warn_unless
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.sources.trakt import TraktAccounts
from aperture_dagster.storage.trakt_ratings import waiting_ratings

WAITS_FOR = timedelta(days=1)
SHOWN = 10


@daily_check(asset=trakt_ratings, description="No rating has waited for more than a day to reach Trakt.")
def reach_trakt_within_a_day(
    database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of ratings that wait, and say why."""
    with database.transaction() as connection:
        waiting = waiting_ratings(connection, queued_before=clock.now() - WAITS_FOR)
    found = f"{len(waiting):,} ratings have waited for more than a day. {waiting[0]['detail'] or ''}" if waiting else ""
    table = markdown_table(waiting[:SHOWN], ["user", "title", "rating", "attempts", "detail"])
    return warn_unless(not waiting, found.strip(), {"waiting": len(waiting), "ratings": table})


@daily_check(asset=trakt_ratings, description="Every user who connected Trakt is still connected.")
def have_working_connections(trakt: dg.ResourceParam[TraktAccounts]) -> dg.AssetCheckResult:
    """Warn of users who must connect again, or act on Trakt's site."""
    accounts = [one for one in trakt.accounts() if not one.gone]
    broken = [one for one in accounts if one.state != "connected"]
    found = "; ".join(f"{one.name}: {one.trouble}" for one in broken[:SHOWN])
    off = trakt.why_off()
    if accounts and off is not None:
        found = off
    metadata = {
        "connected": len(accounts) - len(broken),
        "accounts": markdown_table([{"user": one.name, "state": one.state, "why": one.trouble} for one in broken]),
    }
    return warn_unless(not found, found, metadata)


CHECKS = (reach_trakt_within_a_day, have_working_connections)
