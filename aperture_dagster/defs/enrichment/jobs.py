"""When the sources are asked."""

from aperture_dagster.defs.jobs import Job

# Hours for a large library, and nobody waits for it: see the limits in dagster.yaml.
PRIORITY = -10
LIBRARY = ("movies", "series", "episodes")
JOBS = (
    Job(
        "enrich_metadata",
        "Ask TMDb and OMDb about titles that are due, and merge all sources.",
        ("tmdb_metadata", "omdb_ratings", "enriched_metadata"),
        cron="0 */6 * * *",
        first_run=True,
        needs=LIBRARY,
        priority=PRIORITY,
    ),
    Job(
        "enrich_studio_logos",
        "Download logos for studios that have none yet; set them on the media server if that is turned on.",
        ("studio_logos", "studio_pictures"),
        priority=PRIORITY,
    ),
    Job(
        "enrich_mdblist",
        "Ask MDBList about titles that are due, and merge all sources.",
        ("mdblist_scores", "enriched_metadata"),
        cron="0 7 * * *",
        first_run=True,
        needs=LIBRARY,
        priority=PRIORITY,
    ),
)
