"""The one place that wires everything. Tests and the demo build the same graph with other parts."""

import difflib
import functools
import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from sqlalchemy.dialects import postgresql

from aperture_dagster.defs import (
    catalogue,
    discovery,
    enrichment,
    maintenance,
    newsletter,
    popularity,
    publishing,
    ratings,
    taste,
)
from aperture_dagster.defs.daily_checks import daily_checks_job, daily_checks_schedule
from aperture_dagster.defs.resources import RESOURCES, build_resources
from aperture_dagster.defs.schedules import build_schedule
from aperture_dagster.instance.blocking_checks import blocking_checks, upstream_keys
from aperture_dagster.instance.executor import executor
from aperture_dagster.jobs import Group, Job, describe_job
from aperture_dagster.model import Clock
from aperture_dagster.postgres.tables import metadata
from aperture_dagster.sensors import build_sensors
from aperture_dagster.settings import Settings, SettingsError, load_settings

# Whom to ask about an asset, on an instance that has other programs, too.
OWNER = "team:aperture"


def build_definitions(
    settings: Settings | None = None, *, loggers: Mapping[str, dg.LoggerDefinition] | None = None, **resources: Any
) -> dg.Definitions:
    """Build the definitions from the settings of the environment and ``.env``, unless others are given.

    ``loggers`` say where runs log, besides the event log (default: Dagster's console); ``resources`` replace the usual
    parts by name, such as ``clock`` or ``embedder``.

    Raises:
        SettingsError: a setting is misspelt or impossible, or names a job that does not exist.
        TypeError: a part of that name does not exist.
    """
    # numpy is not loaded yet. Its threads wait for each other by computing, which costs a busy home server three times
    # the processor time. Whoever has cores to spare may set another number.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = settings or load_settings()
    clock = resources.get("clock") or Clock()
    if unknown := resources.keys() - RESOURCES.keys():
        raise TypeError(f"build_definitions() has no part {', '.join(unknown)}: there are {', '.join(RESOURCES)}.")
    parts = build_resources(settings, **resources)
    groups = build_groups(settings)
    jobs = [job for group in groups for job in group.jobs]
    # What a job that is off does not make cannot be late.
    active = [job for job in jobs if job.why_off(settings) is None]
    declared = [asset for group in groups for asset in group.assets]
    complete = functools.partial(_complete, jobs=active, timezone=settings.schedule_timezone)
    assets = [
        completed
        for asset in declared
        for completed in dg.map_asset_specs(functools.partial(complete, code=_code(asset)), [asset])
    ]
    checks = [check for group in groups for check in group.checks]
    specs = [spec for check in checks for spec in check.check_specs]
    _refuse_unknown_jobs(settings, jobs)
    built = {job.name: job.build(description=describe_job(job, settings)) for job in jobs}
    blocking = blocking_checks(checks)
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[*built.values(), daily_checks_job(specs)],
        schedules=[
            *(
                build_schedule(job, settings, clock, upstream_keys(assets, job.assets), blocking)
                for job in jobs
                if job.cron is not None
            ),
            daily_checks_schedule(settings),
        ],
        sensors=build_sensors(settings, jobs, built, [spec.key for spec in specs], loaded_at=clock.now()),
        resources={"io_manager": dg.IOManagerDefinition.hardcoded_io_manager(NothingPasses()), **parts},
        loggers=loggers,
        executor=executor,
    )


class NothingPasses(dg.IOManager):
    """Keeps no outputs of steps: assets write to the database themselves, and none reads what another returns.

    Dagster's default would let a run name a folder for pickled objects. With its ``mem_io_manager``, no run could be
    resumed in a later step, as retries do after a host was lost.
    """

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> None:
        """Raise TypeError: there is nothing to load."""
        raise TypeError(f"{context.name}: nothing passes between steps; read it from the database.")


def _refuse_unknown_jobs(settings: Settings, jobs: Sequence[Job]) -> None:
    names = [job.name for job in jobs if job.cron is not None]
    for name in settings.schedules:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(names)}."
            raise SettingsError(f"APERTURE_SCHEDULES: no scheduled job is named {name!r}; {hint}")


def build_groups(settings: Settings) -> list[Group]:
    """Return the groups in the order in which a new installation runs their jobs."""
    groups = [
        catalogue.GROUP,
        enrichment.GROUP,
        ratings.GROUP,
        taste.GROUP,
        popularity.group(settings),
        discovery.GROUP,
        newsletter.GROUP,
        # After the others: it shows what they made.
        publishing.group(settings),
        maintenance.GROUP,
    ]
    return [replace(group, jobs=[job.timed(settings) for job in group.jobs]) for group in groups]


def look_for_garbage_rarely() -> None:
    """Let this process collect cyclic garbage after 20,000 new objects instead of 700.

    Rows and answers are many objects without cycles; reading histories takes a tenth less CPU this way.
    """
    gc.set_threshold(20_000, 10, 10)


def all_jobs(settings: Settings) -> list[Job]:
    """Return the jobs of all groups, in that order."""
    return [job for group in build_groups(settings) for job in group.jobs]


def _code(asset: dg.AssetsDefinition | dg.AssetSpec) -> dict[str, Any]:
    """Return the metadata by which the UI links to an asset's function, in the installed package or checkout.

    ``dg.with_source_code_references`` does the same, but parses every file, which takes a tenth of loading.
    """
    if isinstance(asset, dg.AssetSpec):
        return {}
    function: Any = getattr(asset.op.compute_fn, "decorated_fn", asset.op.compute_fn)
    code = function.__code__
    place = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[place])}


def _complete(spec: dg.AssetSpec, *, jobs: Sequence[Job], timezone: str, code: Mapping[str, Any]) -> dg.AssetSpec:
    """Add what derives from other declarations: owner, code, columns of the asset's table, how old it may become."""
    spec = spec.merge_attributes(metadata=code, owners=[OWNER])
    table = spec.metadata.get("dagster/table_name")
    if table is not None:
        columns = [
            dg.TableColumn(
                column.name,
                column.type.compile(dialect=postgresql.dialect()).lower(),
                column.comment,
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=column.primary_key),
            )
            for column in metadata.tables[table].columns
        ]
        spec = spec.merge_attributes(metadata={"dagster/column_schema": dg.TableSchema(columns)})
    own = [job.name for job in jobs if spec.key.to_user_string() in job.assets]
    if own:
        # The cards of the jobs that make it, on the page beside this UI.
        spec = spec.merge_attributes(
            metadata={f"card of {name}": dg.MetadataValue.url(f"/jobs#{name}") for name in own}
        )
    policies = (job.freshness(timezone) for job in jobs if spec.key.to_user_string() in job.assets)
    policy = next(filter(None, policies), None)
    return spec.replace_attributes(freshness_policy=policy) if policy is not None else spec
