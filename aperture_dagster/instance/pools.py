"""Pools: how many steps may use one service at the same time, over all runs.

They only put steps in order: what keeps two processes from using one metadata service is its lease in the database.
"""

from typing import TYPE_CHECKING

from aperture_dagster.discovery.seerr import SEERR
from aperture_dagster.enrichment.sources import SERVICES
from aperture_dagster.postgres.migrate import schema_lock

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage

MEDIA_SERVER = "media_server"
EMBEDDER = "embedder"
TRAKT = "trakt"
PRICES = "ai_price_list"
# Two steps may read the media server: the nightly films and series side by side, or a newcomer's history meanwhile.
POOLS = {MEDIA_SERVER: 2, EMBEDDER: 1, TRAKT: 1, PRICES: 1} | {service.name: 1 for service in (*SERVICES, SEERR)}


def create_missing_pools(events: "PostgresEventLogStorage") -> None:
    """Create the pools that the instance does not have yet; limits set by hand are kept.

    Dagster creates a pool when a run first needs it, and of two runs that do so at once one fails.
    """
    if not _missing(events):
        return
    with events.index_connection() as connection, schema_lock(connection):
        for name in _missing(events):
            events.set_concurrency_slots(name, POOLS[name])


def _missing(events: "PostgresEventLogStorage") -> set[str]:
    return POOLS.keys() - {pool.name for pool in events.get_pool_limits() if not pool.from_default}
