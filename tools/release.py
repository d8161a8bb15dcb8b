"""A release from its tag: ``make release TAG=v1.0.0`` fills ``dist/`` with what is published, and stops there.

That is the wheel, the sdist, the files for Docker Compose, the image for this machine's architecture as a file, the
image's contents (CycloneDX), its tags, the release notes, and checksums.
``make release-image`` makes the image and its contents alone, for a second architecture. ``tools/push_image.sh``
publishes images; the workflow publishes the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.version import Version
from setuptools import build_meta

from aperture_dagster.postgres.migrate import HEAD_REVISION

PROJECT = Path(__file__).resolve().parents[1]
TAG = re.compile(r"v(\d+\.\d+\.\d+(?:rc\d+)?)")
RUN_THE_IMAGE = ("deploy/compose.yaml", "deploy/compose.services.yaml", "deploy/nas/*")
"""Files that run the image, by the tag of its major version."""
FOR_COMPOSE = {
    "compose.yaml": "compose.yaml", "compose.services.yaml": "compose.services.yaml",
    "postgres-role.sh": "postgres-role.sh", ".env.example": "env.example",
}  # fmt: skip
"""Files in ``deploy/`` that an installation without a checkout needs, and what they are called in a release."""
FIRST_SCHEMA = "aperture_dagster/schema/migrations/versions/v*_first_schema.sql"
"""The schema of the first release, which later migrations start from; see ``freeze.py``."""
HOUSEHOLD = "aperture_dagster_tests/postgres/releases/{}.sql.gz"
"""A household with the schema of a release, from which upgrades are tested."""
CONTENTS = """
import json, subprocess
from importlib.metadata import distributions
found = [("pypi", package.metadata["Name"], package.version, package.metadata.get("License-Expression"))
         for package in distributions()]
asked = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n"]
for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines():
    found.append(("deb/debian", *line.split(), None))
print(json.dumps(found))
"""
"""What is asked in the image: every package of Python and of Debian."""


class NotReady(Exception):
    """The tag and the files do not agree; says what to do."""


def version_of(tag: str, project: Path = PROJECT, repository: str | None = None) -> str:
    """Return the version of a tag, after checking that package, image and files agree with it. Raises NotReady.

    Args:
        repository: where the release is made, such as ``owner/name``; by default any.
    """
    match = TAG.fullmatch(tag)
    if match is None:
        raise NotReady(f"{tag!r} is no tag of a release: it is v and three numbers, such as v1.0.0.")
    version = match[1]
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if declared["version"] != version:
        raise NotReady(f"pyproject.toml has version {declared['version']}, and the tag is {tag}: change one of them.")
    built = set(re.findall(r"VERSION=(\d[\w.]*)", (project / "deploy" / "Dockerfile").read_text(encoding="utf-8")))
    if built != {version}:
        raise NotReady(f"deploy/Dockerfile names version {', '.join(sorted(built)) or 'none'}, and the tag is {tag}.")
    ours = declared["urls"]["Repository"].removeprefix("https://github.com/")
    if repository is not None and repository.lower() != ours.lower():
        raise NotReady(
            f"The files name the image of {ours}, and this repository is {repository}: replace the name in "
            "pyproject.toml, deploy and docs."
        )
    image = f"ghcr.io/{ours.lower()}:{Version(version).major}"
    for path in sorted(path for pattern in RUN_THE_IMAGE for path in project.glob(pattern)):
        named = set(re.findall(r"ghcr\.io/[\w./-]+:[\w.-]+", path.read_text(encoding="utf-8")))
        if named != {image}:
            raise NotReady(
                f"{path.relative_to(project)} runs {', '.join(sorted(named)) or 'no image'} instead of {image}."
            )
    if not [*project.glob(FIRST_SCHEMA)]:
        raise NotReady(f"There is no {FIRST_SCHEMA}, so later releases could not upgrade homes: make freeze.")
    if not (project / (household := HOUSEHOLD.format(HEAD_REVISION))).is_file():
        raise NotReady(f"There is no {household}, so nobody would test upgrades from this release: make freeze.")
    return version


def notes_of(version: str, project: Path = PROJECT) -> str:
    """Return what the changelog says of a version, with links to its files. It must have a date. Raises NotReady."""
    text = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    pattern = rf"^## \[{re.escape(version)}\] \u2013 \d{{4}}-\d\d-\d\d\n(.*?)(?=^## \[|\Z)"
    match = re.search(pattern, text, re.M | re.S)
    if match is None or not match[1].strip():
        raise NotReady(f"CHANGELOG.md has no section `## [{version}] \u2013 YYYY-MM-DD`, or nothing in it.")
    is_first = not re.search(r"^## \[", text[match.end() :], re.M)
    if is_first and re.search(r"^### (?!Added$)", match[1], re.M):
        raise NotReady(
            f"{version} is the first version, and CHANGELOG.md says what it changes since one that nobody has."
        )
    # On the page of a release, relative links would lead nowhere.
    url = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    text = re.sub(r"\]\((?!https?:|#)([^)]+)\)", rf"]({url}/blob/v{version}/\1)", match[1])
    return text.strip() + "\n"


def image_tags(version: str, released: Collection[str]) -> list[str]:
    """Return the image's tags: ``1.2.3``, and of ``1.2``, ``1`` and ``latest`` those whose newest version it is.

    So a correction of an older version moves nobody back, and a release candidate gets its own tag only.

    Args:
        released: tags in the repository, such as ``v1.2.2``.
    """
    this = Version(version)
    if this.is_prerelease:
        return [version]
    others = [Version(match[1]) for tag in released if (match := TAG.fullmatch(tag))]
    others = [other for other in others if not other.is_prerelease]
    tags = [version]
    for length in (2, 1, 0):
        if all(other <= this for other in others if other.release[:length] == this.release[:length]):
            tags.append(".".join(map(str, this.release[:length])) or "latest")
    return tags


def bill_of_materials(version: str, contents: list[list[Any]]) -> dict[str, Any]:
    """Return a CycloneDX document of what :data:`CONTENTS` printed; equal contents have equal serial numbers."""
    components = [
        {"type": "library", "name": name, "version": found, "purl": _purl(kind, name, found)}
        | ({"licenses": [{"expression": licence}]} if licence else {})
        for kind, name, found, licence in sorted(contents, key=lambda row: row[1:3])
    ]
    product = {"type": "container", "name": "aperture-dagster", "version": version}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([product, components]))
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": serial.urn, "version": 1}
    return document | {"metadata": {"component": product}, "components": components}


def _purl(kind: str, name: str, version: str) -> str:
    """Return the URL of a package, by the specification of package URLs."""
    name = name.lower().replace("_", "-") if kind == "pypi" else name
    return f"pkg:{kind}/{quote(name)}@{quote(version)}"


def require_checkout(tag: str, project: Path = PROJECT) -> None:
    """Make sure that what is released is what the tag names. Raises NotReady."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=project, capture_output=True, text=True).stdout.strip()

    if git("rev-parse", f"{tag}^{{commit}}") != git("rev-parse", "HEAD") or git("status", "--porcelain"):
        raise NotReady(f"What is checked out is not {tag}, or has changes: git checkout {tag}.")


