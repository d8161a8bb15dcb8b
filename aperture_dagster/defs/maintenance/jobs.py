"""When maintenance takes place."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "database_backup",
        "Back up the product's database, prove that the backup restores, and delete the oldest ones.",
        ("database_backup",),
        # Before the night's jobs change anything.
        cron="0 1 * * *",
        in_demo=False,
    ),
)
