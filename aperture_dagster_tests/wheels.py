"""Build the wheel, install it, and test it: ``python -m aperture_dagster_tests.wheels`` for each Python at hand.

That needs a package index; ``make test`` installs the wheel over the packages of its own environment instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TEST = "aperture_dagster_tests/e2e/test_installed.py"
INSTALLED_PYTHON = "INSTALLED_PYTHON"
"""The variable that names the Python of an environment with the wheel, for the test to use."""
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def build_wheel(folder: Path) -> Path:
    """Build the wheel in a folder, without an index, from a copy: the build leaves files beside its sources."""
    source = folder / "source"
    shutil.copytree(PROJECT / "aperture_dagster", source / "aperture_dagster", ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(PROJECT / name, source)
    # What pip would do, without starting it twice.
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, stdout=subprocess.DEVNULL, timeout=1800)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_over_this_environment(wheel: Path, folder: Path) -> Path:
    """Make an environment that also sees this one's packages, but not the checkout; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=1800)
    python = folder / "bin" / "python"
    packages = site_packages(python)
    # Other .pth files are not read in a folder that is added like this, so an editable checkout stays out.
    (packages / "test-environment.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*PIP, "--python", str(python), "install", *options, str(wheel)], check=True, timeout=1800)
    return python


def install_from_index(wheel: Path, interpreter: Path, folder: Path) -> Path:
    """Make an environment with the wheel and what it needs, as the pages say; return its Python."""
    subprocess.run([str(interpreter), "-m", "venv", str(folder)], check=True, timeout=1800)
    python = folder / "bin" / "python"
    options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([str(python), "-m", "pip", "install", *options, f"{wheel}[tested]"], check=True, timeout=1800)
    return python


def site_packages(python: Path) -> Path:
    """Return the folder in which an environment keeps its packages."""
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout.strip())


def interpreters() -> Iterator[tuple[str, Path]]:
    """Yield each version of Python with an interpreter that can make environments."""
    for version in VERSIONS:
        found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python{version}"))
        found += [Path(path) for path in [shutil.which(f"python{version}")] if path]
        for path in found:
            # A launcher may be there without its Python, and a Python of the system without the module that it needs.
            if (
                subprocess.run(
                    [str(path), "-c", "import ensurepip, venv"], capture_output=True, timeout=1800
                ).returncode
                == 0
            ):
                yield version, path
                break


def main() -> int:
    """Test the wheel with each Python; return 1 if it fails with any of them, or there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=VERSIONS, help="with this version alone")
    only = parser.parse_args().only
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="aperture-wheels-") as folder:
        wheel = build_wheel(Path(folder))
        for version, interpreter in interpreters():
            if only in (None, version):
                print(f"== Python {version}: {wheel.name}", flush=True)
                results[version] = _test(wheel, interpreter, Path(folder) / version)
    for version in [only] if only else VERSIONS:
        print(f"Python {version}: {results.get(version, 'not at hand')}")
    return 0 if results and set(results.values()) == {"passed"} else 1


def _test(wheel: Path, interpreter: Path, folder: Path) -> str:
    try:
        python = install_from_index(wheel, interpreter, folder)
    except subprocess.CalledProcessError as error:
        return f"not installed (exit code {error.returncode})"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "", TEST],
        cwd=PROJECT,
        env=os.environ | {INSTALLED_PYTHON: str(python)},
        timeout=1800,
    )
    shutil.rmtree(folder)
    return "passed" if done.returncode == 0 else "failed"


if __name__ == "__main__":
    sys.exit(main())
