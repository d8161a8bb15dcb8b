"""Users who join or leave: their partitions, and the first lists of those who are new."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import dagster as dg

from aperture_dagster.defs.jobs import Job
from aperture_dagster.instance.runs import UNFINISHED, partitions_of_run
from aperture_dagster.library.people import participants, partition_changes
from aperture_dagster.partitions import USERS, range_tags, users_partitions
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.vectors import active_model


def build_users_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor. Its cursor holds the users for whom a first list was requested since they joined."""
    (first_list,) = (job for job in jobs if job.scope == "newcomers")

    @dg.sensor(
        name="users_sensor",
        job=built[first_list.name],
        minimum_interval_seconds=30,
        default_status=status,
        description="Gives new users a partition and a first list, and removes the partition of those who left.",
    )
    def users_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.SensorResult | dg.SkipReason:
        with database.transaction() as connection:
            stored = read_users(connection)
            library_is_ready = active_model(connection) is not None
        if not stored:
            return dg.SkipReason("No users are known yet: run sync_users.")
        taking_part = participants(stored, include=settings.include_users, exclude=settings.exclude_users)
        wanted = [user.partition_key for user in taking_part]
        instance = context.instance
        existing = instance.get_dynamic_partitions(USERS)
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        busy = {key for run in unfinished for key in partitions_of_run(run, existing)}
        changes = partition_changes(wanted, existing, busy)
        partitions = [key for key in existing if key not in changes.remove] + changes.add
        requested = set(json.loads(context.cursor or "[]")).intersection(wanted)
        served = instance.get_materialized_partitions(dg.AssetKey("recommendations"))
        # Somebody who returns has been served before, long ago.
        new = [key for key in wanted if key not in requested and (key in changes.add or key not in served)]
        # A first run without vectors would fail, and there is only one: if it fails, the schedules go on from there.
        ranges = contiguous_ranges(partitions, new) if library_is_ready else []
        reason = None
        if not ranges:
            reason = f"Waits for embeddings before the first list of {', '.join(new)}." if new else "Nobody is new."
        return dg.SensorResult(
            run_requests=[dg.RunRequest(tags=range_tags(first, last)) for first, last in ranges],
            skip_reason=reason,
            cursor=json.dumps(sorted(requested.union(new) if ranges else requested)),
            dynamic_partitions_requests=[
                build(keys)
                for build, keys in (
                    (users_partitions.build_add_request, changes.add),
                    (users_partitions.build_delete_request, changes.remove),
                )
                if keys
            ],
        )

    return users_sensor


def contiguous_ranges(partitions: Sequence[str], chosen: Collection[str]) -> list[tuple[str, str]]:
    """Return first and last of each range of ``partitions`` that holds chosen ones only; together they hold all."""
    runs = [list(keys) for is_chosen, keys in groupby(partitions, key=lambda key: key in chosen) if is_chosen]
    return [(keys[0], keys[-1]) for keys in runs]
