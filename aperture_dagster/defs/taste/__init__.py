"""Vectors of the titles, the taste of each user, and their recommendations."""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.taste.checks import CHECKS
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.jobs import JOBS
from aperture_dagster.defs.taste.profiles import taste_profiles
from aperture_dagster.defs.taste.quality import beats_popularity, recommendation_quality
from aperture_dagster.defs.taste.recommendations import recommendations

GROUP = Group(
    assets=(embeddings, taste_profiles, recommendations, recommendation_quality),
    checks=(*CHECKS, beats_popularity),
    jobs=JOBS,
)
