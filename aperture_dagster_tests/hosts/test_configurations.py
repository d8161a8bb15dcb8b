"""The configurations in ``deploy/``: Dagster accepts them, and but for the launcher they are that of one host."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from aperture_dagster.instance import home
from aperture_dagster.settings import Settings, environment_names
from aperture_dagster_tests.conftest import PROJECT

DEPLOY = PROJECT / "deploy"
LAUNCHERS = {
    "celery": ("aperture_dagster.instance.workers", "SettingsCeleryRunLauncher"),
    "kubernetes": ("dagster_k8s", "K8sRunLauncher"),
}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def launcher(engine: str) -> dict[str, Any]:
    return read(DEPLOY / engine / "dagster.yaml")["run_launcher"]


@pytest.mark.parametrize("engine", LAUNCHERS)
def test_dagster_accepts_the_configuration_of_an_engine(engine: str):
    data = InstanceRef.from_dir(str(DEPLOY / engine)).run_launcher_data
    assert data is not None and (data.module_name, data.class_name) == LAUNCHERS[engine]
    schema = getattr(importlib.import_module(data.module_name), data.class_name).config_type()
    accepted = process_config(resolve_to_config_type(schema), yaml.safe_load(data.config_yaml) or {})
    assert accepted.success, accepted.errors


@pytest.mark.parametrize("engine", LAUNCHERS)
def test_but_for_the_launcher_an_engine_has_the_configuration_of_one_host(engine: str):
    own, single = read(DEPLOY / engine / "dagster.yaml"), read(Path(home.__file__).with_name("dagster.yaml"))
    del own["run_launcher"], single["run_launcher"]
    assert own == single


def test_jobs_of_kubernetes_get_settings_that_exist():
    given = {one.partition("=")[0] for one in launcher("kubernetes")["config"]["env_vars"]}
    assert given <= {name for setting in Settings.model_fields for name in environment_names(setting)}
    assert "APERTURE_SHARED_FOLDER" in given


@pytest.mark.parametrize(
    ("tag", "refused"),
    [
        ({"container_config": {"resources": {"requests": {"memory": "2Gi"}}}}, None),
        ({"container_config": {"env": [{"name": "APERTURE_MEDIA_SERVER_URL", "value": "http://evil.example"}]}}, "env"),
        ({"container_config": {"image": "evil.example/image"}}, "image"),
        ({"container_config": {"command": ["sh"]}}, "command"),
        ({"pod_spec_config": {"hostAliases": [{"ip": "10.6.6.6", "hostnames": ["jellyfin.lan"]}]}}, "host_aliases"),
        ({"pod_spec_config": {"dnsPolicy": "None"}}, "dns_policy"),
    ],
)
def test_on_kubernetes_the_tags_of_a_run_change_neither_its_program_nor_where_it_sends_keys(
    tag: dict[str, Any], refused: str | None
):
    config = launcher("kubernetes")["config"]
    wanted = K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(tag))
    allowed = config["only_allow_user_defined_k8s_config_fields"], config["only_allow_user_defined_env_vars"]
    if refused is None:
        assert wanted.validate_user_k8s_config_for_run(*allowed) == wanted
    else:
        with pytest.raises(Exception, match=f"violated the allowed list: .*{refused}"):
            wanted.validate_user_k8s_config_for_run(*allowed)
