"""When the sources are asked."""

import functools
from collections import defaultdict

from aperture_dagster.defs.jobs import Job
from aperture_dagster.enrichment.sources import SOURCES, TitleSource, nothing_is_due
from aperture_dagster.enrichment.tmdb.source import TMDB_IMAGES

# Hours for a large library, and nobody waits for it: see the limits in dagster.yaml.
PRIORITY = -10
LIBRARY = ("movies", "series", "episodes")


def _source_jobs() -> list[Job]:
    """Declare one job for all sources that are asked at the same times; it also merges what all sources say."""
    by_job: defaultdict[str, list[TitleSource]] = defaultdict(list)
    for source in SOURCES:
        by_job[source.job].append(source)
    return [
        Job(
            name,
            f"Ask {' and '.join(source.label for source in sources)} about titles that are due, and merge all sources.",
            (*(source.table for source in sources), "enriched_metadata"),
            cron=sources[0].cron,
            why="Facts age, and services limit the requests of a day: each run asks only about what is due.",
            first_run=True,
            needs=LIBRARY,
            # First lists are made without the sources, and their hours of work take neither time nor turns from them.
            after=("embeddings", "watch_history"),
            priority=PRIORITY,
            quiet=True,
            one_at_a_time="enriched_metadata",
            skip_if=functools.partial(nothing_is_due, sources, "title"),
        )
        for name, sources in by_job.items()
    ]


JOBS = (
    *_source_jobs(),
    Job(
        "enrich_studio_logos",
        "Download logos for studios that have none yet; set them on the media server if that is turned on.",
        ("studio_logos", "studio_pictures"),
        cron="0 */2 * * *",
        why="Automation makes both when a studio is new; this downloads what failed, an hour later at the earliest.",
        priority=PRIORITY,
        quiet=True,
        skip_if=functools.partial(nothing_is_due, [TMDB_IMAGES], "logo"),
    ),
)
