"""One of several households on one Dagster instance: the names that an instance has once for all code locations.

Each household is a code location with settings of its own. Jobs, schedules and sensors are known by their location, but
assets, partitions and pools are not, so the setting ``household`` precedes their names: ``smiths/movies``. It does so
here, after everything has been declared, so declarations know nothing of it. Runs are found by a tag
(:mod:`aperture_dagster.instance.storage`). Without the setting, all names are plain.
"""

import copy
import json
from collections.abc import Iterable
from typing import Any, cast

import dagster as dg

# Conditions have no public way to replace a key. Serialized, as the daemon gets them, they are data.
from dagster._serdes import deserialize_value, serialize_value

from aperture_dagster.errors import OperatorError

HOUSEHOLD_TAG = "aperture/household"
"""The tag of each run that names its household; there is none without the setting."""


def scoped(household: str, name: str) -> str:
    """Return the name of an asset, of a set of partitions, or of a pool, as the instance knows it."""
    return f"{household}/{name}" if household else name


def asset_key(household: str, name: str) -> dg.AssetKey:
    """Return the key of an asset, as the instance knows it."""
    return dg.AssetKey.from_user_string(scoped(household, name))


def require_own_location(context: dg.SensorEvaluationContext, household: str) -> None:
    """Raise OperatorError if the code location has another name than the household: its runs would not be found."""
    origin = context.code_location_origin
    if household and origin is not None and origin.location_name != household:
        raise OperatorError(
            f"APERTURE_HOUSEHOLD is {household}, but its code location is named {origin.location_name}: give both the "
            "same name (workspace.yaml), and restart the daemon and the webserver."
        )


def in_household(
    household: str,
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec],
    checks: Iterable[dg.AssetChecksDefinition],
) -> tuple[list[dg.AssetsDefinition | dg.AssetSpec], list[dg.AssetChecksDefinition]]:
    """Return the definitions under the names of a household; without one, as they are."""
    if not household:
        return list(assets), list(checks)
    return (
        [_rename_spec(one, household) if isinstance(one, dg.AssetSpec) else _rename(one, household) for one in assets],
        [_rename(check, household).coerce_to_checks_def() for check in checks],
    )


def _rename(definition: dg.AssetsDefinition, household: str) -> dg.AssetsDefinition:
    keys = {*definition.keys, *definition.dependency_keys, *(spec.asset_key for spec in definition.check_specs)}
    keys |= {dep.asset_key for spec in definition.specs for dep in spec.deps}
    renamed = definition.with_attributes(asset_key_replacements={key: key.with_prefix(household) for key in keys})
    parts = renamed.get_attributes_dict()
    parts["specs"] = [_rename_in_spec(spec, household) for spec in renamed.specs]
    if isinstance(parts["node_def"], dg.OpDefinition):
        parts["node_def"] = _rename_pool(parts["node_def"], household)
    return dg.AssetsDefinition.dagster_internal_init(**parts)


def _rename_spec(spec: dg.AssetSpec, household: str) -> dg.AssetSpec:
    deps = [dep._replace(asset_key=dep.asset_key.with_prefix(household)) for dep in spec.deps]
    return _rename_in_spec(spec.replace_attributes(key=spec.key.with_prefix(household), deps=deps), household)


def _rename_in_spec(spec: dg.AssetSpec, household: str) -> dg.AssetSpec:
    """Rename what a spec refers to: its partitions, and the assets in its condition."""
    partitions, condition = spec.partitions_def, cast("Any", spec.automation_condition)
    if isinstance(partitions, dg.DynamicPartitionsDefinition) and partitions.name is not None:
        partitions = dg.DynamicPartitionsDefinition(name=scoped(household, partitions.name))
        spec = spec.replace_attributes(partitions_def=partitions)
    if condition is not None:
        data = _rename_keys(json.loads(serialize_value(condition)), household)
        spec = spec.replace_attributes(automation_condition=cast("Any", deserialize_value(json.dumps(data))))
    return spec


def _rename_keys(data: Any, household: str) -> Any:
    """Rename the asset keys in serialized data."""
    if isinstance(data, list):
        return [_rename_keys(one, household) for one in data]
    if not isinstance(data, dict):
        return data
    if data.get("__class__") == "AssetKey":
        return data | {"path": [household, *data["path"]]}
    return {name: _rename_keys(one, household) for name, one in data.items()}


def _rename_pool(op: dg.OpDefinition, household: str) -> dg.OpDefinition:
    if op.pool is None:
        return op
    # Dagster can copy an op with another name, but not with another pool.
    renamed = copy.copy(op)
    renamed._pool = scoped(household, op.pool)
    return renamed
