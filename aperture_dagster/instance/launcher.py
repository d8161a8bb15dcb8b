"""How runs are started and watched: by the code server, later if that is just stopping, and by the lock of each run."""

from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.enrichment.sources import SERVICES
from aperture_dagster.instance.dead_runs import end_if_dead
from aperture_dagster.instance.private import (
    CheckRunHealthResult,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
)
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.settings import load_settings

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage


STOPPING = "after telling it to shut down"
"""Part of the code server's answer while it waits for the end of its runs and accepts no new ones."""


def check_lock(instance: dg.DagsterInstance, run: dg.DagsterRun) -> CheckRunHealthResult:
    """Answer Dagster's monitoring whether the process of a run lives, by the run's lock; a dead run has been ended."""
    is_dead = end_if_dead(instance, run, load_settings())
    return CheckRunHealthResult(WorkerStatus.FAILED if is_dead else WorkerStatus.RUNNING)


class PatientRunLauncher(dg.DefaultRunLauncher):
    """Dagster's own launcher, which knows dead runs, and waits for a code server that is stopping.

    Dagster fails a run that a stopping code server refuses. A run whose code server cannot be reached stays in the
    queue (``run_queue`` in ``dagster.yaml``), and the next code server gets it.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True: Dagster's monitoring asks about each run in progress."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process of a run lives."""
        return check_lock(self._instance, run)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run.

        Raises:
            DagsterUserCodeUnreachableError: the code server is stopping or not there.
            DagsterLaunchFailedError: it refused the run for another reason.
        """
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if STOPPING not in str(error):
                raise
            raise DagsterUserCodeUnreachableError("The code server is stopping; the next one starts the run.") from None


# Pools: how many steps may use one service at the same time, over all runs.
#
# They only put steps in order: what keeps two processes from using one metadata service is its lease in the database.


MEDIA_SERVER = "media_server"
EMBEDDER = "embedder"
TRAKT = "trakt"
PRICES = "ai_price_list"
# Two steps may read the media server: the nightly films and series side by side, or a newcomer's history meanwhile.
POOLS = {MEDIA_SERVER: 2, EMBEDDER: 1, TRAKT: 1, PRICES: 1} | {service.name: 1 for service in SERVICES}


def create_missing_pools(events: "PostgresEventLogStorage") -> None:
    """Create the pools that the instance does not have yet; limits set by hand are kept.

    Dagster creates a pool when a run first needs it, and of two runs that do so at once one fails.
    """
    if not _missing(events):
        return
    with events._engine.connect() as connection, schema_lock(connection):
        for name in _missing(events):
            events.set_concurrency_slots(name, POOLS[name])


def _missing(events: "PostgresEventLogStorage") -> set[str]:
    return POOLS.keys() - {pool.name for pool in events.get_pool_limits() if not pool.from_default}
