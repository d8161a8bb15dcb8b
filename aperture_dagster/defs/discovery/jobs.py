"""When titles outside the library are looked for."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "generate_discovery_suggestions",
        "Look for titles outside the library, and suggest to each user what they may like.",
        ("discovery_pool", "discovery_candidates", "household_candidates"),
        cron="0 6 * * *",
        why="After tastes have been renewed.",
        scope="users",
        first_run=True,
        needs=("taste_profiles", "tmdb_metadata"),
    ),
)
