"""A first whole cycle."""
from datetime import UTC, datetime

import dagster as dg

from aperture_dagster.build import build_definitions
from aperture_dagster.simulator.demo_world import load_demo_world


def test_the_catalogue_is_read(serve):
    with serve(load_demo_world(now=datetime.now(UTC))) as (simulator, settings), dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions(settings)
        result = definitions.resolve_job_def("sync_movies").execute_in_process(instance=instance)
        assert result.success
