"""What this program uses of Dagster beyond its public API: private modules, members with an underscore, hidden tags.

Each part says which public API is missing and what it would cost to do without. Dagster may move or change these in any
release, so ``dagster`` is pinned to a minor version. ``instance/test_private.py`` says which of them a new release
lacks, and holds that no other module uses anything private.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dagster as dg
import dagster._loggers as loggers

# The metadata by which Dagster records no events for an output.
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

# A launcher has to raise these and to accept and return those; only the launchers themselves are exported.
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# What capture_logs() has to yield.
from dagster._core.storage.compute_log_manager import CapturedLogContext

# dagster.yaml must name subclasses of these for files and logs. The docs name their modules, but nothing exports them.
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage

# The tag by which the UI finds the runs of a job.
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG as REPOSITORY_TAG

# Rows of Dagster's tables are read with its own serializer, not as JSON; nothing exports it.
from dagster._serdes import deserialize_value, serialize_value

# The clock by which Dagster dates what it writes, and which tests set.
from dagster._time import get_current_timestamp

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext

    # The state of a sensor or schedule: `all_instigator_state()` returns it, untyped.
    from dagster._core.scheduler.instigation import InstigatorState

    # The parameter of a method of the run storage.
    from dagster._daemon.types import DaemonHeartbeat
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
    from sqlalchemy import Connection, Engine
    from starlette.types import ASGIApp

    StoragePart = PostgresRunStorage | PostgresEventLogStorage | PostgresScheduleStorage

__all__ = [
    "REPOSITORY_TAG",
    "CapturedLogContext",
    "CheckRunHealthResult",
    "DaemonHeartbeat",
    "DagsterLaunchFailedError",
    "DagsterUserCodeUnreachableError",
    "InstigatorState",
    "LaunchRunContext",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "WorkerStatus",
    "get_current_timestamp",
]


def use_engine(parts: Iterable[StoragePart], engine: Engine) -> None:
    """Let parts of Dagster's storage use an engine.

    Missing: a storage can be given an address, but no engine. Without: each part opens a connection, and PostgreSQL a
    process, for every statement, which is most of what an idle daemon costs; sessions could not be prepared either
    (time zone, no wait for the disk), nor a full disk be explained.
    """
    for part in parts:
        part._engine = engine


def create_tables(
    runs: PostgresRunStorage, events: PostgresEventLogStorage, schedules: PostgresScheduleStorage
) -> None:
    """Create the tables of the three parts through the engine that they use, as their constructors do.

    Missing: constructors create tables, but through an engine of their own, which commits each statement. Without: what
    a kill during the first start left behind, nothing would complete.
    """
    runs._init_db()
    runs.migrate()
    runs.optimize()
    events._init_db()
    events.reindex_events()
    events.reindex_assets()
    schedules._init_db()


class AsksOnceForColumns:
    """A storage of events that asks once whether a column of assets exists, instead of before every event of an asset.

    Missing: ``has_asset_key_col()`` is public, but writing an event does not call it. Without: each event of an asset
    costs a further statement that takes four times as long as the rest of the event, two for each user whom a run
    serves.
    """

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        known: set[str] = self.__dict__.setdefault("known_columns", set())
        base: Any = super()
        if column_name not in known and base._has_asset_key_col_on_connection(conn, column_name):
            known.add(column_name)
        return column_name in known


class CopiedResource:
    """A resource that is copied for a run instead of being made again, unless the run changes its values.

    Missing: Dagster makes each resource three times for a run, those that it uses again for each that uses them, and
    derives a schema each time; nothing tells it that a resource stays as it is. Without: a short run takes a twelfth
    longer.
    """

    def _with_updated_values(self, values: Mapping[str, Any] | None) -> Any:
        this: Any = self
        # Membership looks for the same object before it compares.
        if all(value in (getattr(this, name, self),) for name, value in (values or {}).items()):
            # A copy, since Dagster notes for which run it is.
            return this.model_copy()
        base: Any = super()
        return base._with_updated_values(values)


def repository(location: str) -> str:
    """Return the value of :data:`REPOSITORY_TAG` for a code location.

    Missing: the command line does not tag the runs that it executes itself, and no public function returns the value.
    Without: the UI does not show these runs on the page of their job, and the purge never deletes them.
    """
    return f"__repository__@{location}"


def stored_record(storage_id: int, event: str) -> str:
    """Return the newest event of an asset in the form in which it is stored with the asset.

    Missing: nothing renews that copy after the event itself was deleted. Without: the name of a user who was forgotten
    stays in it until the asset is made again.
    """
    return serialize_value(dg.EventLogRecord(storage_id, deserialize_value(event, dg.EventLogEntry)))


def output_without_events() -> dg.MaterializeResult:
    """Return the output that later steps of a run, and checks, wait for; the step logs its materializations itself.

    Missing: the data version of an output counts for all partitions of a run. Without: each partition is recorded
    twice (1.3 kB more for each user), first with a version that all users share, by which automation may take everybody
    for changed. Yield it first in any case, since the last event of a partition counts.
    """
    return dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def with_run(context: PlanOrchestrationContext, run: dg.DagsterRun) -> PlanOrchestrationContext:
    """Return the context of an executor for a run with other tags; steps read them from there.

    Missing: nothing can add the partitions that a run lacks before it starts. Without: a job that somebody starts
    without a partition fails in its first step, with an error about partition keys.
    """
    return type(context)(
        plan_data=context.plan_data._replace(dagster_run=run),
        log_manager=context.log,
        executor=context.executor,
        output_capture=context.output_capture,
        resume_from_failure=context.resume_from_failure,
    )


def replace_console_logger(logger: Any) -> None:
    """Make runs without a logger of their own use this one instead of Dagster's for the console.

    Missing: a logger of the definitions is used only by runs whose configuration names it. Without: the terminal shows
    the stack trace of each failure twice, also of a service that is down.
    """
    loggers.colored_console_logger = logger


def console_logger_config() -> Any:
    """Return the schema of the configuration of the console logger, which its replacement must have as well."""
    return loggers.colored_console_logger.config_schema


def webserver_options() -> list[Any]:
    """Return the options of Dagster's webserver, as click declares them, without hidden ones."""
    from dagster_webserver.cli import cli

    return [option for option in cli.params if not getattr(option, "hidden", False)]