def write_image(version: str, folder: Path) -> None:
    """Build the image of a version for this machine's architecture; write it and its contents as files."""
    image = f"aperture-dagster:{version}"
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True)
    given = [f"VERSION={version}", f"REVISION={revision.stdout.strip()}", *os.environ.get("BUILD_ARGS", "").split()]
    arguments = [word for argument in given for word in ("--build-arg", argument)]
    dockerfile = str(PROJECT / "deploy" / "Dockerfile")
    # Attestations of the builder would make an index of it, and indexes cannot be joined; the workflow attests instead.
    environment = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    build = ["docker", "build", "--file", dockerfile, "--tag", image, *arguments, str(PROJECT)]
    subprocess.run(build, check=True, env=environment)
    inspect = ["docker", "image", "inspect", "--format", "{{.Architecture}}", image]
    architecture = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
    with (
        subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved,
        gzip.open(folder / f"aperture-dagster-{version}-image-{architecture}.tar.gz", "wb", compresslevel=6) as file,
    ):
        assert saved.stdout is not None
        shutil.copyfileobj(saved.stdout, file, 1 << 20)
    if saved.returncode:
        raise subprocess.CalledProcessError(saved.returncode, "docker save")
    list_contents = ["docker", "run", "--rm", image, "python", "-c", CONTENTS]
    contents = json.loads(subprocess.run(list_contents, check=True, capture_output=True, text=True).stdout)
    text = json.dumps(bill_of_materials(version, contents), indent=1)
    (folder / f"aperture-dagster-{version}-{architecture}.cdx.json").write_text(text + "\n", encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write SHA-256 of every file in a folder, as ``sha256sum --check`` reads them."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main(tag: str, only_image: bool = False) -> int:
    """Make everything, or the image and its contents alone; return the exit code."""
    try:
        version = version_of(tag, repository=os.environ.get("REPOSITORY"))
        notes = notes_of(version)
        require_checkout(tag)
    except NotReady as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    folder = PROJECT / "dist"
    # Setuptools would pack what an earlier build left behind.
    for leftover in (folder, PROJECT / "build"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir()
    if not only_image:
        build_meta.build_sdist(str(folder))
        build_meta.build_wheel(str(folder))
        for name, published in FOR_COMPOSE.items():
            shutil.copy(PROJECT / "deploy" / name, folder / published)
        (folder / "notes.md").write_text(notes, encoding="utf-8")
        released = subprocess.run(
            ["git", "tag"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.split()
        (folder / "image-tags").write_text("\n".join(image_tags(version, released)) + "\n", encoding="utf-8")
    write_image(version, folder)
    if not only_image:
        write_checksums(folder)
    print(f"Nothing is published yet. dist/ holds {', '.join(sorted(path.name for path in folder.iterdir()))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], only_image="--only-image" in sys.argv[2:]))
