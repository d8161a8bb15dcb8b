"""Runs that are under way, and whether what a scheduled job builds on is sound."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime

import dagster as dg

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
# By this tag the UI finds the runs of a job; Dagster adds it to those that it launches itself.
REPOSITORY_TAG = ".dagster/repository"
# The module that code locations of this program load.
DEFINITIONS = "aperture_dagster.definitions"


def repository(location: str) -> str:
    """Return the value of that tag for a code location."""
    return f"__repository__@{location}"


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


# Whether what a scheduled job builds on is sound: blocking checks count across runs.


# More than there can be of runs under way that make the same asset.
LATEST_RESULTS = 20
# One run may make those of many partitions.
MATERIALIZATIONS = 100
BlockingChecks = Mapping[dg.AssetKey, frozenset[dg.AssetCheckKey]]


def blocking_checks(checks: Iterable[dg.AssetChecksDefinition]) -> BlockingChecks:
    """Collect the blocking checks of each asset."""
    found: dict[dg.AssetKey, frozenset[dg.AssetCheckKey]] = {}
    for check in checks:
        for spec in check.check_specs:
            if spec.blocking:
                found[spec.asset_key] = found.get(spec.asset_key, frozenset()) | {spec.key}
    return found


def upstream_keys(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec], names: Iterable[str]) -> set[dg.AssetKey]:
    """Return the assets that some assets read, without those assets themselves."""
    own = {dg.AssetKey.from_user_string(name) for name in names}
    read: set[dg.AssetKey] = set()
    for asset in assets:
        for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,):
            if spec.key in own:
                read |= {dep.asset_key for dep in spec.deps}
    return read - own


def why_blocked(instance: dg.DagsterInstance, upstream: Iterable[dg.AssetKey], blocking: BlockingChecks) -> str | None:
    """Say which blocking check of an upstream asset has not passed on its latest materialization, and what to do.

    For schedules, what ``AutomationCondition.all_deps_blocking_checks_passed()`` is for automation. Of a run that is
    queued or in progress, nothing counts yet: neither what it has made nor the checks that it plans.
    """
    for key in sorted(upstream):
        for check in sorted(blocking.get(key, ()), key=lambda check: check.name):
            problem = _problem(instance, check)
            if problem is not None:
                return (
                    f"{key.to_user_string()} is not sound: its blocking check {check.name} {problem}. "
                    f"This starts again once the check has passed; materialize {key.to_user_string()} to run it."
                )
    return None


def _problem(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> str | None:
    # Dagster has no public way to ask for the results of a check.
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=LATEST_RESULTS)
    planned = [record.run_id for record in records if not isinstance(record.evaluation, dg.AssetCheckEvaluation)]
    under_way = _under_way(instance, planned)
    record = next((one for one in records if one.run_id not in under_way), None)
    # What a run under way makes does not count, as if it had not begun: there is no other start before tomorrow.
    made = _latest_made(instance, check.asset_key, under_way)
    if made is None:
        return "has nothing to look at yet"
    evaluation = record.evaluation if record is not None else None
    if record is None or evaluation is None:
        return "has not run"
    if not isinstance(evaluation, dg.AssetCheckEvaluation):
        # Dagster notes that it is planned; a run that fails before leaves it at that.
        return "has not finished in the last run"
    if not evaluation.passed:
        return f"failed: {evaluation.description}" if evaluation.description else "failed"
    target = evaluation.target_materialization_data
    if target is not None:
        is_current = target.storage_id == made.storage_id
    else:
        # Dagster does not note it in runs that also have a partition.
        is_current = record.run_id == made.run_id or record.create_timestamp > made.timestamp
    return None if is_current else "has not run since the last materialization"


def _under_way(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> set[str]:
    """Return those of some runs that are queued or in progress."""
    if not run_ids:
        return set()
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(run_ids=run_ids, statuses=UNFINISHED))}


def _latest_made(instance: dg.DagsterInstance, key: dg.AssetKey, without: Set[str]) -> dg.EventLogRecord | None:
    """Return the latest materialization of an asset, ``without`` those of some runs."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=MATERIALIZATIONS if without else 1, cursor=cursor)
        made = next((one for one in page.records if one.run_id not in without), None)
        if made is not None or not page.has_more:
            return made
        cursor = page.cursor
