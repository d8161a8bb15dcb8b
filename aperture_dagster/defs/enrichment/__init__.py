"""What others know of the titles: a module a source, and the one merged view of them all."""

from aperture_dagster.defs.enrichment.checks import CHECKS
from aperture_dagster.defs.enrichment.jobs import JOBS
from aperture_dagster.defs.enrichment.logos import studio_logos
from aperture_dagster.defs.enrichment.mdblist import mdblist, mdblist_scores
from aperture_dagster.defs.enrichment.merged import enriched_metadata
from aperture_dagster.defs.enrichment.omdb import omdb, omdb_ratings
from aperture_dagster.defs.enrichment.tmdb import tmdb, tmdb_metadata
from aperture_dagster.defs.groups import Group

GROUP = Group(
    assets=(tmdb, tmdb_metadata, omdb, omdb_ratings, mdblist, mdblist_scores, enriched_metadata, studio_logos),
    checks=CHECKS,
    jobs=JOBS,
)

__all__ = [
    "GROUP",
    "enriched_metadata",
    "mdblist",
    "mdblist_scores",
    "omdb",
    "omdb_ratings",
    "studio_logos",
    "tmdb",
    "tmdb_metadata",
]
