"""Status and partitions of runs, from their records alone."""

from collections.abc import Sequence

import dagster as dg

from aperture_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# Queued, being launched, running, being canceled.
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]


def partitions_of_run(run: dg.DagsterRun, partitions: Sequence[str]) -> set[str]:
    """Return those of ``partitions``, in the order of the UI, that a run is for."""
    first, last = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    if first in partitions or last in partitions:
        # An end that is gone: everything on that side.
        start = partitions.index(first) if first in partitions else 0
        stop = partitions.index(last) + 1 if last in partitions else len(partitions)
        return set(partitions[start:stop])
    return {run.tags.get(PARTITION_TAG, "")}.intersection(partitions)
