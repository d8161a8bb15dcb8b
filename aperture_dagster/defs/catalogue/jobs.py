"""When the media server is read."""

from aperture_dagster.defs.catalogue.assets import no_user_changed
from aperture_dagster.defs.catalogue.history import nobody_was_active
from aperture_dagster.defs.jobs import Job

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
        ),
        scope="viewers",
        why="Lists follow a play, and what members say on their pages, within minutes.",
        priority=10,
    ),
)
