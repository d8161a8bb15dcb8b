"""When the installation is kept in order."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "run_housekeeping",
        "Delete old runs, events, logs and whatever else nothing uses any more.",
        ("housekeeping",),
        cron="30 1 * * *",
    ),
)
