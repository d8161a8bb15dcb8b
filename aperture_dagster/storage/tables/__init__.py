"""All tables of the product's database. Changes require a migration; a test compares the two.

Metadata, histories and lists refer to *works*: films and series themselves, independent of the copies on the server
and their ids. ``titles`` and ``episodes`` are the server's items, and share one sequence of ids.
"""

import aperture_dagster.discovery.tables as discovery
import aperture_dagster.ratings.tables
from aperture_dagster.storage.tables.alerts import alert_problems, alerts_told
from aperture_dagster.storage.tables.base import ColumnSchema, column_schema, item_ids, metadata, written_columns
from aperture_dagster.storage.tables.catalogue import episodes, item_versions, libraries, titles, works
from aperture_dagster.storage.tables.enrichment import (
    enriched_metadata,
    fetches,
    mdblist_scores,
    merges,
    omdb_ratings,
    studio_logos,
    tmdb_metadata,
)
from aperture_dagster.storage.tables.home import facts, quota, services
from aperture_dagster.storage.tables.people import (
    history_syncs,
    plays,
    users,
    watch_state,
)
from aperture_dagster.storage.tables.prices import ai_offered_models, ai_prices
from aperture_dagster.storage.tables.publishing import (
    item_files,
    published_access,
    published_entries,
    published_leftovers,
    published_libraries,
    published_lists,
)
from aperture_dagster.storage.tables.taste import (
    computations,
    embedding_models,
    embeddings,
    recommendations,
    taste_profiles,
    taste_weights,
    top_picks,
)
from aperture_dagster.storage.tables.views import VIEWS
from aperture_dagster.storage.tables.watching import shows_you_watch
