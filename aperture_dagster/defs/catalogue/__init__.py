"""What the media server has: its users, its films, series and episodes, and who watched what."""

import dagster as dg

from aperture_dagster.catalogue.queries import catalogue_size, has_library_for, titles_without_ids
from aperture_dagster.defs.catalogue.assets import (
    episodes,
    match_the_settings,
    media_server,
    movies,
    no_user_changed,
    series,
    users,
)
from aperture_dagster.defs.catalogue.history import nobody_was_active, watch_history
from aperture_dagster.defs.reporting import latest_numbers, warn_unless
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.jobs import Group, Job
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.database import Database

__all__ = ["GROUP", "episodes", "media_server", "movies", "series", "users", "watch_history"]

# Items that may be unreadable before something must be wrong with the server, or with us.
TOLERATED = 0.05


def _is_not_empty(asset: dg.AssetsDefinition, name: str, what: str, media_type: MediaType) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="is_not_empty",
        description=f"The catalogue holds {what}, unless the server has no library of them. If not, nothing can be "
        "recommended: check that the API key may see all libraries, and check APERTURE_LIBRARIES.",
    )
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            size = catalogue_size(connection)[name]
            expected = has_library_for(connection, media_type)
        found = "" if size else f"The server has {'no ' + what if expected else 'no library of ' + what}."
        return warn_unless(size > 0 or not expected, found, {"rows": size})

    return check


def _is_readable(asset: dg.AssetsDefinition, what: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="is_readable",
        description=f"At most {TOLERATED:.0%} of the {what} that the server lists could not be read. Those keep what "
        "was known of them; the page of the asset names them with reasons.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        counts = latest_numbers(context, ["listed", "unreadable"])
        total, unreadable = sum(counts.values()), counts["unreadable"]
        found = f"{unreadable:,} of {total:,} {what} could not be read and were left as they were."
        return warn_unless(unreadable <= TOLERATED * total, found if unreadable else "", counts)

    return check


@dg.asset_check(
    asset=movies,
    description="At most a tenth of the titles lack an id of TMDb, IMDb or TVDb, without which nothing is found about "
    "them. Let the media server identify the examples.",
)
def have_provider_ids(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn when more than a tenth of the films have no id that another service knows."""
    with database.transaction() as connection:
        without, total, examples = titles_without_ids(connection)
    return warn_unless(
        without <= 0.1 * total,
        f"{without} of {total} titles have no TMDb, IMDb or TVDb id." if without else "",
        {"without_ids": without, "titles": total, "examples": markdown_table(examples)},
    )


# It looks at all users, so it does not belong to a run that serves one; and it runs when some users failed.
CHECKS = [
    _is_not_empty(movies, "movies", "films", "movie"),
    _is_not_empty(series, "series", "series", "series"),
    _is_not_empty(episodes, "episodes", "episodes", "series"),
    *(_is_readable(asset, what) for asset, what in ((movies, "films"), (series, "series"), (episodes, "episodes"))),
    have_provider_ids,
    match_the_settings,
]


JOBS = (
    Job(
        "sync_users",
        "Read the media server's users, if any of them changed.",
        ("users",),
        cron="*/30 * * * *",
        why="New users get a first list within minutes.",
        first_run=True,
        quiet=True,
        skip_if=no_user_changed,
    ),
    Job(
        "sync_movies",
        "Read the media server's films.",
        ("movies",),
        cron="0 2 * * *",
        why="Before titles are embedded and lists are made from them.",
        first_run=True,
    ),
    Job(
        "sync_series",
        "Read the media server's series and their episodes.",
        ("series", "episodes"),
        cron="0 2 * * *",
        why="Before titles are embedded and lists are made from them.",
        first_run=True,
    ),
    Job(
        "sync_watch_history",
        "Read what each user has watched since the last time, if anybody was active.",
        ("watch_history",),
        cron="0 */2 * * *",
        why="Lists follow what was watched, and leave it out.",
        scope="users",
        first_run=True,
        # Without titles, no item would be recognised.
        needs=("users", "movies", "series", "episodes"),
        quiet=True,
        skip_if=nobody_was_active,
    ),
    Job(
        "follow_plays",
        "Read the history of those who have just watched or said something, renew their lists, and publish them.",
        (
            "watch_history",
            "shows_you_watch",
            "taste_profiles",
            "recommendations",
            "recommendation_libraries",
            "shows_you_watch_libraries",
            "for_later_playlists",
        ),
        scope="viewers",
        why="Lists follow a play, and what members say on their pages, within minutes.",
        priority=10,
    ),
)


GROUP = Group(assets=(media_server, users, movies, series, episodes, watch_history), checks=CHECKS, jobs=JOBS)
