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
    """Define the sensor. Its cursor holds who took part at the last look, and who still waits for a first list."""
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
        served = instance.get_materialized_partitions(dg.AssetKey("recommendations"))
        waiting, present = waiting_for_first_list(context.cursor, wanted, served)
        new = [key for key in wanted if key in waiting]
        # A first run without vectors would fail, and there is only one: if it fails, the schedules go on from there.
        ranges = contiguous_ranges(partitions, new) if library_is_ready else []
        reason = None
        if not ranges:
            reason = f"Waits for embeddings before the first list of {', '.join(new)}." if new else "Nobody is new."
        return dg.SensorResult(
            run_requests=[dg.RunRequest(tags=range_tags(first, last)) for first, last in ranges],
            skip_reason=reason,
            cursor=json.dumps({"present": present, "waiting": {} if ranges else waiting}),
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


def waiting_for_first_list(
    cursor: str | None, wanted: Sequence[str], served: Collection[str]
) -> tuple[dict[str, bool], list[str]]:
    """Return who waits for a first list, and who takes part, from the ``cursor`` of the last look.

    The partition tells nothing: the sync of users adds it. Whoever waits may get a list meanwhile, and waits no longer;
    but somebody who returns (marked true) was served long ago.
    """
    last = json.loads(cursor) if cursor else None
    if not isinstance(last, dict):
        # The first look, or the cursor of an older version, which was a list.
        last = {"present": list(served), "waiting": {}}
    waiting = {
        key: returns for key, returns in last["waiting"].items() if key in wanted and (returns or key not in served)
    }
    waiting |= {key: key in served for key in wanted if key not in last["present"]}
    return waiting, list(wanted)


def contiguous_ranges(partitions: Sequence[str], chosen: Collection[str]) -> list[tuple[str, str]]:
    """Return first and last of each range of ``partitions`` that holds chosen ones only; together they hold all."""
    runs = [list(keys) for is_chosen, keys in groupby(partitions, key=lambda key: key in chosen) if is_chosen]
    return [(keys[0], keys[-1]) for keys in runs]
