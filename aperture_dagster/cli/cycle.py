"""One run of every job, in the order of a new installation, with progress on the terminal."""

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.cli.show import print_page, read_names, read_page
from aperture_dagster.cli.terminal import Terminal, print_titles
from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.instance.failures import failure_reason
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.jobs import Job
from aperture_dagster.model import counted, titled
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.popularity.stored_picks import top_picks_table
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

SHOWN_USERS, SHOWN_TITLES = 2, 5
TOTALS = "Done: "
"""How the closing line of a step begins."""
SHOWN_WARNINGS = 1
"""Warnings of a step that are shown; further ones mostly say the same of other days or users."""


class ProgressHandler(logging.Handler):
    """Show on a terminal what steps do and warn of."""

    def __init__(self, console: Terminal, assets: set[str]) -> None:
        super().__init__()
        # In one line: one that wraps could not be erased.
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (SpinnerColumn(), name, MofNCompleteColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("starting", total=len(assets))
        self.console, self.assets = console, assets
        self._done: set[str] = set()
        # The assets of steps that have another name than their asset.
        self._made: dict[str, str] = {}
        self._name_width = max(map(len, assets), default=0)
        # Of the step that is running.
        self._totals, self._warnings = "", 0

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning, or take in one of Dagster's events."""
        about = getattr(record, "dagster_meta", None) or {}
        event, step = about.get("dagster_event"), about.get("step_key")
        message = str(about.get("orig_message") or record.getMessage())
        if event is not None:
            self._take_in(event)
        elif record.levelno >= logging.WARNING:
            self._warnings += 1
            source = f"{step}: " if step is not None else ""
            if self._warnings <= SHOWN_WARNINGS:
                self.console.print_hanging(f"{source}{message}", "yellow", indent=4)
        elif step is not None and message.startswith(TOTALS):
            # Shown with the line that ends the step.
            self._totals = message.removeprefix(TOTALS).rstrip(".")

    def _take_in(self, event: dg.DagsterEvent) -> None:
        step = event.step_key or ""
        if event.is_step_start:
            self._totals, self._warnings = "", 0
            self.bar.update(self.task, description=step)
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
            self._made[step] = event.asset_key.to_user_string()
        elif event.is_step_success:
            asset = step if step in self.assets else self._made.get(step)
            if asset in self.assets:
                # Not one more each time: two jobs may have an asset in common.
                self._done.add(asset)
                self.bar.update(self.task, completed=len(self._done))
                self._show_end(asset, event.step_success_data.duration_ms / 1000)

    def _show_end(self, step: str, seconds: float) -> None:
        if self._warnings > SHOWN_WARNINGS:
            more = counted(self._warnings - SHOWN_WARNINGS, "warnings more in the log of the run")
            self.console.print_hanging(f"{step}: {more}", "yellow", indent=4)
        mark = Text("!", "yellow") if self._warnings else Text("✓", "green")
        start = Text.assemble(mark, f" {step:<{self._name_width}} {seconds:5.1f} s")
        totals = ", ".join(part for part in self._totals.split(", ") if not part.startswith("0 "))
        self.console.print_hanging(start + Text(f"  {totals}".rstrip(), "dim"), hang=4)

    def logger(self) -> dg.LoggerDefinition:
        """Define the Dagster logger that writes to this handler."""

        def create(_: dg.InitLoggerContext) -> logging.Logger:
            logger = logging.Logger("aperture.demo", logging.DEBUG)
            logger.addHandler(self)
            return logger

        return dg.LoggerDefinition(create, description="Progress of the demo on the terminal.")


def run_cycle(settings: Settings, console: Terminal) -> None:
    """Run every job once.

    Raises:
        OperatorError: a run failed; with the step and the reason.
    """
    jobs = [job for job in all_jobs(settings) if not job.is_for_some]
    progress = ProgressHandler(console, {asset for job in jobs for asset in job.assets})
    definitions = build_definitions(settings, loggers={"console": progress.logger()})
    with progress.bar, captured_logs(progress), dg.DagsterInstance.get() as instance:
        # Runs of a demo that was killed: without a daemon nobody else ends them.
        end_dead_runs(instance)
        for job in jobs:
            run_one(definitions, instance, job, settings)


def show_lists(settings: Settings, console: Terminal) -> None:
    """Print Top Picks, and the pages of the first users."""
    today = datetime.now(ZoneInfo(settings.schedule_timezone)).date()
    with Database(settings).transaction() as connection:
        picks = top_picks_table(connection, today)
    console.print()
    console.print_hanging("Top Picks: what this household watches", "bold")
    kinds = {"movie": "film", "series": "series"}
    print_titles(
        [(kinds[row["media_type"]], titled(row), counted(row["viewers"], "viewers")) for row in picks], console
    )
    for name in read_names(settings)[:SHOWN_USERS]:
        console.print()
        print_page(read_page(settings, name, count=SHOWN_TITLES), console)


@contextlib.contextmanager
def captured_logs(handler: logging.Handler) -> Iterator[None]:
    """Send what the package logs outside of Dagster to ``handler`` only: warnings and worse."""
    log = logging.getLogger("aperture_dagster")
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def run_one(definitions: dg.Definitions, instance: dg.DagsterInstance, job: Job, settings: Settings) -> None:
    """Run a job for all that it is about. Raises OperatorError: it failed, or nobody takes part."""
    request = job.first_request(instance, settings)
    if request is None:
        raise OperatorError("The server has no user who takes part.")
    run_now(definitions, instance, request)


def run_now(definitions: dg.Definitions, instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    """Run what is requested in this process. Raises OperatorError: it failed."""
    assert request.job_name is not None
    result = definitions.resolve_job_def(request.job_name).execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        # Otherwise the UI would count them as runs of no job.
        tags={**request.tags, REPOSITORY_TAG: repository(LOCATION)},
        raise_on_error=False,
        run_config={"loggers": {"console": {}}},
    )
    if not result.success:
        failures = (event for event in result.all_events if event.is_step_failure)
        reasons = (f"{event.step_key} failed: {failure_reason(event)}" for event in failures)
        raise OperatorError(next(reasons, f"{request.job_name} failed."))
