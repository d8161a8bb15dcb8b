"""The templates for a NAS are what ``deploy/compose.yaml`` says, in the form that each takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as xml

import pytest
import yaml
from jsonschema import Draft7Validator

from aperture_dagster.settings import known_variables
from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.deploy.compose_file import HOUSEHOLD, read_compose, read_env_file

FOLDER = PROJECT / "deploy" / "nas"
SCHEMA = Path(__file__).with_name("compose-spec.json")
DIFFERS = {"env_file", "environment", "user", "ports", "volumes"}
"""What a NAS takes in another form, or has values of its own for."""


@pytest.fixture(scope="module")
def nas() -> ModuleType:
    return load_script("tools/nas.py")


@pytest.fixture(scope="module")
def household() -> dict[str, Any]:
    return read_compose({}, HOUSEHOLD)["services"]["aperture"]


def test_the_templates_are_as_they_would_be_written_now(nas: ModuleType):
    assert {path.name for path in FOLDER.iterdir()} == set(nas.TEMPLATES)
    for name, make in nas.TEMPLATES.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == make(nas.read_service()), f"{name}: run `make nas`"
    assert list(nas.SETTINGS) == list(read_env_file())


@pytest.mark.parametrize("name", ["portainer.yaml", "synology.yaml", "truenas.yaml"])
def test_a_stack_is_valid_and_has_the_folders_and_rights_of_a_household(name: str, household: dict[str, Any]):
    document = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).is_valid(document)
    one = read_compose({}, FOLDER / name)["services"]["aperture"]
    # Container Manager shows the lines of its own driver only.
    differs = DIFFERS | ({"logging"} if name == "synology.yaml" else set())
    assert {key: one[key] for key in one.keys() - differs} == {
        key: household[key] for key in household.keys() - differs
    }
    assert ("logging" in one) == (name != "synology.yaml")
    assert re.fullmatch(r"\d+:\d+", one["user"]) and one["ports"] == ["127.0.0.1:3000:3000"]
    volumes = [volume.split(":") for volume in one["volumes"]]
    assert [target for _, target in volumes[:2]] == [volume.split(":")[1] for volume in household["volumes"][:2]]
    # The media server finds what is published under the same path.
    assert name == "portainer.yaml" or volumes[2][0] == volumes[2][1]
    named = {source for source, _ in volumes if not source.startswith("/")}
    assert named == set(document.get("volumes", ()))


def test_the_template_of_unraid_is_complete(household: dict[str, Any]):
    root = xml.parse(FOLDER / "unraid.xml").getroot()
    assert (root.tag, root.get("version")) == ("Container", "2")
    assert root.findtext("Repository") == household["image"]
    rights = root.findtext("ExtraParams") or ""
    for word in (
        "--user 99:100",
        "--read-only",
        "--tmpfs /tmp",
        "--cap-drop ALL",
        "no-new-privileges:true",
        "--ulimit nofile=",
    ):
        assert word in rights
    by_kind: dict[str, list[xml.Element]] = {}
    for one in root.iter("Config"):
        assert set(one.attrib) == {"Name", "Target", "Default", "Mode", "Type", "Display", "Required", "Mask"}
        by_kind.setdefault(one.attrib["Type"], []).append(one)
    assert [one.attrib["Target"] for one in by_kind["Path"]][:2] == ["/var/lib/aperture", "/var/lib/aperture/backups"]
    variables = {one.attrib["Target"]: one for one in by_kind["Variable"]}
    assert set(variables) <= known_variables() and set(read_env_file()) <= set(variables)
    assert {name for name, one in variables.items() if one.attrib["Mask"] == "true"} == {
        "APERTURE_MEDIA_SERVER_API_KEY", "TMDB_API_KEY"
    }  # fmt: skip
    assert variables["APERTURE_PUBLISH_ROOT"].text == by_kind["Path"][2].text == by_kind["Path"][2].attrib["Target"]


def test_the_file_for_a_network_of_another_project_joins_it_and_keeps_its_own():
    page = (PROJECT / "docs/containers.md").read_text("utf-8")
    (shown,) = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    Draft7Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(shown)
    ((service, joins),) = shown["services"].items()
    assert service in read_compose({}, HOUSEHOLD)["services"]
    assert set(joins["networks"]) == {"default", *shown["networks"]}
    assert all(network["external"] for network in shown["networks"].values())
