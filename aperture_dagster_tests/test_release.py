"""A release: version, image, changelog and tag agree, and what is published says what is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from aperture_dagster_tests.conftest import PROJECT, load_script

VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return load_script("tools/release.py")


def test_everything_that_names_the_version_agrees_with_its_tag(release: ModuleType, tmp_path: Path):
    for wrong, said in (("v99.0.0", "pyproject.toml has version"), ("0.1.0", "is no tag"), ("v1.0;rm", "is no tag")):
        with pytest.raises(release.NotReady, match=said):
            release.version_of(wrong)
    for name in ("pyproject.toml", *release.NAMED_IN):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    with pytest.raises(release.NotReady, match="make freeze-schema"):
        release.version_of(f"v{VERSION}", tmp_path)
    frozen = tmp_path / release.FIRST_SCHEMA.replace("*", "7")
    frozen.parent.mkdir(parents=True)
    frozen.touch()
    assert release.version_of(f"v{VERSION}", tmp_path) == VERSION
    compose = tmp_path / "deploy" / "compose.yaml"
    compose.write_text(compose.read_text().replace(f"aperture-dagster:{VERSION}", "aperture-dagster:99.0.0"))
    with pytest.raises(release.NotReady, match=r"deploy/compose\.yaml names version 99\.0\.0"):
        release.version_of(f"v{VERSION}", tmp_path)


def test_a_release_has_dated_notes_of_its_own(release: ModuleType, tmp_path: Path):
    log = tmp_path / "CHANGELOG.md"
    log.write_text("# Changelog\n\n## [0.2.0] – 2027-01-02\n\nNew.\n\n## [0.1.0] – 2026-12-01\n\nFirst.\n")
    assert release.notes_of("0.2.0", tmp_path) == "New.\n"
    assert release.notes_of("0.1.0", tmp_path) == "First.\n"
    log.write_text("# Changelog\n\n## [Unreleased] – 0.1.0\n\nFirst.\n")
    with pytest.raises(release.NotReady, match=r"no section `## \[0\.1\.0\] – YYYY-MM-DD`"):
        release.notes_of("0.1.0", tmp_path)


def test_a_release_is_made_of_what_its_tag_names(release: ModuleType, tmp_path: Path):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=tmp_path, check=True)

    git("init", "--quiet")
    (tmp_path / "one").write_text("released")
    git("add", "one")
    git("commit", "--quiet", "--message", "One")
    git("tag", "v0.1.0")
    release.require_checkout("v0.1.0", tmp_path)
    (tmp_path / "two").write_text("not released")
    with pytest.raises(release.NotReady, match="git checkout v0"):
        release.require_checkout("v0.1.0", tmp_path)
    git("add", "two")
    git("commit", "--quiet", "--message", "Two")
    with pytest.raises(release.NotReady, match=r"is not v0\.1\.0"):
        release.require_checkout("v0.1.0", tmp_path)
    with pytest.raises(release.NotReady):
        release.require_checkout("v0.2.0", tmp_path)


def test_the_contents_of_an_image_are_listed_and_checksums_are_those_of_the_files(release: ModuleType, tmp_path: Path):
    contents = [["pypi", "Typing_Extensions", "2", "PSF-2.0"], ["deb/debian", "libcap2", "1:2.75-10+b3", None]]
    document: dict[str, Any] = release.bill_of_materials("0.1.0", contents)
    purls = ["pkg:pypi/typing-extensions@2", "pkg:deb/debian/libcap2@1%3A2.75-10%2Bb3"]
    assert [one["purl"] for one in document["components"]] == purls
    assert document["components"][0]["licenses"] == [{"expression": "PSF-2.0"}]
    (tmp_path / "a.whl").write_bytes(b"wheel")
    release.write_checksums(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


def test_the_steps_of_the_workflow_are_targets_that_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))
    jobs = _workflow()["jobs"]
    steps, (publishes,) = ([one["run"] for one in jobs[name]["steps"] if "run" in one] for name in ("build", "publish"))
    assert publishes.startswith("gh release create ")
    assert all(words[0] == "make" and set(words[1:]) <= targets for words in map(str.split, steps))
    # The tag reaches a shell as a variable only.
    assert "${{" not in " ".join([*steps, publishes])


def test_nothing_that_tests_or_builds_a_release_may_write_to_the_repository():
    workflow = _workflow()
    assert workflow["permissions"] == {"contents": "read"}
    writing = [name for name, job in workflow["jobs"].items() if "permissions" in job]
    assert writing == ["publish"] and workflow["jobs"]["publish"]["needs"] == "build"
    # What has the right to write runs no code of ours or of a package.
    steps = workflow["jobs"]["publish"]["steps"]
    assert [one.get("uses") or one["run"].split()[0] for one in steps] == ["actions/download-artifact@v7", "gh"]
    (checkout,) = [
        one for one in workflow["jobs"]["build"]["steps"] if one.get("uses", "").startswith("actions/checkout")
    ]
    assert checkout["with"] == {"persist-credentials": False}


def _workflow() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))


def test_a_tag_that_is_none_is_one_sentence():
    done = subprocess.run([sys.executable, "tools/release.py", ""], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == (
        "No release: '' is no tag of a release: it is v and three numbers, such as v0.1.0.\n"
    )
