"""Runs in any state, as the sensors find them, and looks of sensors, as the daemon makes them."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
ENDED = ["SUCCESS", "FAILURE", "CANCELED"]


def add_run(instance: dg.DagsterInstance, job: str, status: str, **tags: str) -> dg.DagsterRun:
    """Store a run; Dagster takes a queued one only with the place that it comes from."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("aperture"), "__repository__")
    return instance.add_run(
        dg.DagsterRun(
            job_name=job,
            status=dg.DagsterRunStatus(status),
            tags=tags,
            remote_job_origin=RemoteJobOrigin(repository, job),
        )
    )


def look(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, definitions: dg.Definitions, cursor: str | None = None,
    **resources: Any,
) -> Any:  # fmt: skip
    """Let a sensor look, and do what it asks of the partitions; return what it said."""
    with dg.build_sensor_context(instance, cursor, definitions=definitions, resources=resources) as context:
        data = sensor.evaluate_tick(context)
    for request in data.dynamic_partitions_requests or ():
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        else:
            for key in request.partition_keys:
                instance.delete_dynamic_partition(request.partitions_def_name, key)
    return data
