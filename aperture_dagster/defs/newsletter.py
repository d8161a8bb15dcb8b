"""The letters, and when they are sent."""

from collections.abc import Iterator

import dagster as dg

from aperture_dagster.catalogue.people import User
from aperture_dagster.defs.catalogue import users
from aperture_dagster.defs.discovery import discovery_candidates
from aperture_dagster.defs.taste import recommendations
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.jobs import Group, Job
from aperture_dagster.model import Clock
from aperture_dagster.newsletter import Newsletters, why_no_newsletter
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

__all__ = ["GROUP", "newsletters"]


@user_asset(
    group_name="newsletter",
    deps=[users, recommendations, discovery_candidates],
    kinds={"postgres"},
    metadata={"dagster/table_name": "newsletters"},
)
def newsletters(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """The weekly letters by e-mail, one row per user and week, for members who turned them on under *My taste*.

    A letter has films, series, what is new, and one suggestion. It is sent once a week at most, however often this
    runs. Titles and addresses are shown nowhere here.
    """
    off, letters = why_no_newsletter(settings), Newsletters(settings, database, clock)
    today = today_of(clock.now(), settings)

    def serve(user: User) -> UserOutcome:
        done = f"skipped: {off}" if off is not None else letters.send(user, today)
        return UserOutcome(f"{today:%G-W%V} {done}", {"letter": done}, rows_written=int(done == "sent"))

    yield from for_each_user(context, settings, database, serve)


JOBS = (
    Job(
        "send_newsletters",
        "Send a letter to each member who wants one.",
        ("newsletters",),
        cron="0 16 * * 5",
        why="Before the weekend. A run that you start within the week sends the letters that did not leave.",
        scope="users",
        off_if=why_no_newsletter,
    ),
)


GROUP = Group(assets=(newsletters,), jobs=JOBS)
