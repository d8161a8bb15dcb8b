"""What starts by itself when something happened: newcomers, changed causes, failed runs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData

from aperture_dagster.defs.jobs import Job
from aperture_dagster.library.people import participants, partition_changes
from aperture_dagster.partitions import USERS, users_partitions
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings

SECONDS_BETWEEN_LOOKS = 30
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def build_sensors(settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """All sensors, on unless the settings say otherwise."""
    status = dg.DefaultSensorStatus.RUNNING if settings.schedules_enabled else dg.DefaultSensorStatus.STOPPED
    (newcomers_job,) = (job for job in jobs if job.scope == "newcomers")
    first_jobs = [job for job in jobs if job.first_run]

    @dg.sensor(
        name="users_sensor",
        job=built[newcomers_job.name],
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=status,
        description="Gives newcomers a partition and a first list, and takes the partition of those who left.",
    )
    def users_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.SensorResult | dg.SkipReason:
        from aperture_dagster.storage.people import read_users
        from aperture_dagster.storage.vectors import active_model

        with database.transaction() as connection:
            stored = read_users(connection)
            # Each gets one first run: on a new installation it would fail before the library is there.
            library_is_ready = active_model(connection) is not None
        if not stored:
            return dg.SkipReason("No users are known yet: run sync_users.")
        taking_part = participants(stored, include=settings.include_users, exclude=settings.exclude_users)
        wanted = {user.partition_key: user for user in taking_part}
        existing = context.instance.get_dynamic_partitions(USERS)
        changes = partition_changes(wanted, existing, _partitions_in_flight(context.instance))
        served = context.instance.get_materialized_partitions(dg.AssetKey("recommendations"))
        newcomers = [key for key in wanted if key not in served] if library_is_ready else []
        requests = []
        if changes.add:
            requests.append(users_partitions.build_add_request(changes.add))
        if changes.remove:
            requests.append(users_partitions.build_delete_request(changes.remove))
        return dg.SensorResult(
            # One first run a user: if it fails, the schedules go on from there.
            run_requests=[
                dg.RunRequest(run_key=f"first-list:{wanted[key].user_id}", partition_key=key) for key in newcomers
            ],
            dynamic_partitions_requests=requests,
        )

    @dg.sensor(
        name="first_sync_sensor",
        jobs=[built[job.name] for job in first_jobs],
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=status,
        description="Fills a new installation at once instead of waiting for the night; then it has nothing to do.",
    )
    def first_sync_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to read.")

        def exists(asset: str) -> bool:
            return context.instance.get_latest_materialization_event(dg.AssetKey(asset)) is not None

        due = [job.name for job in first_jobs if not all(map(exists, job.assets)) and all(map(exists, job.needs))]
        if not due:
            return dg.SkipReason("Everything has been read once.")
        # What failed, because the server was away say, is tried again in the next hour.
        hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"first-sync:{job}:{hour}", job_name=job) for job in due]
        )

    @dg.run_failure_sensor(
        name="run_failure_sensor",
        default_status=status,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        description="Writes one line about each failed run, what failed and why, to the home's failures.log.",
    )
    def run_failure_sensor(context: dg.RunFailureSensorContext) -> None:
        from aperture_dagster.resources.redaction import redact
        from aperture_dagster.storage.files import prepare_home

        line = redact(failure_line(context), settings.secret_values())
        context.log.error(line)
        prepare_home(settings.home_path)
        path = settings.home_path / "failures.log"
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @dg.sensor(
        name="dead_runs_sensor",
        minimum_interval_seconds=2 * SECONDS_BETWEEN_LOOKS,
        default_status=status,
        description="Ends runs whose process is gone, after a power cut say, so that they hold up nobody.",
    )
    def dead_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from aperture_dagster.instance.dead_runs import end_dead_runs

        ended = end_dead_runs(context.instance, settings)
        told = ", ".join(f"{run.job_name} ({run.run_id[:8]})" for run in ended)
        return dg.SkipReason(f"Ended: {told}." if ended else "Every run that has started is alive.")

    automation = dg.AutomationConditionSensorDefinition(
        "automation_sensor",
        target=dg.AssetSelection.all(),
        default_status=status,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        description="Makes what follows from a change: merged view, vectors, tastes, recommendations.",
    )
    return [first_sync_sensor, users_sensor, run_failure_sensor, dead_runs_sensor, automation]


def failure_line(context: dg.RunFailureSensorContext) -> str:
    """When, what and why, in one line."""
    causes = [
        f"{event.step_key}: {failure_reason(event.step_failure_data)}" for event in context.get_step_failure_events()
    ]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told = " | ".join(causes) or " ".join((context.failure_event.message or "").split())
    return f"{when} {context.dagster_run.job_name} ({context.dagster_run.run_id[:8]}) failed: {told}"


def failure_reason(failure: StepFailureData) -> str:
    """Why a step failed, in one line: the sentence for the operator, else the error that nobody foresaw."""
    error, told = failure.error, failure.user_failure_data
    while error is not None and error.cause is not None:
        # Dagster's own wrapping says nothing.
        error = error.cause
    reason = (told.description if told else None) or (error.message if error else "unknown")
    return " ".join(str(reason).split())


def _partitions_in_flight(instance: dg.DagsterInstance) -> set[str]:
    """Partitions that a run works on now; of a run over a range, all."""
    keys = instance.get_dynamic_partitions(USERS)
    busy: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        key = run.tags.get("dagster/partition")
        if key is not None:
            busy.add(key)
        if "dagster/asset_partition_range_start" in run.tags:
            busy.update(keys)
    return busy
