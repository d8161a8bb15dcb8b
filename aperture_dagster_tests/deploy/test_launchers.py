"""The configurations for other launchers are ours but for the launcher, and those launchers accept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type

from aperture_dagster.instance.home import STORAGE
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy.compose_file import COMPOSE

ENGINES = PROJECT / "deploy" / "engines"
VARIABLES = (
    "RUN_IMAGE", "RUN_NETWORK", "RUN_INNER_NETWORK", "RUN_NAMESPACE", "CELERY_BROKER", "CELERY_BACKEND",
)  # fmt: skip
LAUNCHERS = ("docker", "celery", "k8s")


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_configuration_differs_from_ours_by_the_launcher_alone(name: str):
    given, ours = read(ENGINES / name / "dagster.yaml"), read(PROJECT / "dagster.yaml")
    assert given.pop("run_launcher") != ours.pop("run_launcher")
    assert given == ours
    # By this line, it is known to be made from ours.
    assert STORAGE in (ENGINES / name / "dagster.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_launcher_accepts_its_configuration(name: str, monkeypatch: pytest.MonkeyPatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "given")
    launcher = read(ENGINES / name / "dagster.yaml")["run_launcher"]
    module = pytest.importorskip(launcher["module"])
    accepted = resolve_to_config_type(getattr(module, launcher["class"]).config_type())
    assert not (process_config(accepted, launcher["config"]).errors or [])
    wrong = launcher["config"] | {"imagee": "a slip"}
    assert process_config(accepted, wrong).errors


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_extra_of_a_launcher_is_pinned_with_hashes(name: str):
    lines = (PROJECT / "deploy" / f"requirements-{name}.txt").read_text(encoding="utf-8")
    assert f"dagster-{name}==" in lines and "--hash=sha256:" in lines
    base = (PROJECT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    twice = {line.split()[0] for line in lines.splitlines() if "==" in line} & set(base.split())
    assert not twice, "the image has them anyway"


def test_the_file_of_compose_names_the_volumes_and_networks_that_runs_mount():
    added, services = read(ENGINES / "docker" / "compose.yaml"), read(COMPOSE)
    assert added["services"].keys() <= services["services"].keys()
    assert added["volumes"].keys() <= services["volumes"].keys()
    launcher = read(ENGINES / "docker" / "dagster.yaml")["run_launcher"]["config"]
    mounted = {volume.partition(":")[0] for volume in launcher["container_kwargs"]["volumes"]}
    assert mounted == {volume["name"] for volume in added["volumes"].values()}
    given = added["x-launches"]["environment"]
    networks = {network["name"] for network in added["networks"].values()}
    assert networks == {given["RUN_INNER_NETWORK"], given["RUN_NETWORK"]}
