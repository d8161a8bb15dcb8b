"""When vectors, tastes and lists are made."""

from aperture_dagster.defs.jobs import Job

JOBS = (
    Job("generate_embeddings", "Embed titles that are new or changed.", ("embeddings",), cron="0 3 * * *"),
    Job(
        "generate_recommendations",
        "Learn each user's taste and renew their lists.",
        ("taste_profiles", "recommendations"),
        cron="0 4 * * *",
        scope="users",
    ),
    Job(
        "first_list",
        "Read the history of users who have just joined, learn their taste, and make their first list.",
        ("watch_history", "taste_profiles", "recommendations"),
        scope="newcomers",
        priority=10,
    ),
)
