"""The configurations for other launchers are ours but for the launcher, and those launchers accept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type

from aperture_dagster.instance.home import STORAGE
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy.compose_file import COMPOSE
from aperture_dagster_tests.marks import ANOTHER_CASE

ENGINES = PROJECT / "deploy" / "engines"
VARIABLES = (
    "RUN_IMAGE", "RUN_NETWORK", "RUN_INNER_NETWORK", "RUN_NAMESPACE", "CELERY_BROKER", "CELERY_BACKEND",
)  # fmt: skip
LAUNCHERS = ("docker", "celery", "k8s")


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(ENGINES.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_key_is_written_twice(path: Path):
    # Compose refuses such a file; Python takes the last one.
    def require_unique(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), keys
        for part in node.value if isinstance(node, yaml.CollectionNode) else []:
            for child in part if isinstance(part, tuple) else [part]:
                require_unique(child)

    require_unique(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_configuration_differs_from_ours_by_the_launcher_alone(name: str):
    given, ours = read(ENGINES / name / "dagster.yaml"), read(PROJECT / "dagster.yaml")
    assert given.pop("run_launcher") != ours.pop("run_launcher")
    assert given == ours
    # By this line, it is known to be made from ours.
    assert STORAGE in (ENGINES / name / "dagster.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["docker", *(pytest.param(name, marks=ANOTHER_CASE) for name in ("celery", "k8s"))])
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


CLUSTER = """
{apiVersion: v1, kind: Config, current-context: none, users: [],
 clusters: [{name: none, cluster: {server: "https://192.0.2.1"}}],
 contexts: [{name: none, context: {cluster: none, user: none}}]}
"""


def test_a_job_of_kubernetes_reaches_the_home_and_the_settings_and_holds_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kubernetes = pytest.importorskip("dagster_k8s")
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

    for variable in VARIABLES:
        monkeypatch.setenv(variable, f"given-{variable}")
    monkeypatch.setenv("APERTURE_DATABASE_URL", "postgresql://aperture:a-password@postgres/aperture")
    (tmp_path / "kubeconfig").write_text(CLUSTER, encoding="utf-8")
    config = read(ENGINES / "k8s" / "dagster.yaml")["run_launcher"]["config"]
    given: Any = process_config(resolve_to_config_type(kubernetes.K8sRunLauncher.config_type()), config).value
    # Outside of a cluster, and nothing asks it.
    outside = {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    launcher = kubernetes.K8sRunLauncher.from_config_value(None, {**given, **outside})
    context = K8sContainerContext.create_for_run(dg.DagsterRun("some_job"), launcher, include_run_tags=False)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image=None, run_launcher=launcher),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        user_defined_k8s_config=context.run_k8s_config,
    ).to_dict()

    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {one["mount_path"]: one["name"] for one in container["volume_mounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    home = volumes[mounted["/var/lib/aperture"]]
    assert home["persistent_volume_claim"]["claim_name"] == "aperture-home"
    assert pod["security_context"]["run_as_user"] == 1000 and pod["service_account_name"] == "aperture"
    assert container["image"] == "given-RUN_IMAGE" and container["resources"]["limits"] == {"memory": "1Gi"}
    named = {
        (one.get(kind) or {}).get("name") for one in container["env_from"] for kind in ("config_map_ref", "secret_ref")
    }
    assert {"aperture-settings", "aperture-secrets"} <= named
    # What anybody may read who may list jobs.
    assert "a-password" not in str(job)
    # Dagster starts a run again, and nobody else may.
    assert job["spec"]["backoff_limit"] == 0 and pod["restart_policy"] == "Never"
