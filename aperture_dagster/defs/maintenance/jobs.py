"""When maintenance takes place."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "refresh_ai_pricing",
        "Read current prices of AI models, and what the configured one costs for this library.",
        ("ai_pricing",),
        cron="0 8 * * 1",
        why="Prices change rarely.",
        first_run=True,
        needs=("embeddings",),
        # First lists come first.
        after=("watch_history",),
    ),
    Job(
        "database_backup",
        "Back up the product's database, prove that the backup restores, and delete the oldest ones.",
        ("database_backup",),
        cron="0 1 * * *",
        why="Before the night's jobs change anything.",
    ),
    Job(
        "housekeeping",
        "Delete old runs, events, logs and whatever else nothing uses any more.",
        ("housekeeping",),
        cron="30 1 * * *",
        why="Dagster itself keeps every event forever.",
    ),
)
