"""What is installed is what is used: declared dependencies, supported versions, and the size of everything."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.test_structure import imports, modules
from aperture_dagster_tests.waiting import SECONDS
from aperture_dagster_tests.wheels import VERSIONS, build_wheel

# Imported only with a setting that asks for it.
OPTIONAL = {"fastembed"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_dependency_is_imported_and_every_import_is_declared(project: dict[str, Any]):
    owners = packages_distributions()
    imported: dict[str, str] = {}
    for path in modules(""):
        for name in imports(path, for_types=True):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "aperture_dagster":
                # The first owner is enough, but for a namespace that several packages share.
                imported[canonicalize_name(owners.get(top, [top])[0])] = path.name
    declared = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    assert set(imported) - declared - OPTIONAL == set(), {name: imported[name] for name in set(imported) - declared}
    assert declared - set(imported) == set(), "declared, and not imported"


def test_every_dependency_is_pinned_within_its_range(project: dict[str, Any], pinned: dict[str, str]):
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def needed(requirements: list[str]) -> set[str]:
    """Return what has to be installed for some requirements, themselves included."""
    found: set[str] = set()
    left, seen = [Requirement(one) for one in requirements], set()
    while left:
        requirement = left.pop()
        if (key := (canonicalize_name(requirement.name), frozenset(requirement.extras))) not in seen:
            seen.add(key)
            found.add(key[0])
            for also in map(Requirement, distribution(requirement.name).requires or []):
                extras = [{"extra": one} for one in (*requirement.extras, "")]
                if also.marker is None or any(map(also.marker.evaluate, extras)):
                    left.append(also)
    return found


def test_the_image_installs_what_is_pinned_and_only_files_that_were_seen_before(
    project: dict[str, Any], pinned: dict[str, str]
):
    installed: set[str] = set()
    for name in ("requirements.txt", "requirements-build.txt"):
        for part in (PROJECT / "deploy" / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            requirement, *hashes = part.split()
            package, version = requirement.split("==")
            assert pinned[canonicalize_name(package)] == version, f"{package}: run make hashes"
            assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), package
            installed.add(canonicalize_name(package))
    assert installed == needed(project["dependencies"]) - {"uvloop"} | {"setuptools"}, "run make hashes"
    # Otherwise pip would not look at the hashes of all.
    dockerfile = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for command in re.findall(r"pip (?:--python \S+ )?install[^&\n]*", dockerfile):
        assert "--require-hashes" in command or "--no-index" in command, command


def test_the_wheel_can_be_installed_with_the_versions_that_were_tested(
    project: dict[str, Any], pinned: dict[str, str], tmp_path: Path
):
    """The extra of the wheel itself, which pip reads, names each package that an installation has."""
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(wheel.read(name).decode())
    assert "tested" in (metadata.get_all("Provides-Extra") or [])
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    extra = [found for found in requirements if found.marker and found.marker.evaluate({"extra": "tested"})]
    found = {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in extra}
    expected = needed(project["dependencies"])
    assert found == {name: f"=={pinned[name]}" for name in expected}, "run make hashes"


def test_pins_are_written_into_their_extra_alone():
    pins = load_script("tools/pins.py")
    before = 'dev = [\n    "pytest>=8",\n]\n# Said.\ntested = [\n    "old==1",\n]\n\n[project.scripts]\n'
    after = pins.with_pins(before, ["a==1", "b==2"])
    assert after == before.replace('    "old==1",\n', '    "a==1",\n    "b==2",\n')
    with pytest.raises(ValueError, match="no extra"):
        pins.with_pins("dev = []\n", [])


def test_no_dependency_may_be_of_any_later_version(project: dict[str, Any]):
    extras = [texts for name, texts in project["optional-dependencies"].items() if name != "tested"]
    build = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for text in [*project["dependencies"], *itertools.chain(*extras), *build]:
        operators = {one.operator for one in Requirement(text).specifier}
        assert operators == {">=", "<"}, f"{text}: a range from the oldest to below the first version not tried"


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/installation.md"])
def test_a_page_installs_the_versions_that_were_tested(page: str):
    text = (PROJECT / page).read_text(encoding="utf-8")
    commands = re.findall(r"(?:pipx|uv tool|pip) install (?!`)[^`\n]*", text)
    assert any("aperture-dagster[tested]" in command for command in commands)
    for command in commands:
        assert "[tested]" in command, command


def test_the_versions_that_are_promised_are_those_that_are_tested(project: dict[str, Any]):
    listed = [re.search(r"Python :: (3\.\d+)$", one) for one in project["classifiers"]]
    promised = [match[1] for match in listed if match]
    assert promised == sorted(promised, key=Version)
    assert set(promised) <= set(VERSIONS)
    assert project["requires-python"] == f">={promised[0]}"


def test_every_large_package_has_a_reason_and_all_of_them_stay_below_the_limit():
    done = subprocess.run(
        [sys.executable, "benchmarks/install_size.py"], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout
    assert "PASS" in done.stdout
