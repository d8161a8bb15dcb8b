"""Measure how much disk an installation takes, and check that every large package has a reason to be there.

    python benchmarks/install_size.py [--fresh]

Adds up the files of this package and of everything that it needs, as they are in this environment. With ``--fresh``,
which needs a package index, it builds the wheel, installs it into a new environment as `make demo` does, runs a small
demo there, and measures that environment as a whole. Prints each package above 5 MB with its reason, which is in the
table of ``docs/installation.md``, and the total with the limit.

Fails if the total is above the limit, or if a large package has no reason there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))
DOCUMENT = PROJECT / "docs" / "installation.md"
WORLD = "generated:movies=20,series=2,episodes=6,users=2,plays=20"
LIMIT_MB = 620
LARGE_MB = 5
ROW = re.compile(r"^\| `([\w.-]+)` \| [\d,]+ \| (.+) \|$", re.MULTILINE)


def needed(*requirements: str) -> dict[str, Distribution]:
    """Return the distributions that meet the requirements, and all that they need here, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = _named(requirements, "")
    while left:
        one, extra = left.pop()
        if (one, extra) in seen:
            continue
        seen.add((one, extra))
        found[one] = distribution(one)
        left += _named(found[one].requires or (), extra)
    return found


def _named(requirements: Iterable[str], extra: str) -> list[tuple[NormalizedName, str]]:
    """Return the names that requirements ask for on this platform, once without and once with each of their extras."""
    asked = [
        one for one in map(Requirement, requirements) if one.marker is None or one.marker.evaluate({"extra": extra})
    ]
    return [(canonicalize_name(one.name), wanted) for one in asked for wanted in {"", *one.extras}]


def size_mb(package: Distribution) -> float:
    """Return the disk space of a distribution's files in MB, with its compiled modules."""
    paths = {os.path.normpath(str(package.locate_file(file))) for file in package.files or ()}
    # pip lists them only if it has compiled them itself.
    paths |= {cache_from_source(path) for path in paths if path.endswith(".py")}
    return sum(path.stat().st_blocks * 512 for path in map(Path, paths) if path.is_file()) / 1e6


def main() -> int:
    """Measure, print, and return 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="measure a new environment; needs a package index")
    parser.add_argument("--environment", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fresh:
        return _measure_fresh()
    verdict = Verdict()
    try:
        # Not the installed metadata: an editable installation keeps those of the day on which it was installed.
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        packages = needed(*project["dependencies"], *([project["name"]] if options.environment else []))
    except PackageNotFoundError as error:
        verdict.holds(f"{error} is needed, and must be installed", False)
        return verdict.close()
    sizes = {name: size_mb(package) for name, package in packages.items()}
    total = disk_usage_mb(options.environment) if options.environment else sum(sizes.values())
    found = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    why: dict[str, str] = {canonicalize_name(name): reason for name, reason in found}
    for name, size in sorted(sizes.items(), key=lambda one: -one[1]):
        if size > LARGE_MB:
            if name not in why:
                verdict.holds(f"{name} takes {size:.0f} MB: {DOCUMENT.name} says why it is needed", False)
            print(f"{size:7.1f} MB  {name:<24} {why.get(name, '?')}")
    rest = [size for size in sizes.values() if size <= LARGE_MB]
    print(f"{sum(rest):7.1f} MB  {len(rest)} smaller packages")
    print(f"{total:7.1f} MB  {'the whole environment' if options.environment else 'all packages'}; limit {LIMIT_MB} MB")
    verdict.most("installed", total, LIMIT_MB, " MB")
    return verdict.close()


def disk_usage_mb(folder: Path) -> float:
    """Return the disk space of a folder in MB."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def _measure_fresh() -> int:
    from aperture_dagster_tests.wheels import build_wheel, install_from_index

    with tempfile.TemporaryDirectory(prefix="aperture-size-") as folder:
        environment = Path(folder) / "environment"
        python = install_from_index(build_wheel(Path(folder)), Path(sys.executable), environment)
        # Python compiles modules when they are first imported.
        demo = [str(python.with_name("aperture")), "demo", "--world", WORLD, "--home", str(Path(folder) / "home")]
        subprocess.run(demo, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        return subprocess.run([str(python), "-P", __file__, "--environment", str(environment)]).returncode


if __name__ == "__main__":
    sys.exit(main())
