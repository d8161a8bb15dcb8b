"""The pool of titles outside the library that were suggested to somebody."""

import dagster as dg

from aperture_dagster.catalogue.people import users_of_partitions
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.enrichment.sources import SOURCE_ASSETS
from aperture_dagster.defs.jobs import Job
from aperture_dagster.defs.reporting import log_waiting, materialized, skipped
from aperture_dagster.defs.taste.profiles import taste_profiles
from aperture_dagster.discovery.fill import Filling, pool_version
from aperture_dagster.discovery.pool import forget_old, pool_text_rows
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedders import Embedders
from aperture_dagster.taste.embedding import embed_changed, model_key_of
from aperture_dagster.taste.vectors import register_model
from aperture_dagster.worklist.services import Services

TMDB_METADATA = tuple(one for one in SOURCE_ASSETS if one.key.path[-1] == TMDB.table)
GENERATE_SUGGESTIONS = Job(
    "generate_discovery_suggestions",
    "Look for titles outside the library, and suggest to each user what they may like.",
    ("discovery_pool", "discovery_candidates"),
    cron="0 6 * * *",
    why="After tastes have been renewed.",
    scope="users",
    first_run=True,
    needs=("taste_profiles", "tmdb_metadata"),
)


@dg.asset(
    group_name="discovery",
    deps=[users, movies, series, watch_history, *TMDB_METADATA, taste_profiles, TMDB.name],
    kinds={"tmdb", "numpy", "postgres"},
    pool=TMDB.name,
    metadata={"dagster/table_name": "discovery_pool"},
)
def discovery_pool(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    services: dg.ResourceParam[Services],
    embedders: dg.ResourceParam[Embedders],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Titles that are not in the library and were suggested to somebody, one row per title, with details from TMDb.

    TMDb's recommendations from what each user liked, and its titles by their genres, keywords and people. Lists are
    read once and details once per title, for everybody together. Skipped without a TMDb key.
    """
    with operator_errors(context, settings), database.transaction() as connection:
        # Also without TMDb: nothing is kept longer than allowed.
        pruned = forget_old(connection, now=clock.now())
        version = pool_version(connection)
        keys = user_partitions(context.instance)
        people = list(users_of_partitions(connection, keys).values())
    service = services.get(TMDB)
    if not service.configured:
        return skipped(context, TMDB, version, without="nothing outside the library is suggested")
    with operator_errors(context, settings):
        filling = Filling(settings, database, clock, context.log)
        plans, from_trakt = filling.plan(people)
        with service.open(waiting=log_waiting(context, TMDB)) as client:
            figures = filling.fill(service, client, people, plans)
            requests = client.requests
        figures["lists_failed"] += from_trakt.pop("lists_failed")
        embedder = embedders.get()
        model_key = model_key_of(embedder)
        with database.transaction() as connection:
            register_model(connection, model_key, embedder.dimensions)
        embedded, refused, _ = embed_changed(
            context.log, database, embedder, model_key, pool_text_rows, "discovery_vectors"
        )
        with database.transaction() as connection:
            version = pool_version(connection)
        figures |= from_trakt | {"pruned": pruned, "requests": requests}
        return materialized(context, figures | {"embedded": embedded, "refused": len(refused)}, version=version)
