"""Runs that are under way, and whether what a scheduled job builds on is sound."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from aperture_dagster.instance.private import REPOSITORY_TAG
from aperture_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# Queued, being launched, running, being canceled.
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
# Without those that were created and not yet queued: a tick that is resumed after a crash finds its own run so, and
# then queues it.
UNDER_WAY = [status for status in UNFINISHED if status != dg.DagsterRunStatus.NOT_STARTED]
# On runs that Dagster starts again after a crash.
RETRY_TAG = "dagster/retry_number"
PARENT_TAG = "dagster/parent_run_id"
SCHEDULE_TAG = "dagster/schedule_name"
# The module that code locations of this program load.
DEFINITIONS = "aperture_dagster.definitions"


def is_ours(run: dg.DagsterRun) -> bool:
    """Tell whether this program defines the job of a run: other programs may have code locations, too."""
    origin = run.job_code_origin
    return origin is not None and getattr(origin.repository_origin.code_pointer, "module", None) == DEFINITIONS


def location_of(run: dg.DagsterRun) -> str | None:
    """Return the name of the code location that a run belongs to; None if a Python program made it by itself."""
    origin = run.remote_job_origin
    if origin is not None:
        return origin.repository_origin.code_location_origin.location_name
    return run.tags.get(REPOSITORY_TAG, "").partition("@")[2] or None


def requested_by(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the id of the run that somebody started: of a run that crashed and was started again, the first one."""
    while RETRY_TAG in run.tags and (before := run.tags.get(PARENT_TAG)) is not None:
        parent = instance.get_run_by_id(before)
        if parent is None:
            return before
        run = parent
    return run.run_id


def ended_at(record: dg.RunRecord) -> datetime:
    """Return when a run ended, or when its record last changed if that was not noted."""
    return datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp


def partitions_of_run(run: dg.DagsterRun, partitions: Sequence[str]) -> set[str]:
    """Return those of ``partitions``, in the order of the UI, that a run is for."""
    first, last = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    if first in partitions or last in partitions:
        # An end that is gone: everything on that side.
        start = partitions.index(first) if first in partitions else 0
        stop = partitions.index(last) + 1 if last in partitions else len(partitions)
        return set(partitions[start:stop])
    return {run.tags.get(PARTITION_TAG, "")}.intersection(partitions)


def run_under_way(instance: dg.DagsterInstance, request: dg.RunRequest, users: Sequence[str]) -> dg.DagsterRun | None:
    """Return a run of the job that is queued or in progress and makes ``request`` pointless; None if there is none.

    That is the schedule's last one, or one that somebody started for all that is requested: a run for one of the
    ``users``, or for another day, holds nothing up.
    """
    for run in instance.get_runs(dg.RunsFilter(job_name=request.job_name, statuses=UNDER_WAY)):
        if SCHEDULE_TAG in run.tags or _serves(run, request, users):
            return run
    return None


def _serves(run: dg.DagsterRun, request: dg.RunRequest, users: Sequence[str]) -> bool:
    if request.partition_key is not None:
        first = run.tags.get(RANGE_START_TAG, run.tags.get(PARTITION_TAG, ""))
        # Days, in the order of their names.
        return first <= request.partition_key <= run.tags.get(RANGE_END_TAG, first)
    return RANGE_START_TAG not in request.tags or partitions_of_run(run, users) >= set(users)
