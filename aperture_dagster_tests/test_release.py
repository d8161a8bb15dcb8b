"""A release: version, image, changelog and tag agree, and what is published says what is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.waiting import SECONDS

VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return load_script("tools/release.py")


def test_everything_that_names_the_version_agrees_with_its_tag(release: ModuleType, tmp_path: Path):
    for wrong, said in (("v99.0.0", "pyproject.toml has version"), ("0.1.0", "is no tag"), ("v1.0;rm", "is no tag")):
        with pytest.raises(release.NotReady, match=said):
            release.version_of(wrong)
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy")
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    with pytest.raises(release.NotReady, match="make freeze"):
        release.version_of(f"v{VERSION}", tmp_path)
    frozen = tmp_path / release.FIRST_SCHEMA.replace("*", "7")
    frozen.parent.mkdir(parents=True)
    frozen.touch()
    with pytest.raises(release.NotReady, match=rf"releases/{HEAD_REVISION}\.sql\.gz, so nobody would test upgrades"):
        release.version_of(f"v{VERSION}", tmp_path)
    household = tmp_path / release.HOUSEHOLD.format(HEAD_REVISION)
    household.parent.mkdir(parents=True)
    household.touch()
    assert release.version_of(f"v{VERSION}", tmp_path) == VERSION
    assert release.version_of(f"v{VERSION}", tmp_path, repository="Aperture-Dagster/aperture-dagster") == VERSION
    with pytest.raises(release.NotReady, match=r"name the image of .*, and this repository is someone/fork: replace"):
        release.version_of(f"v{VERSION}", tmp_path, repository="someone/fork")
    for name, before, after, said in (
        (
            "deploy/nas/unraid.xml",
            "dagster:1<",
            "dagster:2<",
            r"nas/unraid\.xml runs ghcr\.io/.*:2 instead of ghcr\.io/.*:1",
        ),
        ("deploy/compose.yaml", "ghcr.io/aperture-dagster/", "", r"deploy/compose\.yaml runs no image instead"),
        ("deploy/Dockerfile", f"VERSION={VERSION}", "VERSION=99.0.0", r"deploy/Dockerfile names version 99\.0\.0"),
    ):
        file = tmp_path / name
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after), encoding="utf-8")
        with pytest.raises(release.NotReady, match=said):
            release.version_of(f"v{VERSION}", tmp_path)
        file.write_text(text, encoding="utf-8")


def test_pages_name_the_image_and_the_repository_as_they_will_be():
    """A fork, or another owner, replaces one name; this finds what was left behind."""
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = declared["urls"]["Repository"].removeprefix("https://github.com/")
    found = {"image": 0, "repository": 0}
    for path in [
        PROJECT / "README.md",
        *PROJECT.glob("docs/*.md"),
        *PROJECT.glob("deploy/*"),
        *PROJECT.glob("deploy/.env*"),
    ]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        for image in re.findall(r"ghcr\.io/([\w-]+/[\w-]+)", text):
            assert image in (ours.lower(), "OWNER/NAME"), f"{path}: {image}"
            found["image"] += 1
        for repository in re.findall(r"github\.com/([\w-]+/aperture-dagster)\b", text):
            assert repository == ours, f"{path}: {repository}"
            found["repository"] += 1
    assert found["image"] > 5 and found["repository"] > 2, found


def test_a_release_has_dated_notes_of_its_own(release: ModuleType, tmp_path: Path):
    log = tmp_path / "CHANGELOG.md"
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    log.write_text("# Changelog\n\n## [0.2.0] – 2027-01-02\n\nNew.\n\n## [0.1.0] – 2026-12-01\n\nFirst.\n")
    assert release.notes_of("0.2.0", tmp_path) == "New.\n"
    assert release.notes_of("0.1.0", tmp_path) == "First.\n"
    log.write_text("# Changelog\n\n## [0.1.0] – 2026-12-01\n\n[Rows](docs/clients.md#x), [web](https://x.example)\n")
    address = "https://github.com/aperture-dagster/aperture-dagster/blob/v0.1.0/docs/clients.md#x"
    assert release.notes_of("0.1.0", tmp_path) == f"[Rows]({address}), [web](https://x.example)\n"
    log.write_text("# Changelog\n\n## [0.1.0] – 2026-12-01\n\n### Added\n\n- All.\n\n### Fixed\n\n- Some of it.\n")
    with pytest.raises(release.NotReady, match=r"0\.1\.0 is the first version"):
        release.notes_of("0.1.0", tmp_path)
    log.write_text("# Changelog\n\n## [Unreleased] – 0.1.0\n\nFirst.\n")
    with pytest.raises(release.NotReady, match=r"no section `## \[0\.1\.0\] – YYYY-MM-DD`"):
        release.notes_of("0.1.0", tmp_path)


def test_a_release_is_made_of_what_its_tag_names(release: ModuleType, tmp_path: Path):
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=tmp_path, check=True, timeout=SECONDS
        )

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


def test_a_tag_of_the_image_moves_forward_only(release: ModuleType):
    for version, released, expected in (
        ("1.0.0", ["v1.0.0"], ["1.0.0", "1.0", "1", "latest"]),
        ("1.2.3", ["v1.2.2", "v1.10.0", "v2.0.0", "v1.2.3"], ["1.2.3", "1.2"]),
        ("1.10.0", ["v1.9.9", "v2.0.0rc1", "nightly"], ["1.10.0", "1.10", "1", "latest"]),
        ("1.10.1", ["v1.10.0", "v2.0.0"], ["1.10.1", "1.10", "1"]),
        ("2.0.0rc1", ["v1.9.9"], ["2.0.0rc1"]),
        ("2.0.0", ["v2.0.0rc1", "v1.9.9"], ["2.0.0", "2.0", "2", "latest"]),
    ):
        assert release.image_tags(version, released) == expected, version


def test_the_contents_of_an_image_are_listed_and_checksums_are_those_of_the_files(release: ModuleType, tmp_path: Path):
    contents = [["pypi", "Typing_Extensions", "2", "PSF-2.0"], ["deb/debian", "libcap2", "1:2.75-10+b3", None]]
    document: dict[str, Any] = release.bill_of_materials("0.1.0", contents)
    purls = ["pkg:pypi/typing-extensions@2", "pkg:deb/debian/libcap2@1%3A2.75-10%2Bb3"]
    assert [component["purl"] for component in document["components"]] == purls
    assert document["components"][0]["licenses"] == [{"expression": "PSF-2.0"}]
    # Whoever attests a document without a serial number does not recognize it as CycloneDX.
    serials = {
        release.bill_of_materials("0.1.0", found)["serialNumber"] for found in (contents, contents[:1], contents)
    }
    assert len(serials) == 2 and all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", serial) for serial in serials)
    (tmp_path / "a.whl").write_bytes(b"wheel")
    release.write_checksums(tmp_path)
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )


WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


def read_workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROJECT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


def steps_of(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow["jobs"].items():
        yield from ((name, step) for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_to_a_commit_and_names_its_version(path: Path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: *(.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    # An action has one commit in all workflows.
    everywhere = {line for other in WORKFLOWS for line in re.findall(r"uses: *(.*)", other.read_text(encoding="utf-8"))}
    assert len({action.partition("@")[0] for action in everywhere}) == len(everywhere)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_that_exist_and_no_shell_reads_what_others_named(path: Path):
    # By default, GitHub's shell goes on after a failed command before a pipe.
    assert read_workflow(path.stem)["defaults"] == {"run": {"shell": "bash"}}
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))
    for name, step in steps_of(read_workflow(path.stem)):
        run = step.get("run", "")
        for words in re.findall(r"^ *make ([^\n|&>;]*)", run, re.M):
            assert {word for word in words.split() if word[0].isalpha() and "=" not in word} <= targets, run
        # A tag or a branch reaches a shell as a variable only.
        assert "${{" not in run, f"{path.stem}, {name}"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, f"{path.stem}, {name}"


def test_nothing_that_tests_or_builds_a_release_may_write_anywhere():
    workflow = read_workflow("release")
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {}
    rights = {
        name: {right for right, value in job["permissions"].items() if value == "write"} for name, job in jobs.items()
    }
    assert rights == {
        "test": set(), "build": set(), "build-arm64": set(),
        "publish-image": {"packages", "id-token", "attestations"},
        "publish-packages": {"id-token"},
        "release": {"contents", "id-token", "attestations"},
    }  # fmt: skip
    # What may write runs no code of a package, nor our build.
    tools = {"docker", "echo", "mv", "rm", "gh", "prerelease=()", "[[", "(cd", "tools/push_image.sh"}
    for name, step in steps_of(workflow):
        if rights[name]:
            assert jobs[name]["environment"] in ("release", "pypi"), f"{name}: a person may want to approve it"
            for line in step.get("run", "").splitlines():
                assert line.split()[0] in tools, f"{name}: {line}"
            assert not step.get("uses", "").startswith("actions/setup-python"), name
    # Nothing is published before everything is tested and built.
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "test": None, "build": "test", "build-arm64": "test",
        "publish-image": ["build", "build-arm64"], "publish-packages": ["build", "build-arm64"],
        "release": ["publish-image", "publish-packages"],
    }  # fmt: skip


def test_a_tag_that_is_none_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "tools/release.py", ""], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 1 and done.stderr == (
        "No release: '' is no tag of a release: it is v and three numbers, such as v1.0.0.\n"
    )
