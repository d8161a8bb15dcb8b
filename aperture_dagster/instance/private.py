"""All that this program uses of Dagster's private modules: each import says which public API is missing.

Dagster may move or change these in any release, so ``dagster`` is pinned to a minor version, and
``instance/test_private.py`` says which of them a new one lacks. Nothing else imports a module of Dagster, or of its
libraries, that their documentation does not name.
"""

from typing import Any

import dagster._core.storage.local_compute_log_manager as compute_logs
import dagster._loggers as loggers

# A launcher has to raise these and to accept and return those; only the launchers themselves are exported.
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# The state of a sensor or schedule, and its part that holds dates: `all_instigator_state()` returns it, untyped.
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData

# dagster.yaml must name subclasses of these for files and logs. The docs name their modules, but nothing exports them.
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage

# The parameter of a method of the run storage.
from dagster._daemon.types import DaemonHeartbeat

# The clock by which Dagster dates what it writes, and which tests set.
from dagster._time import get_current_timestamp

__all__ = [
    "CheckRunHealthResult",
    "DaemonHeartbeat",
    "DagsterLaunchFailedError",
    "DagsterUserCodeUnreachableError",
    "InstigatorState",
    "LaunchRunContext",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "ScheduleInstigatorData",
    "WorkerStatus",
    "get_current_timestamp",
]


def replace_console_logger(logger: Any) -> None:
    """Make runs without a logger of their own use this one instead of Dagster's for the console.

    A logger of the definitions is used only by runs whose configuration names it.
    """
    loggers.colored_console_logger = logger


def replace_mirror(mirror: Any) -> None:
    """Make runs capture what their steps print by this context manager, which gets a stream and the path of a file.

    The class in ``dagster.yaml`` decides only where the files are.
    """
    module: Any = compute_logs
    module.mirror_stream_to_file = mirror


def console_logger_config() -> Any:
    """Return the schema of the configuration of the console logger, which its replacement must have as well."""
    return loggers.colored_console_logger.config_schema


def webserver() -> tuple[Any, Any]:
    """Return the module of the webserver's command and the function that creates its application.

    There is no public way to put anything before that application. Loaded here only, since it takes long.
    """
    import dagster_webserver.cli as command
    from dagster_webserver.app import create_app_from_workspace_process_context

    return command, create_app_from_workspace_process_context
