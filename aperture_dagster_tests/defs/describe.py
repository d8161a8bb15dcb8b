"""What Dagster was told, as plain data.

Renew the golden file with ``python -m aperture_dagster_tests.defs.describe``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.resources import RESOURCES
from aperture_dagster.settings import load_settings

GOLDEN = Path(__file__).with_name("golden.json")


def plain_definitions() -> dg.Definitions:
    """The definitions with no setting set but the time zone, which is the host's otherwise."""
    return build_definitions(load_settings(timezone="UTC"))


def describe(definitions: dg.Definitions) -> dict[str, Any]:
    """Assets, checks, jobs, schedules and sensors with all that an operator relies on."""
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    assets = {}
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        condition = node.automation_condition
        assets[key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "external": node.is_external,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": _partitions(node.partitions_def),
            "backfill": node.backfill_policy.policy_type.value if node.backfill_policy else None,
            "pools": sorted(node.pools or ()),
            "automation": condition.get_label() if condition else None,
            "freshness": _freshness(node.freshness_policy),
            "table": node.metadata.get("dagster/table_name"),
            "columns": len(node.metadata["dagster/column_schema"].columns)
            if "dagster/column_schema" in node.metadata
            else None,
            "checks": {
                check.name: _check(graph.get(check)) for check in sorted(node.check_keys, key=lambda check: check.name)
            },
        }
    return {
        "resources": {
            resource.name: {
                "type": resource.resource_type.rpartition(".")[2],
                "fields": {
                    name: json.loads(str(value))
                    for name, value in sorted(resource.configured_values.items())
                    if (resource.name, name) != ("settings", "home")
                },
            }
            for resource in RepositorySnap.from_def(repository).resources or ()
            if resource.name in RESOURCES
        },
        "assets": dict(sorted(assets.items())),
        "jobs": {
            job.name: {
                "assets": sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys),
                "partitions": _partitions(job.partitions_def),
                "priority": job.tags.get("dagster/priority"),
            }
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {
            schedule.name: {
                "job": schedule.job_name,
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "status": schedule.default_status.value,
            }
            for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name)
        },
        "sensors": {
            sensor.name: {
                "type": sensor.sensor_type.value,
                "status": sensor.default_status.value,
                "seconds": sensor.minimum_interval_seconds,
                "jobs": sorted(target.job_name for target in sensor.targets if sensor.sensor_type.value == "STANDARD"),
            }
            for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name)
        },
    }


def _partitions(partitions: dg.PartitionsDefinition | None) -> str | None:
    # Without a log of plays, the first day depends on today.
    return re.sub(r"\d{4}-\d\d-\d\d", "DAY", str(partitions)) if partitions else None


def _freshness(policy: dg.FreshnessPolicy | None) -> str | None:
    if policy is None:
        return None
    deadline = getattr(policy, "deadline_cron", None)
    if deadline is not None:
        return f"by {deadline}"
    warn, fail = (getattr(policy, name).to_timedelta() for name in ("warn_window", "fail_window"))
    return f"warn after {warn}, fail after {fail}"


def _check(node: Any) -> str:
    parts = ["blocking"] if node.blocking else []
    if node.automation_condition is not None:
        parts.append(node.automation_condition.get_label())
    return ", ".join(parts) or "with its asset"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(describe(plain_definitions()), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
