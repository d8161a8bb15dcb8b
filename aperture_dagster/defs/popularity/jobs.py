"""When the lists of what is watched are made."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "refresh_top_picks",
        "Rank what is popular in the household, or on a list from outside, and publish that if it is turned on.",
        ("top_picks", "top_picks_libraries"),
        cron="0 5 * * *",
        why="Each day has its own list, from the plays of the days before.",
        scope="day",
        first_run=True,
        needs=("watch_history",),
        # The first user's history is there before the others'.
        after=("watch_history",),
    ),
    Job(
        "sync_watching_libraries",
        "Find where each user is in the series that they watch, and publish that if it is turned on.",
        ("shows_you_watch", "shows_you_watch_libraries"),
        cron="30 5 * * *",
        why="After episodes and plays have been read, when hardly anybody watches.",
        scope="users",
    ),
    Job(
        "refresh_household_overview",
        "Show the whole household on one page: everybody's first titles, plays per week, and tastes.",
        ("household_overview",),
        cron="30 5 * * *",
        why="After the night's lists. Automation renews it within an hour of a change.",
    ),
)
