"""The files of ``deploy/households`` say what the product and its documentation say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import process_workspace_config

from aperture_dagster.cli.up import LOOPS
from aperture_dagster.settings import Settings, environment_names
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.households.deployment import FILES

PAGE = PROJECT / "docs" / "many-households.md"


def test_the_instance_differs_from_that_of_a_single_household_in_concurrency_and_threads_only():
    ours, single = (yaml.safe_load(path.read_text()) for path in (FILES / "dagster.yaml", PROJECT / "dagster.yaml"))
    runs, runs_of_one = (one.pop("concurrency")["runs"] for one in (ours, single))
    for loop in ("sensors", "schedules"):
        assert ours.pop(loop)["use_threads"], "a household whose code server hangs holds up nobody else"
    assert ours["run_queue"].pop("dequeue_use_threads"), "nor may its runs"
    del ours["run_queue"]["dequeue_num_workers"]
    assert ours == single
    config, _ = dagster_instance_config(str(FILES))
    assert config["run_queue"]["dequeue_num_workers"] == 4, "Dagster accepts all of it"
    limits = {one["key"]: one for one in runs["tag_concurrency_limits"]}
    assert limits["aperture/household"] == {
        "key": "aperture/household", "value": {"applyLimitPerUniqueValue": True}, "limit": 3
    }  # fmt: skip
    assert limits["aperture/household"]["limit"] == runs_of_one["max_concurrent_runs"], "as many as a single one has"
    assert limits["dagster/priority"]["limit"] < runs["max_concurrent_runs"], "first lists never wait for enrichment"
    assert limits["aperture/one_at_a_time"]["limit"] == 1


def test_each_location_is_named_after_its_household_and_has_its_socket():
    config = yaml.safe_load((FILES / "workspace.yaml").read_text())
    assert process_workspace_config(config).success
    servers = [one["grpc_server"] for one in config["load_from"]]
    unit = (FILES / "aperture-household@.service").read_text()
    assert "--location-name %i" in unit and "Environment=APERTURE_HOUSEHOLD=%i" in unit
    (socket,) = re.findall(r"--socket (\S+)", unit)
    for server in servers:
        assert server["socket"] == socket.replace("%i", server["location_name"])
    assert len(servers) == 2


@pytest.mark.parametrize("name", ["household.env.example", "dagster.env.example"])
def test_the_examples_name_settings_that_exist(name: str):
    known = {variable for setting in Settings.model_fields for variable in environment_names(setting)}
    named = re.findall(r"^(\w+)=", (FILES / name).read_text(), re.MULTILINE)
    assert named and set(named) <= known
    assert "APERTURE_HOUSEHOLD" not in named, "the unit names it"


def test_the_daemon_looks_as_often_as_that_of_aperture_up():
    unit = (FILES / "aperture-daemon.service").read_text()
    for name, seconds in LOOPS.items():
        assert f"{name}={seconds}" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path):
    for unit in (*FILES.glob("*.service"), *FILES.glob("*.target")):
        # The programs are not where a host has them.
        shutil.copy(unit, tmp_path)
        text = (tmp_path / unit.name).read_text()
        (tmp_path / unit.name).write_text(re.sub("/opt/aperture/bin/[a-z-]+", "/bin/true", text))
    units = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_every_file():
    text = PAGE.read_text()
    for file in FILES.iterdir():
        assert file.name in text, file.name
