"""When vectors, tastes and lists are made."""

from aperture_dagster.defs.jobs import Job
from aperture_dagster.enrichment.sources import SOURCES

JOBS = (
    Job(
        "generate_embeddings",
        "Embed titles that are new or changed.",
        ("embeddings",),
        cron="0 3 * * *",
        why="After titles have been read, and before lists are made. Automation does the same after each change.",
        first_run=True,
        needs=("enriched_metadata",),
        # A title whose text comes from one source today and from two tomorrow would be embedded twice.
        after=tuple(source.table for source in SOURCES),
    ),
    Job(
        "generate_recommendations",
        "Learn each user's taste and renew their lists, where something has changed.",
        ("taste_profiles", "recommendations"),
        cron="0 4 * * *",
        why="After titles have been embedded. Automation follows changes; votes and what others watched wait for this.",
        scope="users",
    ),
    Job(
        "evaluate_recommendations",
        "Measure on this server how much better the lists are than the most voted titles.",
        ("recommendation_quality",),
        cron="0 7 * * 0",
        why="Once a week is enough: histories grow slowly. After the night's work.",
        priority=-10,
    ),
    Job(
        "first_list",
        "Read the history of users who have just joined, learn their taste, and make their first list.",
        ("watch_history", "taste_profiles", "recommendations"),
        scope="newcomers",
        why="Nobody has to wait for the night.",
        priority=10,
    ),
)
