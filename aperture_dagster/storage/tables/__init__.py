"""All tables of the product's database. Changes require a migration; a test compares the two.

Metadata, histories and lists refer to *works*: films and series themselves, independent of the copies on the server
and their ids. ``titles`` and ``episodes`` are the server's items, and share one sequence of ids.
"""

from __future__ import annotations

from aperture_dagster.storage.tables.base import ColumnSchema, column_schema, item_ids, metadata, written_columns
from aperture_dagster.storage.tables.catalogue import episodes, item_versions, libraries, titles, works
from aperture_dagster.storage.tables.enrichment import (
    enriched_metadata,
    fetches,
    mdblist_scores,
    merges,
    omdb_ratings,
    studio_logos,
    tmdb_collections,
    tmdb_metadata,
)
from aperture_dagster.storage.tables.home import facts, quota, services
from aperture_dagster.storage.tables.people import history_syncs, plays, rating_changes, ratings, users, watch_state
from aperture_dagster.storage.tables.publishing import (
    item_files,
    published_access,
    published_entries,
    published_libraries,
    published_lists,
)
from aperture_dagster.storage.tables.taste import (
    embedding_models,
    embeddings,
    recommendations,
    taste_profiles,
    taste_weights,
    top_picks,
)
from aperture_dagster.storage.tables.views import VIEWS
from aperture_dagster.storage.tables.watching import shows_you_watch

# The newest migration; a database at this revision needs no migration.
HEAD_REVISION = "v1"

__all__ = [
    "HEAD_REVISION",
    "VIEWS",
    "ColumnSchema",
    "column_schema",
    "embedding_models",
    "embeddings",
    "enriched_metadata",
    "episodes",
    "facts",
    "fetches",
    "history_syncs",
    "item_files",
    "item_ids",
    "item_versions",
    "libraries",
    "mdblist_scores",
    "merges",
    "metadata",
    "omdb_ratings",
    "plays",
    "published_access",
    "published_entries",
    "published_libraries",
    "published_lists",
    "quota",
    "rating_changes",
    "ratings",
    "recommendations",
    "services",
    "shows_you_watch",
    "studio_logos",
    "taste_profiles",
    "taste_weights",
    "titles",
    "tmdb_collections",
    "tmdb_metadata",
    "top_picks",
    "users",
    "watch_state",
    "works",
    "written_columns",
]
