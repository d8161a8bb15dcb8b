"""The runs of the demo are found again in the UI."""

from __future__ import annotations

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from aperture_dagster.cli import up
from aperture_dagster.cli.cycle import run_one
from aperture_dagster.jobs import Job
from aperture_dagster.settings import Settings


def test_a_run_of_the_demo_belongs_to_its_job_in_the_ui(settings: Settings):
    """The UI looks for the runs of a job by the name of the repository that holds it."""

    @dg.asset
    def films() -> None: ...

    job = Job("sync_films", "Read films.", ("films",))
    built = job.build(without=dg.AssetSelection.checks(), description=job.description)
    definitions = dg.Definitions([films], jobs=[built], executor=dg.in_process_executor)
    label = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(up.LOCATION), "__repository__").get_label()
    with dg.DagsterInstance.ephemeral() as instance:
        run_one(definitions, instance, job, settings)
        (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_films", tags={".dagster/repository": label}))
        assert run.is_success
