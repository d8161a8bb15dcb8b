"""The sensor that evaluates the automation conditions of all assets and checks."""

from __future__ import annotations

import dagster as dg


def build_automation_sensor(status: dg.DefaultSensorStatus) -> dg.AutomationConditionSensorDefinition:
    """Define the sensor; the conditions are in ``aperture_dagster.automation``, and each asset names its own."""
    return dg.AutomationConditionSensorDefinition(
        "automation_sensor",
        target=dg.AssetSelection.all(),
        default_status=status,
        minimum_interval_seconds=30,
        description="Starts what follows from a change: merged view, vectors, tastes, recommendations.",
    )
