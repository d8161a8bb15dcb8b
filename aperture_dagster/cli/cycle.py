"""One run of every job, in the order of a new installation, with progress on the terminal."""

import logging
from collections import Counter

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.defs.failures import failure_reason
from aperture_dagster.defs.jobs import Job
from aperture_dagster.errors import OperatorError
from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.instance.runs import REPOSITORY, REPOSITORY_TAG
from aperture_dagster.settings import Settings


class ProgressHandler(logging.Handler):
    """Show on a terminal what steps do and log, and add up their figures."""

    def __init__(self, console: Console, assets: set[str]) -> None:
        super().__init__()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self.task = self.bar.add_task("starting", total=len(assets))
        self.console, self.assets = console, assets
        self.seconds: dict[str, float] = {}
        self.rows_written: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message of a step, or take in one of Dagster's events."""
        about = getattr(record, "dagster_meta", None) or {}
        event, step = about.get("dagster_event"), about.get("step_key")
        if event is not None:
            self._take_in(event)
        elif step is not None and record.levelno >= logging.INFO:
            is_warning = record.levelno >= logging.WARNING
            self._warned |= {step} if is_warning else set()
            message = f"    {step}: {about.get('orig_message', record.getMessage())}"
            self.console.print(message, style="yellow" if is_warning else "dim", markup=False, highlight=False)

    def _take_in(self, event: dg.DagsterEvent) -> None:
        step = event.step_key
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            for figure, total in (("rows_written", self.rows_written), ("requests", self.requests)):
                value = materialization.metadata.get(figure)
                total[materialization.asset_key.to_user_string()] += int(getattr(value, "value", 0) or 0)
        elif step not in self.assets:
            return
        elif event.is_step_start:
            self.bar.update(self.task, description=step)
        elif event.is_step_success:
            self.seconds[step] = round(event.step_success_data.duration_ms / 1000, 3)
            # Not one more each time: two jobs may have an asset in common.
            self.bar.update(self.task, completed=len(self.seconds))
            mark = "[yellow]![/]" if step in self._warned else "[green]✓[/]"
            self.console.print(f"  {mark} {step:<20} {self.seconds[step]:6.1f} s", highlight=False)

    def logger(self) -> dg.LoggerDefinition:
        """Define the Dagster logger that writes to this handler."""

        def create(_: dg.InitLoggerContext) -> logging.Logger:
            logger = logging.Logger("aperture.demo", logging.DEBUG)
            logger.addHandler(self)
            return logger

        return dg.LoggerDefinition(create, description="Progress of the demo on the terminal.")


def run_cycle(settings: Settings, console: Console) -> dict[str, dict[str, float]]:
    """Run every job of the demo once; return seconds and rows written by asset, and requests by service.

    Raises:
        OperatorError: a run failed; with the step and the reason.
    """
    made = [asset for asset in build_definitions(settings).assets or [] if isinstance(asset, dg.AssetsDefinition)]
    # The pool of an asset is named after the service that it asks.
    pools = {key.to_user_string(): asset.op.pool for asset in made for key in asset.keys}
    jobs = [job for job in all_jobs(settings) if job.in_demo and job.scope != "newcomers"]
    progress = ProgressHandler(console, {asset for job in jobs for asset in job.assets})
    definitions = build_definitions(settings, loggers={"console": progress.logger()})
    with progress.bar, dg.DagsterInstance.get() as instance:
        # Runs of a demo that was killed: without a daemon nobody else ends them.
        end_dead_runs(instance, settings)
        for job in jobs:
            run_one(definitions, instance, job, settings)
    names = {"media_server": settings.media_server_type}
    requests: Counter[str] = Counter()
    for asset, pool in pools.items():
        if pool is not None:
            requests[names.get(pool, pool)] += progress.requests[asset]
    return {"seconds": progress.seconds, "requests": dict(requests), "rows_written": dict(progress.rows_written)}


def run_one(definitions: dg.Definitions, instance: dg.DagsterInstance, job: Job, settings: Settings) -> None:
    """Run a job of the demo. Raises OperatorError: it failed, or nobody takes part."""
    request = job.first_request(instance, settings)
    if request is None:
        raise OperatorError("The server has no user who takes part.")
    result = definitions.resolve_job_def(job.name).execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        # Otherwise the UI would count them as runs of no job.
        tags={**request.tags, REPOSITORY_TAG: REPOSITORY},
        raise_on_error=False,
        run_config={"loggers": {"console": {}}},
    )
    if not result.success:
        failures = (event for event in result.all_events if event.is_step_failure)
        reasons = (f"{event.step_key} failed: {failure_reason(event)}" for event in failures)
        raise OperatorError(next(reasons, f"{job.name} failed."))
