"""Write the extra ``tested`` of pyproject.toml: the packages of ``deploy/requirements.txt`` with their exact versions.

``make hashes`` runs it. From the files of the image's extras, it removes the packages that the image has anyway.
Whoever installs ``aperture-dagster[tested]`` gets the versions that the tests ran with.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^tested = \[\n.*?^\]\n", re.M | re.S)
IMAGE_EXTRAS = ("docker", "k8s", "celery")
ONLY_OUTSIDE_THE_IMAGE = ("uvloop",)
"""Packages that an installation by pip gets as well: extras of dependencies that the image leaves out."""


def pins(project: Path = PROJECT) -> list[str]:
    """Return the pins, such as ``httpx==0.28.1``, by name. Raises KeyError if constraints.txt lacks a package."""
    constraints = dict(line.split("==") for line in (project / "constraints.txt").read_text(encoding="utf-8").split())
    requirements = (project / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+==\S+)", requirements, re.M)
    found += [f"{name}=={constraints[name]}" for name in ONLY_OUTSIDE_THE_IMAGE]
    return sorted(found, key=str.lower)


def with_pins(text: str, pinned: list[str]) -> str:
    """Return the text of pyproject.toml with these pins in the extra. Raises ValueError if it has no such extra."""
    block = "tested = [\n" + "".join(f'    "{pin}",\n' for pin in pinned) + "]\n"
    changed, count = BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise ValueError("pyproject.toml has no extra `tested = [` with one line for each package.")
    return changed


def without(packages: str, base: str) -> str:
    """Return a file of packages with their hashes without those that another one has, in the same version."""
    blocks = re.split(r"^(?=[\w.-]+==)", packages, flags=re.M)
    has = set(re.findall(r"^([\w.-]+==[^\s;]+)", base, re.M))
    return "".join(block for block in blocks if block.split()[:1] and block.split()[0] not in has)


def main() -> int:
    """Write the extra, and shorten the files of the image's extras; return 0."""
    base = (PROJECT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    for name in IMAGE_EXTRAS:
        of_extra = PROJECT / "deploy" / f"requirements-{name}.txt"
        of_extra.write_text(without(of_extra.read_text(encoding="utf-8"), base), encoding="utf-8")
    file = PROJECT / "pyproject.toml"
    file.write_text(with_pins(file.read_text(encoding="utf-8"), pins()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
