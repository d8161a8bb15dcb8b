"""How assets report: metadata that the UI shows, and a closing log line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from aperture_dagster.automation import FROM_AUTOMATION
from aperture_dagster.instance.failures import LONGEST_REASON, step_name
from aperture_dagster.instance.markdown import NOTHING, arranged, cell
from aperture_dagster.model import counted
from aperture_dagster.progress import keep_result
from aperture_dagster.worklist.services import Service
from aperture_dagster.worklist.source import Source

SHOWN_PROBLEMS = 20
SHOWN_NAMES = 3


def table(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> dg.MetadataValue:
    """Show records as a table on the asset's page."""
    if not records:
        return NOTHING
    names = list(columns or records[0])
    rows = [dg.TableRecord({name: cell(record.get(name)) for name in names}) for record in records]
    types = {name: _column_type([row.data[name] for row in rows]) for name in names}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, types[name]) for name in names])
    return dg.MetadataValue.table(rows, schema=schema)


def materialized(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Any], *, version: str | None = None
) -> dg.MaterializeResult:
    """Build the result of an asset, and log its totals.

    ``metadata`` holds numbers with stable keys and tables, which are :func:`arranged`; ``version`` is a hash of the
    content that other assets read: equal content starts nothing downstream.
    """
    names = {"dagster/row_count": "rows", "rows_written": "rows written", "requests": "requests sent"}
    names["rows_freed"] = "rows and files deleted"
    failures = {"unreadable": "could not be read", "errors": "failed"}
    totals = {what: metadata[key] for key, what in names.items() if key in metadata}
    log_totals(context, totals | {what: metadata[key] for key, what in failures.items() if metadata.get(key)})
    # Metadata of the result would be kept twice: in the event of the step's output, too.
    context.add_asset_metadata(arranged(metadata))
    return dg.MaterializeResult(data_version=dg.DataVersion(version) if version else None)


def skipped(
    context: dg.AssetExecutionContext, service: Service, version: str, *, without: str | None = None
) -> dg.MaterializeResult:
    """Return the result of a service that has no key, after logging what is missing ``without`` it.

    The asset counts as materialized, with the ``version`` of the rows that are there, so what waits for it continues.
    """
    reason = f"skipped: {service.key_setting} is not set"
    context.log.warning(f"{reason}; {without or service.without_key}.")
    return materialized(context, {"skipped": reason, "rows_written": 0, "requests": 0}, version=version)


def log_waiting(context: dg.AssetExecutionContext, source: Source) -> Callable[[float], None]:
    """Return a function that logs, at first and then every minute, that another run uses the source."""

    def waiting(seconds: float) -> None:
        if int(seconds) % 60 == 0:
            context.log.info(f"Another run is asking {source.label}; waiting for it ({seconds:.0f} s so far).")

    return waiting


def warn_unless(passed: bool, description: str, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Return the result of a check that warns; ``description`` says what is amiss, and is empty if nothing is."""
    return dg.AssetCheckResult(
        passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata, description=description or None
    )


def is_brief(context: dg.AssetExecutionContext) -> bool:
    """Tell whether a run was started by a change. Such runs are frequent, so they show less than the nightly ones."""
    return FROM_AUTOMATION in context.run.tags


def latest_materialization(context: dg.AssetCheckExecutionContext) -> dg.AssetMaterialization | None:
    """Return the latest materialization of the asset that a check looks at."""
    event = context.instance.get_latest_materialization_event(context.check_specs[0].asset_key)
    return event.asset_materialization if event is not None else None


def latest_numbers(context: dg.AssetCheckExecutionContext, names: Sequence[str]) -> dict[str, int]:
    """Read whole numbers from the metadata of that materialization; those that are missing are 0."""
    made = latest_materialization(context)
    values = {name: made.metadata.get(name) if made is not None else None for name in names}
    return {name: (value.value or 0) if isinstance(value, dg.IntMetadataValue) else 0 for name, value in values.items()}


def log_totals(context: dg.OpExecutionContext | dg.AssetExecutionContext, totals: Mapping[str, int]) -> None:
    """Log the closing line of a step, and keep it as its result; nothing if there is nothing to count."""
    if totals:
        done = f"{', '.join(counted(count, what) for what, count in totals.items())}."
        context.log.info(f"Done: {done}")
        keep_result(context.run.run_id, step_name(context), done)


def problems_table(problems: Sequence[str]) -> dict[str, Any]:
    """Show what could not be read: always the number, and a table if there is any."""
    shown = (
        {"unreadable_items": table([{"problem": problem} for problem in problems[:SHOWN_PROBLEMS]])} if problems else {}
    )
    return {**shown, "unreadable": len(problems)}


def warn_of_unreadable(context: dg.AssetExecutionContext, what: str, problems: Sequence[str], *, read: int) -> None:
    """Log how many could not be read, and what is wrong with the first."""
    if problems:
        context.log.warning(
            f"{len(problems):,} of {len(problems) + read:,} {what} could not be read and were left as they are. "
            f"The first: {problems[0][:LONGEST_REASON]}."
        )


def _column_type(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    for name, types in (("bool", bool), ("int", int), ("float", (int, float))):
        if known and all(isinstance(value, types) for value in known):
            return name
    return "string"
