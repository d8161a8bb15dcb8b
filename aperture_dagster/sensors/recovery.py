"""The sensor that ends runs whose process is gone."""

from __future__ import annotations

import dagster as dg

from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.settings import Settings


def build_dead_runs_sensor(settings: Settings, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Define the sensor; it never starts a run, so each tick ends with a skip reason."""

    @dg.sensor(
        name="dead_runs_sensor",
        minimum_interval_seconds=120,
        default_status=status,
        description="Ends runs whose process is gone, for example after a power cut, so that they block nothing.",
    )
    def dead_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = ", ".join(f"{run.job_name} ({run.run_id[:8]})" for run in end_dead_runs(context.instance, settings))
        return dg.SkipReason(f"Ended: {ended}." if ended else "The process of every started run is alive.")

    return dead_runs_sensor
