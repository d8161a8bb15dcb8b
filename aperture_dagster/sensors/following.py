"""The runs by which lists follow what users watched or said, as two sensors ask for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import dagster as dg

from aperture_dagster.instance.runs import UNDER_WAY, partitions_of_run
from aperture_dagster.jobs import PUBLISHED, Job
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions
from aperture_dagster.settings import Settings

HISTORY, LIST = "watch_history", "recommendations"


class Cursor(Protocol):
    """What a sensor has seen so far, which ``str`` writes."""

    waiting: dict[str, str]
    """By user id, what no run was requested for yet."""


class FollowingRuns:
    """Requests runs of the job that reads the histories of some users and makes their lists anew.

    Args:
        settings: whether lists are published, and when.
        jobs: all jobs.
    """

    def __init__(self, settings: Settings, jobs: Sequence[Job]) -> None:
        self._settings = settings
        (self.job,) = (job for job in jobs if job.scope == "viewers")
        self._makers = [job.name for job in jobs if {HISTORY, LIST} & set(job.assets)]

    def users_with_a_list(self, instance: dg.DagsterInstance) -> set[str]:
        """Return the partitions of users who have a list that could follow."""
        return instance.get_materialized_partitions(dg.AssetKey(LIST))

    def follow(
        self,
        instance: dg.DagsterInstance,
        cursor: Cursor,
        users: Mapping[str, str],
        *,
        now: datetime,
        nothing: str,
        trouble: str = "",
    ) -> dg.SensorResult:
        """Return the result of a look: the runs that are due, or why there are none, and the cursor.

        Args:
            instance: Dagster's.
            cursor: of the sensor; those for whom a run is requested no longer wait.
            users: the partition of each user who takes part, by user id.
            now: as for :meth:`take_due`.
            nothing: what to say when nobody waits.
            trouble: what else to say when no run is requested.
        """
        requests = self.take_due(instance, cursor.waiting, users, now=now)
        waits = "Waiting for a first list, or for a run that is reading histories."
        reason = None if requests else (waits if cursor.waiting else nothing) + trouble
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=str(cursor))

    def take_due(
        self, instance: dg.DagsterInstance, waiting: dict[str, str], users: Mapping[str, str], *, now: datetime
    ) -> list[dg.RunRequest]:
        """Request runs for those who wait and can be served, and take them out of ``waiting``.

        A user waits for a first list, and for a run that may have read their history too early.

        Args:
            instance: Dagster's.
            waiting: by user id, what a list has to follow; users who are not among ``users`` are taken out, too.
            users: the partition of each user who takes part, by user id.
            now: in quiet hours lists are made, and published afterwards.
        """
        for user_id in waiting.keys() - users.keys():
            del waiting[user_id]
        if not waiting:
            return []
        partitions = user_partitions(instance)
        ready = self.users_with_a_list(instance) & set(partitions) - self._under_way(instance, partitions)
        due = {users[user_id]: waiting.pop(user_id) for user_id in [*waiting] if users[user_id] in ready}
        if not due:
            return []
        # What is not published has nothing to follow.
        allowed = self.job.allowed(self._settings, now)
        assets = [key for key in allowed if self._settings.publish or key.to_user_string() not in PUBLISHED]
        return [
            _request(partitions[partitions.index(first) : partitions.index(last) + 1], due, assets)
            for first, last in contiguous_ranges(partitions, due)
        ]

    def _under_way(self, instance: dg.DagsterInstance, partitions: Sequence[str]) -> set[str]:
        """Return the partitions for which a run is under way that may have read the history too early."""
        filters = [dg.RunsFilter(job_name=job, statuses=UNDER_WAY) for job in self._makers]
        runs = [run for runs_filter in filters for run in instance.get_runs(runs_filter)]
        return {partition for run in runs for partition in partitions_of_run(run, partitions)}


def _request(partitions: Sequence[str], due: Mapping[str, str], assets: Sequence[dg.AssetKey]) -> dg.RunRequest:
    """Request a run for adjacent partitions; its key keeps the same news from being followed twice."""
    news = json.dumps([(partition, due[partition]) for partition in partitions])
    key = hashlib.sha256(news.encode()).hexdigest()
    return dg.RunRequest(run_key=key, tags=range_tags(partitions[0], partitions[-1]), asset_selection=list(assets))
