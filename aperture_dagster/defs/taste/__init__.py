"""Vectors of the titles, the taste of each user, and their recommendations."""

from aperture_dagster.defs.taste.lists import embedder, embeddings, recommendations, taste_profiles
from aperture_dagster.defs.taste.quality import CHECKS, beats_popularity, recommendation_quality
from aperture_dagster.jobs import Group, Job

JOBS = (
    Job(
        "generate_embeddings",
        "Merge what is known of titles, and embed those that are new or changed.",
        ("enriched_metadata", "embeddings"),
        cron="0 3 * * *",
        why="After titles have been read, and before lists are made. Automation does the same after each change.",
        first_run=True,
        # What the media server says of titles is enough for first lists; the sources refine it afterwards.
        needs=("movies", "series"),
        one_at_a_time="enriched_metadata",
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
        "Read the history of users who have just joined, learn their taste, and make their first lists.",
        ("watch_history", "shows_you_watch", "taste_profiles", "recommendations"),
        scope="newcomers",
        why="Nobody has to wait for the night.",
        priority=10,
    ),
)


GROUP = Group(
    assets=(embedder, embeddings, taste_profiles, recommendations, recommendation_quality),
    checks=(*CHECKS, beats_popularity),
    jobs=JOBS,
)
