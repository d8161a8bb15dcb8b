"""Whether what a scheduled job builds on is sound: blocking checks count across runs."""

from collections.abc import Iterable, Mapping, Sequence, Set

import dagster as dg

from aperture_dagster.instance.runs import UNFINISHED

# More than there can be of runs under way that make the same asset.
LATEST_RESULTS = 20
# One run may make those of many partitions.
MATERIALIZATIONS = 100
BlockingChecks = Mapping[dg.AssetKey, frozenset[dg.AssetCheckKey]]


def blocking_checks(checks: Iterable[dg.AssetChecksDefinition]) -> BlockingChecks:
    """Collect the blocking checks of each asset."""
    checks_of: dict[dg.AssetKey, frozenset[dg.AssetCheckKey]] = {}
    for check in checks:
        for spec in check.check_specs:
            if spec.blocking:
                checks_of[spec.asset_key] = checks_of.get(spec.asset_key, frozenset()) | {spec.key}
    return checks_of


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
    record = next((record for record in records if record.run_id not in under_way), None)
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
        made = next((record for record in page.records if record.run_id not in without), None)
        if made is not None or not page.has_more:
            return made
        cursor = page.cursor
