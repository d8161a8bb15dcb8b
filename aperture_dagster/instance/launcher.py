"""How runs are started and watched: by the code server, later if that is just stopping, and by the lock of each run."""

import weakref

import dagster as dg

from aperture_dagster.instance.dead_runs import end_if_dead
from aperture_dagster.instance.private import (
    CheckRunHealthResult,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
)

STOPPING = "after telling it to shut down"
"""Part of the code server's answer while it waits for the end of its runs and accepts no new ones."""


class PatientRunLauncher(dg.DefaultRunLauncher):
    """Dagster's own launcher, which knows dead runs, and waits for a code server that is stopping.

    Dagster fails a run that a stopping code server refuses. A run whose code server cannot be reached stays in the
    queue (``run_queue`` in ``dagster.yaml``), and the next code server gets it.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True: Dagster's monitoring asks about each run in progress."""
        return True

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Note for which instance runs are launched."""
        super().register_instance(instance)
        # Not a reference that would keep it alive, since it holds this launcher.
        self._launches_for = weakref.ref(instance)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process of a run lives, by the run's lock; a dead run has been ended."""
        instance = self._launches_for()
        is_dead = instance is not None and end_if_dead(instance, run)
        return CheckRunHealthResult(WorkerStatus.FAILED if is_dead else WorkerStatus.RUNNING)

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
