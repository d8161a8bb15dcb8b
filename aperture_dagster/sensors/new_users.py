"""The first sync of a new installation; and users who join or leave, and first lists of those who are new."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.catalogue.people import read_users, who_takes_part
from aperture_dagster.instance.runs import ENDED, UNFINISHED, ended_at, partitions_of_run
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock, is_future
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions, users_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.vectors import active_model

# When a run that failed is tried again: at once after a restart, otherwise after waits that grow.
#
# Everything follows from the records of runs and from the time at which the definitions were loaded, so a sensor that
# is killed forgets nothing. Settings are read when the definitions are loaded: whoever corrects one restarts the
# program, and what failed before that says nothing about the new settings.


# Dagster's name of the job in which automation, and a click on an asset, materialize.
ASSET_JOB = "__ASSET_JOB"
# A program that crashes and restarts all the time must not repeat hopeless runs all the time.
MOST_AN_HOUR = 12
# Latest runs of a job that are looked at.
LOOKED_AT = 50

Waits = Sequence[timedelta]


def minutes(*waits: int) -> Waits:
    """Return the waits after the first failure, the second, and so on; the last one is repeated."""
    return [timedelta(minutes=wait) for wait in waits]


def runs_that_make(
    instance: dg.DagsterInstance,
    jobs: Collection[str],
    assets: Collection[dg.AssetKey],
    statuses: Sequence[dg.DagsterRunStatus],
) -> list[dg.RunRecord]:
    """Return the latest runs of these jobs, and of others that materialize any of the assets, the newest first."""
    keys = set(assets)
    records = [
        record
        for job in (*jobs, ASSET_JOB)
        for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=list(statuses)), limit=LOOKED_AT)
        if job != ASSET_JOB or keys & set(record.dagster_run.asset_selection or ())
    ]
    return sorted(records, key=lambda record: record.storage_id, reverse=True)


def next_attempt(records: Iterable[dg.RunRecord], *, since: datetime, now: datetime, waits: Waits) -> datetime | None:
    """Return when to try again after runs that did not make what was wanted; None means at once.

    Args:
        records: the runs, in any order; those that have not ended, or are dated in the future, are ignored.
        since: runs that began earlier do not count: the definitions were reloaded since, or nobody waited yet. If the
            clock was ahead then, all of the last hour count.
        now: the current time.
        waits: how long to wait after the first attempt, the second, and so on.
    """
    ended = [
        record for record in records if record.dagster_run.status in ENDED and not is_future(ended_at(record), now)
    ]
    if is_future(since, now):
        since = now - timedelta(hours=1)
    attempts = [record for record in ended if _began(record) >= since]
    number = len(attempts)
    if sum(ended_at(record) > now - timedelta(hours=1) for record in ended) >= MOST_AN_HOUR:
        attempts, number = ended, len(waits)
    if not attempts:
        return None
    last = max(attempts, key=ended_at)
    # Somebody ended it by hand, and does not want it to start again within a minute.
    wait = waits[-1] if last.dagster_run.status == dg.DagsterRunStatus.CANCELED else waits[min(number, len(waits)) - 1]
    due = ended_at(last) + wait
    return due if due > now else None


def _began(record: dg.RunRecord) -> datetime:
    # By this machine's clock, if it got as far as starting; the time of creation is by the database's.
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp


# The first sync: a new installation is filled at once instead of waiting for the night.


# A media server that is still booting is there after the first; a refused key is not asked about all the time.
FIRST_SYNC_WAITS = minutes(1, 5, 15, 60)


def build_first_sync_sensor(
    settings: Settings,
    jobs: Sequence[Job],
    built: Mapping[str, Any],
    status: dg.DefaultSensorStatus,
    *,
    loaded_at: datetime,
) -> dg.SensorDefinition:
    """Define the sensor, which starts each job with ``first_run`` until its assets have been materialized once."""
    first = [job for job in jobs if job.first_run and job.why_off(settings) is None]

    @dg.sensor(
        name="first_sync_sensor",
        jobs=[built[job.name] for job in first],
        # The steps of a first sync follow each other by its looks. Once everything is there, a look costs little.
        minimum_interval_seconds=20,
        default_status=status,
        description=(
            "Fills a new installation at once instead of waiting for the night. It looks every 20 seconds and starts "
            f"{', '.join(job.name for job in first)}, each as soon as what it reads is there, until each has "
            "materialized its assets once. What failed is retried at once after a restart, otherwise after 1, 5, 15 "
            "and 60 minutes."
        ),
    )
    def first_sync_sensor(
        context: dg.SensorEvaluationContext, clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to read.")
        names = sorted({asset for job in first for asset in job.assets})
        # What was once materialized is not looked up again; the names tell if a job is new.
        if context.cursor == (filled := ",".join(names)):
            return dg.SkipReason("Everything has been read once.")
        unfilled = [job for job in first if _missing(job.assets, context.instance)]
        now = clock.now()
        reasons = {
            job: why_not_now(job, first, context.instance, settings, now=now, loaded_at=loaded_at) for job in unfilled
        }
        wanted = [job.first_request(context.instance, settings) for job, reason in reasons.items() if reason is None]
        requests = [request for request in wanted if request is not None]
        if requests:
            return dg.SensorResult(run_requests=requests)
        if reasons:
            return dg.SkipReason("; ".join(f"{job.name} {reason}" for job, reason in reasons.items() if reason) + ".")
        return dg.SensorResult(skip_reason="Everything has been read once.", cursor=filled)

    return first_sync_sensor


def why_not_now(
    job: Job,
    first: Sequence[Job],
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    now: datetime,
    loaded_at: datetime,
) -> str | None:
    """Say what the first run of a job waits for, or None when it can start; runs that anybody started count.

    ``first`` holds all jobs that are started once; it waits only for attempts of these.
    """
    missing = _missing(job.assets, instance)
    keys = [dg.AssetKey(name) for name in missing]
    if runs_that_make(instance, [job.name], keys, UNFINISHED):
        return "is running or queued"
    if settings.publish and len(job.allowed(settings, now)) < len(job.assets):
        return "waits for the end of the quiet hours"
    needed = _missing(job.needs, instance)
    if needed:
        return f"waits for {', '.join(needed)}"
    attempted = [one for one in first if not set(one.assets).isdisjoint(job.after)]
    others = [one for one in attempted if _is_to_come(one, job, instance, settings)]
    if others:
        return f"waits for the first run of {', '.join(one.name for one in others)}"
    due = next_attempt(
        runs_that_make(instance, [job.name], keys, ENDED), since=loaded_at, now=now, waits=FIRST_SYNC_WAITS
    )
    if due is not None:
        time = due.astimezone(ZoneInfo(settings.schedule_timezone))
        return f"did not materialize everything and starts again at {time:%H:%M}, or at once after a restart"
    return None


def _is_to_come(other: Job, job: Job, instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Tell whether another job is making what ``job`` comes after, or has not tried yet although there is somebody."""
    assets = set(other.assets) & set(job.after)
    keys = [dg.AssetKey(name) for name in assets]
    if runs_that_make(instance, [other.name], keys, UNFINISHED):
        return True
    if not _missing(assets, instance) or runs_that_make(instance, [other.name], keys, ENDED):
        return False
    return other.first_request(instance, settings) is not None


def _missing(assets: Iterable[str], instance: dg.DagsterInstance) -> list[str]:
    return [name for name in assets if instance.get_latest_materialization_event(dg.AssetKey(name)) is None]


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
