"""When the household's lists are made."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "refresh_top_picks",
        "Rank what the household watched most, as of a day.",
        ("top_picks",),
        cron="0 5 * * *",
        scope="day",
    ),
)
