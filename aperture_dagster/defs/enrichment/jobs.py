"""When the sources are asked."""

from __future__ import annotations

from aperture_dagster.defs.jobs import Job
from aperture_dagster.sources import SOURCES

# Hours for a large library, and nobody waits for it: see the limits in dagster.yaml.
PRIORITY = -10
LIBRARY = ("movies", "series", "episodes")


def _source_jobs() -> list[Job]:
    """One job for all sources that are asked at the same times; it also merges what all sources say."""
    jobs = []
    for name in dict.fromkeys(source.job for source in SOURCES):
        sources = [source for source in SOURCES if source.job == name]
        labels = " and ".join(source.label for source in sources)
        job = Job(
            name,
            f"Ask {labels} about titles that are due, and merge all sources.",
            (*(source.table for source in sources), "enriched_metadata"),
            cron=sources[0].cron,
            first_run=True,
            needs=LIBRARY,
            priority=PRIORITY,
        )
        jobs.append(job)
    return jobs


JOBS = (
    *_source_jobs(),
    Job(
        "enrich_studio_logos",
        "Download logos for studios that have none yet; set them on the media server if that is turned on.",
        ("studio_logos", "studio_pictures"),
        priority=PRIORITY,
    ),
)
