"""The first hour of a new server, with real processes: a wrong key, its correction, and everybody's first list."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.partitions import USERS, range_tags
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster.simulator.settings import environment as speaking_to_the_stand_ins
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.processes import all_gone, processes_of, running
from aperture_dagster_tests.webserver import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
    pytest.mark.nightly(
        reason="The demo's whole household is served by processes, twice started: minutes of processor time.",
        instead="e2e/test_demo_and_up.py::test_the_lists_of_a_demo_are_in_the_ui",
    ),
]

FIRST_READS = ("sync_users", "sync_movies", "sync_series")
LONGEST_LOG = 60
# Nothing is wrong with a slow machine as long as runs go on ending.
PATIENCE_SECONDS = 240.0


class NewServer:
    """A home on which `aperture up` is started, and what is recorded there."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.log = folder / "up.log"

    @contextmanager
    def up(self, instance: dg.DagsterInstance, **changed: str) -> Iterator[Callable[..., Any]]:
        """Run `aperture up` until the block ends; yields a function that waits for something to be true."""
        port = free_port()
        words = [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--port", str(port)]
        with running(words, self.environment | changed, self.log, seconds=90) as process:

            def wait_for(what: Callable[[], Any]) -> Any:
                ended, since = -1, time.monotonic()
                while not (answer := what()):
                    assert process.poll() is None, self.log.read_text()
                    now_ended = sum(run.is_finished for run in instance.get_runs())
                    if now_ended != ended:
                        ended, since = now_ended, time.monotonic()
                    assert time.monotonic() - since < PATIENCE_SECONDS, self.log.read_text()
                    time.sleep(0.5)
                return answer

            yield wait_for


@contextmanager
def stand_ins(folder: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Run the stand-ins, with the demo's world, in a process of their own; yields the settings that point at them."""
    port_file, generous = folder / "port", ["--omdb-daily-limit=1000000", "--mdblist-daily-limit=1000000"]
    words = [sys.executable, "-m", "aperture_dagster.simulator", "--world", "demo", "--port-file", str(port_file)]
    with running([*words, *generous], environment, folder / "stand-ins.log") as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not port_file.exists():
            assert process.poll() is None and time.monotonic() < deadline, "the stand-ins did not start"
            time.sleep(0.1)
        root = f"http://127.0.0.1:{port_file.read_text().strip()}"
        more = {f"APERTURE_{service}_DAILY_LIMIT": "1000000" for service in ("OMDB", "MDBLIST")}
        yield speaking_to_the_stand_ins(root) | more


def ended(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    """Return the finished runs of a job, the first one first; fails if another job's run failed unexpectedly."""
    return [run for run in reversed(instance.get_runs(dg.RunsFilter(job_name=job))) if run.is_finished]


def materializations(instance: dg.DagsterInstance, asset: str) -> list[dg.AssetMaterialization]:
    """Return the materializations of an asset, the newest first."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
    return [record.asset_materialization for record in records if record.asset_materialization is not None]


def test_a_new_server_has_everybodys_first_list_soon_after_its_key_was_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
):
    from aperture_dagster.postgres.connection import close_engine, product_database_url
    from aperture_dagster.postgres.embedded import release_embedded_server

    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(PROJECT),
        "DAGSTER_HOME": str(PROJECT),
        "APERTURE_HOME": str(home),
        "APERTURE_TIMEZONE": "UTC",
        UNMODELLED_LOG: os.environ[UNMODELLED_LOG],
    }
    try:
        with stand_ins(tmp_path, environment) as services:
            for name, value in (environment | services).items():
                monkeypatch.setenv(name, value)
            settings = load_settings()
            server = NewServer(tmp_path, environment | services)
            with dg.DagsterInstance.get() as instance:
                with server.up(instance, APERTURE_MEDIA_SERVER_API_KEY="a-wrong-key") as wait_for:
                    wait_for(lambda: all(ended(instance, job) for job in FIRST_READS))
                said = server.log.read_text()
                assert "APERTURE_MEDIA_SERVER_API_KEY" in said, said
                assert not any(run.is_success for job in FIRST_READS for run in ended(instance, job))
                failed = {job: len(ended(instance, job)) for job in FIRST_READS}

                started = time.monotonic()
                with server.up(instance) as wait_for:
                    partitions = wait_for(lambda: instance.get_dynamic_partitions(USERS))
                    wait_for(lambda: _served(instance, "recommendations") == set(partitions))
                    record_property("seconds_to_first_lists", round(time.monotonic() - started))
                    house = Household(settings, instance)
                    # A run that automation has requested, and not started yet, would be lost to what follows.
                    wait_for(lambda: all(materializations(instance, asset) for asset in _made_in_the_first_hour(house)))
                    wait_for(lambda: all(run.is_finished for run in instance.get_runs()))
                    record_property("seconds_to_everything", round(time.monotonic() - started))
                lines = [line for line in server.log.read_text().splitlines() if line.strip()]

                unsuccessful = [run.job_name for run in instance.get_runs() if not run.is_success]
                assert sorted(unsuccessful) == sorted(job for job in FIRST_READS for _ in range(failed[job]))
                for job in FIRST_READS:
                    assert len(ended(instance, job)) == failed[job] + 1, "asked again once, and at once"
                assert len(partitions) == 12
                (first_list,) = ended(instance, "first_list")
                served = (first_list.tags[tag] for tag in range_tags("first", "last"))
                assert tuple(served) == (partitions[0], partitions[-1]), "one run for all newcomers"

                for user in house.rows("SELECT name FROM users u JOIN recommendations r USING (user_id) GROUP BY 1"):
                    assert len(house.titles_for(user["name"])) >= 10, user
                assert house.value("SELECT count(DISTINCT user_id) FROM recommendations") == 12

                titles = house.value("SELECT count(*) FROM enriched_metadata")
                assert titles == 457
                (embedded,) = materializations(instance, "embeddings")
                assert embedded.metadata["embedded"].value == titles, "each title was embedded once"
            close_engine(product_database_url(settings))
    finally:
        release_embedded_server(home / "postgres")
        left = [] if all_gone(tmp_path) else processes_of(tmp_path)
        for one in left:
            one.kill()
    assert not left
    record_property("lines", len(lines))
    assert len(lines) < LONGEST_LOG, "\n".join(lines)


def _served(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def _made_in_the_first_hour(house: Household) -> list[str]:
    """Return the assets that are made without waiting for the night, or for somebody to start them."""
    graph = house.definitions.resolve_asset_graph()
    starting = [job for job in all_jobs(house.settings) if job.first_run or job.scope == "newcomers"]
    started = {asset for job in starting for asset in job.assets}
    names = {key.to_user_string(): graph.get(key).automation_condition for key in graph.materializable_asset_keys}
    return [name for name, condition in names.items() if name in started or condition is not None]
