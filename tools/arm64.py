"""Look whether every package of the image has a wheel for ARM with 64 bits: ``make arm64``; it needs a package index.

The image is built for this machine's processor only, so this check stands in for a build on ARM.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
# What Debian 13, the base of the image, can run: glibc 2.41.
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(41, 16, -1)] + ["manylinux2014_aarch64"]


def main() -> int:
    """Resolve the packages for the other processor; return pip's exit code."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    platforms = [word for one in PLATFORMS for word in ("--platform", one)]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", f"{folder}/report.json",
                "--ignore-installed", "--only-binary", ":all:", "--python-version", "3.13", "--implementation", "cp",
                "--target", f"{folder}/target", "--constraint", str(PROJECT / "constraints.txt"), *platforms,
                *project["dependencies"],
            ]
        ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
