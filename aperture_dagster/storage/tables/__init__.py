"""All tables of the product's database. Changes require a migration; a test compares the two.

Metadata, histories and lists refer to *works*: films and series themselves, independent of the copies on the server
and their ids. ``titles`` and ``episodes`` are the server's items, and share one sequence of ids.
"""

from pathlib import Path

from aperture_dagster.storage.tables.alerts import alert_outbox, alert_problems
from aperture_dagster.storage.tables.base import ColumnSchema, column_schema, item_ids, metadata, written_columns
from aperture_dagster.storage.tables.catalogue import episodes, item_versions, libraries, titles, works
from aperture_dagster.storage.tables.discovery import (
    discovery_candidates,
    discovery_lists,
    discovery_pool,
    discovery_suggestions,
    discovery_vectors,
    dismissals,
    household_candidates,
    seerr_requests,
)
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
    rating_changes,
    ratings,
    server_rating_writes,
    users,
    watch_state,
)
from aperture_dagster.storage.tables.prices import ai_offered_models, ai_price_disputes, ai_price_lists, ai_prices
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
from aperture_dagster.storage.tables.trakt import rating_outbox, rating_removals, trakt_accounts, trakt_ratings
from aperture_dagster.storage.tables.views import VIEWS
from aperture_dagster.storage.tables.watching import shows_you_watch

_MIGRATIONS = Path(__file__).parents[1] / "migrations" / "versions"
# The newest migration; a database at this revision needs no migration.
HEAD_REVISION = f"v{max(int(path.name[1:].partition('_')[0]) for path in _MIGRATIONS.glob('v*_*.py'))}"
