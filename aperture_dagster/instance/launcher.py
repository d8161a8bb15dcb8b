"""How runs are started: by the code server, and later if that is just stopping."""

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext

STOPPING = "after telling it to shut down"
"""Part of the code server's answer while it waits for the end of its runs and accepts no new ones."""


class PatientRunLauncher(dg.DefaultRunLauncher):
    """Dagster's own launcher, for which a code server that is stopping is one that cannot be reached.

    Dagster fails a run that a stopping code server refuses. A run whose code server cannot be reached stays in the
    queue (``run_queue`` in ``dagster.yaml``), and the next code server gets it.
    """

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
