"""Materialize one asset, as its job does, and measure what that takes. The definitions are loaded before."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import dagster as dg

from aperture_dagster.build import all_jobs, look_for_garbage_rarely
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.partitions import USERS
from aperture_dagster.settings import Settings
from load.figures import measured


def materialize(
    definitions: dg.Definitions, settings: Settings, job_name: str, asset: str, *, alone: bool = False
) -> dict[str, float]:
    """Run one asset of a job; return what it used, and its numbers. ``definitions`` log to :func:`silent`.

    ``alone``: compute it for one user instead of everybody, whatever has changed.

    Raises:
        OperatorError: there are no users.
        DagsterExecutionStepExecutionError, and others: the run failed.
    """
    # As where the definitions of the product are loaded.
    look_for_garbage_rarely()
    job = next(job for job in all_jobs(settings) if job.name == job_name)
    dagster_job = definitions.resolve_job_def(job_name)
    with dg.DagsterInstance.get() as instance:
        request = job.first_request(instance, settings)
        if request is None:
            raise OperatorError("There are no users.")
        partition, tags, config = request.partition_key, request.tags, dict[str, Any]()
        if alone:
            partition, tags = instance.get_dynamic_partitions(USERS)[-1], {}
            config = {"ops": {asset: {"config": {"recompute": True}}}}
        with measured() as used:
            result = dagster_job.execute_in_process(
                instance=instance,
                partition_key=partition,
                tags=tags,
                asset_selection=[dg.AssetKey(asset)],
                run_config={"loggers": {"console": {}}} | config,
            )
        numbers: dict[str, float] = {"rows_written": 0, "requests": 0}
        for event in result.all_events:
            if event.is_step_materialization:
                metadata: Any = event.step_materialization_data.materialization.metadata
                for name in ("rows_written", "requests"):
                    numbers[name] += int(getattr(metadata.get(name), "value", 0) or 0)
    return asdict(used) | numbers


def silent() -> dg.LoggerDefinition:
    """Return a logger without output, because standard output is for the figures."""

    def make(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.getLogger("aperture.performance")
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        return logger

    return dg.LoggerDefinition(make)