@contextmanager
def webserver(options: Mapping[str, Any]) -> Iterator[Callable[[str], ASGIApp]]:
    """Open what the options of Dagster's webserver name; yield a function that creates its application for a path.

    Missing: the command creates and serves the application in one go, with no way to put anything before it. Without:
    there is no guard, no sign-in and no limit of connections, and the UI needs a second port and a proxy in front.
    """
    # Loaded here only, since it takes long. It has imported all that its command needs.
    import dagster_webserver.cli

    command: Any = dagster_webserver.cli
    command.configure_loggers(formatter=options["log_format"], log_level=options["dagster_log_level"].upper())
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            options["db_statement_timeout"], options["db_pool_recycle"], options["db_pool_max_overflow"]
        )
        with command.WorkspaceProcessContext(
            instance,
            version=command.__version__,
            read_only=options["read_only"],
            workspace_load_target=command.workspace_opts_to_load_target(
                command.WorkspaceOpts.extract_from_cli_options({**options})
            ),
            code_server_log_level=options["code_server_log_level"],
        ) as workspace:
            yield lambda path: command.create_app_from_workspace_process_context(
                workspace, path, options["live_data_poll_rate"], lifespan=_until_cancelled
            )


@asynccontextmanager
async def _until_cancelled(_: Any) -> AsyncIterator[None]:
    """Wait until the server stops, which cancels this: no error, and nothing to log."""
    with suppress(asyncio.CancelledError):
        yield
