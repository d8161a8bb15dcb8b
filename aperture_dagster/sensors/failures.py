"""Runs that fail: a line about each in the home's ``failures.log``, and the end of those whose process is gone."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.resources.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.storage.files import prepare_home, write_file

LONGEST_LOG_BYTES = 1_000_000


def build_failure_sensor(settings: Settings, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Define the sensor; secrets never reach the file."""

    @dg.run_failure_sensor(
        name="run_failure_sensor",
        default_status=status,
        minimum_interval_seconds=60,
        description="Writes one line about each failed run, what failed and why, to the home's failures.log.",
    )
    def run_failure_sensor(context: dg.RunFailureSensorContext) -> None:
        causes = [f"{event.step_key}: {failure_reason(event)}" for event in context.get_step_failure_events()]
        reason = " | ".join(causes) or " ".join((context.failure_event.message or "").split())
        run, when = context.dagster_run, datetime.now(UTC).isoformat(timespec="seconds")
        line = redact(f"{when} {run.job_name} ({run.run_id[:8]}) failed: {reason}", settings.secret_values())
        context.log.error(line)
        prepare_home(settings.home_path)
        append_line(settings.home_path / "failures.log", line)

    return run_failure_sensor


def build_dead_runs_sensor(settings: Settings, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Define the sensor; it never starts a run, so each tick ends with a skip reason."""

    @dg.sensor(
        name="dead_runs_sensor",
        minimum_interval_seconds=300,
        default_status=status,
        description="Ends runs whose process is gone, for example after a power cut, so that they block nothing.",
    )
    def dead_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = ", ".join(f"{run.job_name} ({run.run_id[:8]})" for run in end_dead_runs(context.instance, settings))
        return dg.SkipReason(f"Ended: {ended}." if ended else "The process of every started run is alive.")

    return dead_runs_sensor


def failure_reason(event: dg.DagsterEvent) -> str:
    """Say in one line why a step failed: the sentence for the operator, or else the unexpected error."""
    failure = event.step_failure_data
    error, described = failure.error, failure.user_failure_data
    while error is not None and error.cause is not None:
        # The outer errors are Dagster's own and name only the step.
        error = error.cause
    reason = (described.description if described else None) or (error.message if error else "unknown")
    return " ".join(str(reason).split())


def append_line(path: Path, line: str) -> None:
    """Append a line to a log that only its owner can read; when the log is long, its older half goes first."""
    path.touch(mode=0o600)
    if path.stat().st_size > LONGEST_LOG_BYTES:
        write_file(path, path.read_bytes()[-LONGEST_LOG_BYTES // 2 :].partition(b"\n")[2])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
