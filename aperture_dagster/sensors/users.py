"""Users who join or leave, and the first lists of those who are new."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import dagster as dg

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.instance.runs import ENDED, UNFINISHED, partitions_of_run
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions, users_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.attempts import minutes, next_attempt, runs_that_make
from aperture_dagster.settings import Settings
from aperture_dagster.taste.vectors import active_model

LIST, HISTORY = "recommendations", "watch_history"
WAITS = minutes(1, 5, 15, 60, 180, 360)
# After a failure, automation goes on from a history that has been read within two of its looks, and is given the time.
WAITS_WITH_HISTORY = WAITS[1:]

# Partitions of users without a list, each with the time of the return of those who had one before they left.

Waiting = dict[str, datetime | None]


class FirstLists(NamedTuple):
    """A run of first lists: first and last of a range of partitions, and whether their histories have been read."""

    first: str
    last: str
    is_read: bool


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
    makers = {asset: [job.name for job in jobs if asset in job.assets] for asset in (HISTORY, LIST)}
    list_key = dg.AssetKey(LIST)
    without_history = [dg.AssetKey(asset) for asset in first_list.assets if asset != HISTORY]

    @dg.sensor(
        name="users_sensor",
        job=built[first_list.name],
        # Everybody waits for it on the first evening.
        minimum_interval_seconds=20,
        default_status=status,
        description=(
            "Gives users who join a partition and starts first_list for them, in one run those who joined together; on "
            "a new installation, those whose history has been read since the last look. Removes the partition of those "
            "who leave. It looks every 20 seconds at the users that sync_users has stored. Who has no list after that "
            "is retried after 1, 5, 15 and 60 minutes, then 3 and 6 hours, and at once after a restart."
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
        added = [key for key in wanted if key not in existing]
        # One with a run in progress is removed another time.
        removed = [key for key in existing if key not in wanted and key not in busy]
        partitions = [key for key in existing if key not in removed] + added
        served = instance.get_materialized_partitions(list_key)
        waiting, present = waiting_for_first_list(context.cursor, wanted, served, now=now)
        waiting = {
            key: since for key, since in waiting.items() if not _has_list(instance, list_key, key, since, served)
        }
        # Without vectors, no list can be made.
        planned: list[FirstLists] = []
        if library_is_ready and waiting:
            planned = plan_first_lists(instance, waiting, partitions, makers, loaded_at=loaded_at, now=now)
        reason = None
        if not planned and waiting:
            names = ", ".join(key for key in wanted if key in waiting)
            reason = f"The first list of {names} is being made, or will be retried later."
            if not library_is_ready:
                reason = f"Waiting for embeddings before the first list of {names}."
        elif not planned:
            reason = "Nobody is new."
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    tags=range_tags(one.first, one.last), asset_selection=without_history if one.is_read else None
                )
                for one in planned
            ],
            skip_reason=reason,
            cursor=json.dumps({"present": present, "waiting": _written(waiting)}),
            dynamic_partitions_requests=[
                build(keys)
                for build, keys in (
                    (users_partitions.build_add_request, added),
                    (users_partitions.build_delete_request, removed),
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
    makers: Mapping[str, Collection[str]],
    *,
    loaded_at: datetime,
    now: datetime,
) -> list[FirstLists]:
    """Return the runs that are to make first lists now.

    Nobody gets two runs at a time, whichever job makes the list, and a history that is being read is waited for;
    ``makers`` are the jobs that make each of the two. Newcomers share a run. Users whose last attempt failed get runs
    of their own, one for those whose history could be read and one for the others: a user who fails again keeps the
    others in the run from their lists.
    """

    def runs_of(asset: str, statuses: Sequence[dg.DagsterRunStatus]) -> list[dg.RunRecord]:
        return runs_that_make(instance, makers[asset], [dg.AssetKey(asset)], statuses)

    def partitions_of(records: Iterable[dg.RunRecord]) -> set[str]:
        return {key for record in records for key in partitions_of_run(record.dagster_run, partitions)}

    ended = runs_of(LIST, ENDED)
    being_served, being_read = (partitions_of(runs_of(asset, UNFINISHED)) for asset in (LIST, HISTORY))
    with_history = instance.get_materialized_partitions(dg.AssetKey(HISTORY))
    groups: defaultdict[tuple[bool, bool], list[str]] = defaultdict(list)
    for key, since in waiting.items():
        # Who has come back may have watched something meanwhile.
        is_read = key in with_history and since is None
        if key in being_served or (key in being_read and not is_read):
            continue
        own = [record for record in ended if key in partitions_of([record])]
        began = max(loaded_at, since) if since else loaded_at
        waits = WAITS_WITH_HISTORY if key in with_history else WAITS
        if next_attempt(own, since=began, now=now, waits=waits) is None:
            groups[is_read, bool(own) and since is None].append(key)
    return [
        FirstLists(*ends, is_read)
        for (is_read, _), keys in groups.items()
        for ends in contiguous_ranges(partitions, keys)
    ]


def _has_list(
    instance: dg.DagsterInstance, asset: dg.AssetKey, key: str, since: datetime | None, served: Collection[str]
) -> bool:
    if since is None or key not in served:
        return key in served
    made = dg.AssetRecordsFilter(asset, asset_partitions=[key], after_timestamp=since.timestamp())
    return bool(instance.fetch_materializations(made, limit=1).records)


def _written(waiting: Waiting) -> dict[str, str | None]:
    return {key: since.isoformat() if since else None for key, since in waiting.items()}
