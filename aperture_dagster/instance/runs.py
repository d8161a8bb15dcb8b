"""What can be told from a run of Dagster without looking into its events."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# Queued, being launched, running, being canceled.
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]


def partitions_of_run(run: dg.DagsterRun, partitions: Sequence[str]) -> set[str]:
    """Return those of ``partitions``, in the order of the UI, that a run is for."""
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    if first in partitions or last in partitions:
        # An end that is gone: everything on that side.
        start = partitions.index(first) if first in partitions else 0
        stop = partitions.index(last) + 1 if last in partitions else len(partitions)
        return set(partitions[start:stop])
    return {run.tags.get("dagster/partition", "")}.intersection(partitions)
