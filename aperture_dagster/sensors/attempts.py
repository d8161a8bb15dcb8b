"""When a run that failed is tried again: at once after a restart, otherwise after waits that grow.

Everything follows from the records of runs and from the time at which the definitions were loaded, so a sensor that is
killed forgets nothing. Settings are read when the definitions are loaded: whoever corrects one restarts the program,
and what failed before that says nothing about the new settings.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster.instance.runs import ENDED, ended_at
from aperture_dagster.model import is_future

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
