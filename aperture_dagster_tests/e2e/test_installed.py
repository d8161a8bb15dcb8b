"""The installed package is the product: it works in an empty folder, and writes to its home only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.webserver import ask, free_port
from aperture_dagster_tests.wheels import INSTALLED_PYTHON, build_wheel, install_over_this_environment, site_packages

pytestmark = pytest.mark.e2e
long = pytest.mark.nightly(
    reason="The installed package runs a demo and `aperture up`, and each command is a process: two minutes.",
    instead="e2e/test_installed.py::test_the_wheel_holds_every_file_of_the_package_and_both_licence_files",
)

WORLD = "generated:movies=20,series=2,episodes=6,users=2,plays=20"
SECONDS = 600
FOLDERS = ("account", "empty", "temporary")
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { runs { status } } } } }"
LOCATIONS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Short: for a database in a deep folder, its socket would be linked to from the folder for temporary files.
    with tempfile.TemporaryDirectory(prefix="wheel-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    (folder / "dist").mkdir()
    return build_wheel(folder / "dist")


@dataclass(frozen=True)
class Installed:
    """An environment with the installed package, and an account of its own that has never used it."""

    python: Path
    folder: Path

    @property
    def data(self) -> Path:
        """The home that the package chooses by itself."""
        return self.folder / "account" / ".local" / "share" / "aperture"

    def environment(self, **more: str) -> dict[str, str]:
        """Return what a login shell has, and nothing of these tests."""
        return {
            "PATH": os.pathsep.join([str(self.python.parent), "/usr/bin", "/bin"]),
            "HOME": str(self.folder / "account"),
            "TMPDIR": str(self.folder / "temporary"),
            "LANG": "C.UTF-8",
            "COLUMNS": "1000",
            "APERTURE_SCHEDULES_ENABLED": "false",
            UNMODELLED_LOG: os.environ[UNMODELLED_LOG],
        } | more

    def run(self, *words: str, **more: str) -> str:
        """Run a command in the empty folder; return what it printed, after it has succeeded."""
        done = subprocess.run(
            self.words(words), cwd=self.folder / "empty", env=self.environment(**more), capture_output=True, text=True,
            timeout=SECONDS,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert not re.search(r"\bmake (up|demo)\b|Makefile", output), "there is no Makefile"
        return output

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command with the programs of this environment."""
        program, *arguments = words
        return [*{"aperture": [str(self.python.with_name("aperture"))]}.get(program, [str(self.python)]), *arguments]

    def outside(self) -> dict[Path, tuple[int, int]]:
        """Return every folder outside the home, and every file with its size and time, but for compiled modules."""
        found: dict[Path, tuple[int, int]] = {}
        for top in (*(self.folder / name for name in FOLDERS), site_packages(self.python)):
            for root, folders, files in os.walk(top):
                folders[:] = [name for name in folders if name != "__pycache__" and Path(root, name) != self.data]
                found |= {Path(root, name): (0, 0) for name in folders}
                for path in (Path(root, name) for name in files):
                    status = path.lstat()
                    found[path] = (status.st_size, status.st_mtime_ns)
        return found


@pytest.fixture(scope="module")
def installed(folder: Path, request: pytest.FixtureRequest) -> Installed:
    for name in FOLDERS:
        (folder / name).mkdir()
    (folder / "account" / ".local" / "share").mkdir(parents=True)
    named = os.environ.get(INSTALLED_PYTHON)
    if named:
        return Installed(Path(named), folder)
    return Installed(install_over_this_environment(request.getfixturevalue("wheel"), folder / "environment"), folder)


@pytest.fixture(scope="module")
def demo(installed: Installed) -> str:
    """Run the demo once, as the first command of a new account; return what it printed."""
    before = installed.outside()
    output = installed.run("aperture", "demo", "--world", WORLD)
    assert installed.outside() == before
    return output


@pytest.fixture(autouse=True)
def nothing_outside_the_home(installed: Installed) -> Iterator[None]:
    before = installed.outside()
    yield
    after = installed.outside()
    assert after == before, sorted(dict(after.items() ^ before.items()))


def test_the_wheel_holds_every_file_of_the_package_and_both_licence_files(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (about,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
    files = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "aperture_dagster").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files - held == set()
    licences = about.replace("METADATA", "licenses/")
    assert {licences + "LICENSE", licences + "NOTICE"} <= held
    assert not [name for name in held if name.startswith("aperture_dagster_tests")]
    assert metadata["Requires-Python"] == ">=3.11"


@long
def test_the_package_does_not_come_from_the_checkout(installed: Installed):
    code = "import aperture_dagster, aperture_dagster.definitions as d; print(aperture_dagster.__file__, d.defs)"
    output = installed.run("python", "-c", code)
    assert output.startswith(str(site_packages(installed.python)))
    assert str(PROJECT) not in output


@long
def test_the_demo_fills_its_home_and_says_where_it_is_and_how_to_go_on(installed: Installed, demo: str):
    home = installed.data / "demo"
    assert f"Created {home}" in demo
    assert "To open it in the Dagster UI: aperture up" in " ".join(demo.split())
    assert {"postgres", "dagster", "libraries"} <= {path.name for path in home.iterdir()}
    assert home.stat().st_mode & 0o077 == 0
    code = "from aperture_dagster.settings.home import start_command; print(start_command())"
    assert installed.run("python", "-c", code) == "aperture up\n"


@long
def test_dagster_commands_and_up_work_on_the_same_home(installed: Installed, demo: str):
    dagster_home = installed.data / "demo" / "dagster"
    more = {"DAGSTER_HOME": str(dagster_home)}
    # As left by an older version.
    (dagster_home / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    installed.run("aperture", "doctor")
    assert "ApertureDagsterStorage" in (dagster_home / "dagster.yaml").read_text()
    listed = installed.run("python", "-m", "dagster", "asset", "list", "-m", "aperture_dagster.definitions", **more)
    assert "recommendations" in listed.split()
    words = ["python", "-m", "dagster", "job", "backfill", "-w", str(dagster_home / "workspace.yaml")]
    launched = installed.run(*words, "-j", "generate_recommendations", "--all", "--noprompt", **more)
    assert "Launched backfill job" in launched

    port = free_port()
    words = ["aperture", "up", "--demo", "--world", WORLD, "--port", str(port)]
    log = installed.data / "up.log"
    with log.open("wb") as out:
        up = subprocess.Popen(
            installed.words(words), cwd=installed.folder / "empty", env=installed.environment(), stdout=out,
            stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        deadline, runs = time.monotonic() + SECONDS, []
        while runs != ["SUCCESS", "SUCCESS"]:
            assert up.poll() is None and time.monotonic() < deadline, (runs, log.read_text())
            answer = ask(port, BACKFILLS)
            backfills = answer["partitionBackfillsOrError"]["results"] if answer else []
            runs = [run["status"] for backfill in backfills for run in backfill["runs"]]
            time.sleep(0.3)
        nodes = ask(port, LOCATIONS)["repositoriesOrError"]["nodes"]
        assert {node["location"]["name"] for node in nodes} == {"aperture"}
        up.send_signal(signal.SIGINT)
        assert up.wait(SECONDS) == 0, log.read_text()
        assert all_gone(installed.folder)
        assert "make up" not in log.read_text()
        # Commands go on working while nothing runs: they do not need the code server of `aperture up`.
        assert "python_module" in (dagster_home / "workspace.yaml").read_text()
    finally:
        for one in (up, *processes_of(installed.folder)):
            with suppress(Exception):
                one.kill()
        up.wait(600)
