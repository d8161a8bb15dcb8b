"""The executor of all jobs: steps run in the process of the run, which is completed with the partitions it lacks."""

from collections.abc import Iterator
from typing import Any, cast

import dagster as dg

from aperture_dagster.instance.private import with_run
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.partitions import PARTITION_TAGS, range_tags
from aperture_dagster.settings import load_settings


class _ForEverybody(dg.Executor):
    """An executor that adds the partitions that a run lacks, and leaves the steps to another executor.

    Dagster fails such a run in each step that reads a partitioned asset, before the asset's own function is called.
    """

    def __init__(self, steps: dg.Executor) -> None:
        self._steps = steps

    @property
    def retries(self) -> Any:
        """Return the mode of retries, whose type Dagster does not export."""
        return self._steps.retries

    @property
    def step_dependency_config(self) -> Any:
        """Return what steps wait for, whose type Dagster does not export."""
        return self._steps.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Execute the steps of a run.

        Raises:
            MissingPrerequisite: the run is for all users, and there are none; or it doesn't reach the home.
        """
        _require_home(plan_context.dagster_run, plan_context.instance)
        run = _completed(plan_context.dagster_run, plan_context.job.get_definition(), plan_context.instance)
        yield from self._steps.execute(with_run(plan_context, run), execution_plan)


def _require_home(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    # Not loaded with the definitions, which need no database.
    from aperture_dagster.instance.dead_runs import storage_with_locks
    from aperture_dagster.instance.home_marker import require_home

    storage = storage_with_locks(instance)
    if storage is None:
        return
    try:
        require_home(storage, load_settings())
    except MissingPrerequisite:
        instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})
        raise


def _completed(run: dg.DagsterRun, job: dg.JobDefinition, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return a run of a partitioned job without a partition as one for all users, or for today if they are days.

    The stored run gets the tags as well.
    """
    partitions = job.partitions_def
    if partitions is None or not PARTITION_TAGS.isdisjoint(run.tags):
        return run
    keys = partitions.get_partition_keys(dynamic_partitions_store=instance)
    if not keys:
        # Dagster would take it for a crash, and run it again.
        instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})
        raise MissingPrerequisite("No users take part yet: run sync_users.")
    tags = range_tags(keys[0] if isinstance(partitions, dg.DynamicPartitionsDefinition) else keys[-1], keys[-1])
    instance.add_run_tags(run.run_id, tags)
    return run.with_tags({**run.tags, **tags})


def _create(context: dg.InitExecutorContext) -> dg.Executor:
    # A step takes a few hundredths of a second in the run's own process; a process of its own costs two seconds.
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return _ForEverybody(create(context))


executor = dg.ExecutorDefinition(
    dg.in_process_executor.name,
    config_schema=cast("Any", dg.in_process_executor.config_schema),
    executor_creation_fn=_create,
    description=dg.in_process_executor.description,
)
