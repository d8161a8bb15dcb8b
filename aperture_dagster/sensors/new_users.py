"""Users who join or leave: their partitions, and the first lists of those who are new."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.people import partition_changes, read_users, who_takes_part
from aperture_dagster.defs.jobs import Job
from aperture_dagster.instance.runs import ENDED, UNFINISHED, partitions_of_run
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions, users_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.attempts import minutes, next_attempt, runs_that_make
from aperture_dagster.settings import Settings
from aperture_dagster.taste.vectors import active_model

LIST, HISTORY = "recommendations", "watch_history"
WAITS = minutes(1, 5, 15, 60, 180, 360)
# Automation goes on from a history that has been read within two of its looks, and is given the time.
WAITS_WITH_HISTORY = WAITS[1:]

# Partitions of users without a list, each with the time of the return of those who had one before they left.
Waiting = dict[str, datetime | None]


def build_users_sensor(
    settings: Settings,
    jobs: Sequence[Job],
    built: Mapping[str, Any],
    status: dg.DefaultSensorStatus,
    *,
    loaded_at: datetime,
) -> dg.SensorDefinition:
    """Define the sensor. Its cursor holds who took part at the last look, and who still waits for a first list."""
    (first_list,) = (job for job in jobs if job.scope == "newcomers")
    list_jobs = [job.name for job in jobs if LIST in job.assets]
    list_key = dg.AssetKey(LIST)

    @dg.sensor(
        name="users_sensor",
        job=built[first_list.name],
        minimum_interval_seconds=30,
        default_status=status,
        description=(
            "Gives users who join a partition and starts first_list for them, all newcomers in one run; removes the "
            "partition of those who leave. It looks every 30 seconds at the users that sync_users has stored. Who has "
            "no list after that is retried after 1, 5, 15 and 60 minutes, then 3 and 6 hours, and at once after a "
            "restart."
        ),
    )
    def users_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        with database.transaction() as connection:
            stored = read_users(connection)
            library_is_ready = active_model(connection) is not None
        if not stored:
            return dg.SkipReason("No users are known yet: run sync_users.")
        taking_part = who_takes_part(settings, stored)
        wanted = [user.partition_key for user in taking_part]
        instance, now = context.instance, clock.now()
        existing = user_partitions(instance)
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        busy = {key for run in unfinished for key in partitions_of_run(run, existing)}
        changes = partition_changes(wanted, existing, busy)
        partitions = [key for key in existing if key not in changes.remove] + changes.add
        served = instance.get_materialized_partitions(list_key)
        waiting, present = waiting_for_first_list(context.cursor, wanted, served, now=now)
        waiting = {
            key: since for key, since in waiting.items() if not _has_list(instance, list_key, key, since, served)
        }
        # Without vectors, no list can be made.
        ranges: list[tuple[str, str]] = []
        if library_is_ready and waiting:
            ranges = plan_first_lists(instance, waiting, partitions, list_jobs, loaded_at=loaded_at, now=now)
        reason = None
        if not ranges and waiting:
            names = ", ".join(key for key in wanted if key in waiting)
            reason = f"The first list of {names} is being made, or will be retried later."
            if not library_is_ready:
                reason = f"Waiting for embeddings before the first list of {names}."
        elif not ranges:
            reason = "Nobody is new."
        return dg.SensorResult(
            run_requests=[dg.RunRequest(tags=range_tags(first, last)) for first, last in ranges],
            skip_reason=reason,
            cursor=json.dumps({"present": present, "waiting": _written(waiting)}),
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
    cursor: str | None, wanted: Sequence[str], served: Collection[str], *, now: datetime
) -> tuple[Waiting, list[str]]:
    """Return who waits for a first list, and who takes part, from the ``cursor`` of the last look.

    A partition shows nothing, since the sync of users adds it. Users with a list no longer wait, unless they have just
    come back: that list is from before they left.
    """
    last = json.loads(cursor) if cursor else None
    if last is None:
        last = {"present": [*served, *wanted], "waiting": {key: None for key in wanted if key not in served}}
    waiting = {
        key: min(datetime.fromisoformat(since), now) if since else None
        for key, since in last["waiting"].items()
        if key in wanted
    }
    waiting |= {key: now if key in served else None for key in wanted if key not in last["present"]}
    return waiting, list(wanted)


def plan_first_lists(
    instance: dg.DagsterInstance,
    waiting: Waiting,
    partitions: Sequence[str],
    jobs: Collection[str],
    *,
    loaded_at: datetime,
    now: datetime,
) -> list[tuple[str, str]]:
    """Return first and last of the ranges of ``partitions`` for which a run is to make first lists now.

    Nobody gets two runs at a time, whichever of the ``jobs`` makes the list. Newcomers share a run. Users whose
    last attempt failed get runs of their own, one for those whose history could be read and one for the others: a user
    who fails again keeps the others in the run from their lists.
    """
    list_key = dg.AssetKey(LIST)
    unfinished, ended = (runs_that_make(instance, jobs, [list_key], statuses) for statuses in (UNFINISHED, ENDED))
    being_served = {key for record in unfinished for key in partitions_of_run(record.dagster_run, partitions)}
    with_history = instance.get_materialized_partitions(dg.AssetKey(HISTORY))
    groups: dict[str, list[str]] = {"new": [], "with history": [], "without history": []}
    for key, since in waiting.items():
        if key in being_served:
            continue
        own = [record for record in ended if key in partitions_of_run(record.dagster_run, partitions)]
        began = max(loaded_at, since) if since else loaded_at
        waits = WAITS_WITH_HISTORY if key in with_history else WAITS
        if next_attempt(own, since=began, now=now, waits=waits) is None:
            tried = "with history" if key in with_history else "without history"
            groups[tried if own and since is None else "new"].append(key)
    return [ends for keys in groups.values() for ends in contiguous_ranges(partitions, keys)]


def _has_list(
    instance: dg.DagsterInstance, asset: dg.AssetKey, key: str, since: datetime | None, served: Collection[str]
) -> bool:
    if since is None or key not in served:
        return key in served
    made = dg.AssetRecordsFilter(asset, asset_partitions=[key], after_timestamp=since.timestamp())
    return bool(instance.fetch_materializations(made, limit=1).records)


def _written(waiting: Waiting) -> dict[str, str | None]:
    return {key: since.isoformat() if since else None for key, since in waiting.items()}
