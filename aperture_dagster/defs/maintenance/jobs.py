"""When maintenance takes place."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job(
        "refresh_ai_pricing",
        "Read current prices of AI models, and what the configured one costs for this library.",
        ("ai_pricing",),
        cron="0 8 * * 1",
        first_run=True,
        needs=("embeddings",),
    ),
)
