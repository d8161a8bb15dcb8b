"""What exists and when it is made, a file or folder per group. Assets are thin: read, compute, write, report."""

import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import dagster as dg

# The beta features that the project relies on, each knowingly; any other still warns.
BETA = ("backfill_policy", "CodeReferencesMetadataValue", "LocalFileCodeReference")
for feature in BETA:
    warnings.filterwarnings("ignore", message=f".*`{feature}`", category=dg.BetaWarning)


ROOT = Path(__file__).parent
T = TypeVar("T")


def with_added(product: dg.Definitions) -> dg.Definitions:
    """Add the definitions of all files that are in no group; a group declares what belongs to it."""
    modules = [import_module(f"{__package__}.{name}") for name in _names_of_files()]
    # A file may import the assets that its own depend on.
    keys = {key for asset in product.assets or () for key in _keys_of(asset)}
    assets = [asset for asset in dg.load_assets_from_modules(modules) if not keys & set(_keys_of(asset))]
    checks = [
        check for check in dg.load_asset_checks_from_modules(modules) if check not in (product.asset_checks or ())
    ]
    added = dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=_of_type(modules, dg.JobDefinition),
        schedules=_of_type(modules, dg.ScheduleDefinition),
        sensors=_of_type(modules, dg.SensorDefinition),
    )
    return dg.Definitions.merge(product, added)


def _names_of_files() -> list[str]:
    files = [path.relative_to(ROOT).with_suffix("") for path in sorted(ROOT.rglob("*.py"))]
    names = [file.parts for file in files if file.name != "__init__"]
    grouped = {first for first in {name[0] for name in names} if _is_group(first)}
    return [".".join(name) for name in names if name[0] not in grouped]


def _is_group(name: str) -> bool:
    module = import_module(f"{__package__}.{name}")
    return hasattr(module, "GROUP") or hasattr(module, "group")


def _keys_of(asset: object) -> list[dg.AssetKey]:
    if isinstance(asset, dg.AssetsDefinition):
        return list(asset.keys)
    return [asset.key] if isinstance(asset, (dg.AssetSpec, dg.SourceAsset)) else []


def _of_type(modules: list[ModuleType], kind: type[T]) -> list[T]:
    return [value for module in modules for value in vars(module).values() if isinstance(value, kind)]
