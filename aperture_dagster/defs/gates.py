"""Whether what a scheduled job builds on is sound: blocking checks count across runs."""

from collections.abc import Iterable, Mapping

import dagster as dg

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
    own = {dg.AssetKey(name) for name in names}
    read: set[dg.AssetKey] = set()
    for asset in assets:
        for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,):
            if spec.key in own:
                read |= {dep.asset_key for dep in spec.deps}
    return read - own


def why_blocked(instance: dg.DagsterInstance, upstream: Iterable[dg.AssetKey], blocking: BlockingChecks) -> str | None:
    """Say which blocking check of an upstream asset has not passed on its latest materialization, and what to do.

    For schedules, what ``AutomationCondition.all_deps_blocking_checks_passed()`` is for automation.
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
    made = instance.fetch_materializations(check.asset_key, limit=1).records
    if not made:
        return "has nothing to look at yet"
    # Dagster has no public way to ask for the last result of a check.
    record = instance.get_latest_asset_check_evaluation_record(check)
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
        is_current = target.storage_id == made[0].storage_id
    else:
        # Dagster does not note it in runs that also have a partition.
        is_current = record.run_id == made[0].run_id or record.create_timestamp > made[0].timestamp
    return None if is_current else "has not run since the last materialization"
