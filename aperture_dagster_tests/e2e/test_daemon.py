"""With a running daemon: a backfill of some users, and new users who get their first lists in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.partitions import USERS
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster.simulator.environment import environment as speaking_to_the_stand_ins
from aperture_dagster_tests.chaos import demo_assets
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.processes import all_gone, processes_of, running
from aperture_dagster_tests.waiting import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly(
        reason="A dozen runs, each in a process of its own: a minute of processor time.",
        instead="e2e/test_demo_and_up.py::test_the_lists_of_a_demo_are_in_the_ui",
    ),
]

BIN = Path(sys.executable).parent
WORLD = "generated:movies=40,series=4,episodes=20,plays=100"


def steps_with_a_closing_line(instance: dg.DagsterInstance) -> set[str]:
    """Return the steps of all runs that ended with a line about their result."""
    entries = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    closing = [entry for entry in entries if not entry.is_dagster_event and entry.user_message.startswith("Done: ")]
    assert all(" row" in entry.user_message for entry in closing)
    return {entry.step_key for entry in closing if entry.step_key is not None}


def test_a_backfill_completes_and_the_sensor_serves_new_users_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from aperture_dagster.storage.connection import close_engine, product_database_url
    from aperture_dagster.storage.embedded import release_embedded_server

    home, port_file, temporary = tmp_path / "home", tmp_path / "port", tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(temporary),
        "DAGSTER_HOME": str(PROJECT),
        "APERTURE_HOME": str(home),
        "APERTURE_CONFIG": os.devnull,
        "APERTURE_TIMEZONE": "UTC",
        UNMODELLED_LOG: os.environ[UNMODELLED_LOG],
    }
    simulator = [sys.executable, "-m", "aperture_dagster.simulator", "--world", WORLD, "--users", "3"]
    simulator += ["--port-file", str(port_file)]
    try:
        with running(simulator, environment, tmp_path / "simulator.log"):
            wait_for(port_file.exists, "the stand-ins did not start")
            root = f"http://127.0.0.1:{port_file.read_text().strip()}"
            environment |= speaking_to_the_stand_ins(root)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            settings = load_settings()
            with dg.DagsterInstance.get() as instance:
                house = Household(settings, instance)
                house.cycle(skip=("refresh_top_picks",))
                users = house.everyone()
                assert len(users) == 3
                # Measuring the lists writes no rows that could be counted.
                expected = demo_assets() - {"top_picks", "top_picks_libraries", "recommendation_quality"}
                assert steps_with_a_closing_line(instance) == expected
                backfill = [
                    BIN / "dagster",
                    "job",
                    "backfill",
                    "-w",
                    "workspace.yaml",
                    "-j",
                    "generate_recommendations",
                ]
                daemon = [str(BIN / "dagster-daemon"), "run", "-w", "workspace.yaml"]
                with running(daemon, environment, log := tmp_path / "daemon.log") as process:
                    asked = subprocess.run(
                        [*backfill, "--partitions", ",".join(users), "--noprompt"],
                        env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=240,
                    )  # fmt: skip
                    assert asked.returncode == 0, asked.stderr

                    def done(job: str, key: str = "dagster/partition", **tags: str) -> list[str]:
                        """Return the partitions of the finished runs of a job, as one of their tags says."""
                        assert process.poll() is None, log.read_text()
                        runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=tags))
                        assert not [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE], log.read_text()
                        return sorted(run.tags[key] for run in runs if run.is_success)

                    backfill_id = asked.stdout.split("`")[1]
                    wait_for(
                        lambda: done("generate_recommendations", **{"dagster/backfill": backfill_id}) == sorted(users),
                        "the backfill did not complete",
                    )
                    assert not done("first_list"), "all users had a list already"

                    today = datetime.now(UTC).date().isoformat()
                    wait_for(
                        lambda: done("refresh_top_picks", "dagster/asset_partition_range_end") == [today],
                        "Top Picks did not follow the first lists",
                    )

                    movies = dg.AssetKey("movies")
                    fresh = wait_for(
                        lambda: instance.get_freshness_state_records([movies]), "nobody looked how old the films are"
                    )
                    assert fresh[movies].freshness_state.value == "PASS"

                    newcomers = ["newcomer", "partner"]
                    for name in newcomers:
                        body = json.dumps({"name": name}).encode()
                        request = urllib.request.Request(f"{root}/_control/add_user", body)
                        with urllib.request.urlopen(request) as answer:
                            assert answer.status == 200
                    house.must("sync_users")
                    assert set(newcomers) <= set(instance.get_dynamic_partitions(USERS))
                    wait_for(
                        lambda: done("first_list", "dagster/asset_partition_range_end") == newcomers[-1:],
                        "the new users got no first lists",
                    )
                    for name in newcomers:
                        assert len(house.titles_for(name)) >= 30
                terminal = log.read_text()
                assert " recommendations: Done: " in terminal, "messages of assets are on the terminal"
                assert " - DEBUG - " not in terminal, "debug messages of the engine are not"
                (run,) = instance.get_runs(dg.RunsFilter(job_name="first_list"))
                kinds = {entry.dagster_event_type for entry in instance.all_logs(run.run_id) if entry.is_dagster_event}
                assert dg.DagsterEventType.STEP_SUCCESS in kinds, "engine events are in the event log"
            close_engine(product_database_url(settings))
    finally:
        release_embedded_server(home / "postgres")
        left = [] if all_gone(tmp_path) else processes_of(tmp_path)
        for one in left:
            one.kill()
    assert not left
