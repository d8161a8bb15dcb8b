"""Commands that cannot start end with one sentence."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from aperture_dagster.cli.main import main
from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.forks import run_fork
from aperture_dagster_tests.processes import all_gone, processes_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for a home. Processes still running there at the end are an error, and are killed."""
    yield tmp_path / "home"
    left = [] if all_gone(tmp_path) else processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


def one_sentence(*arguments: str, home: Path, **more: str) -> str:
    """Run a command that is refused before it starts anything; return the sentence with which it failed."""
    program = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
    done = run_fork(program, *arguments, environment=environment(home, **more), folder=PROJECT)
    assert done.returncode not in (0, -signal.SIGKILL), done.stdout
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    said = done.stderr.strip()
    assert said.startswith("Error: ") and len(said.splitlines()) == 1, done.stderr
    return said


def test_a_port_in_use_gives_one_sentence_from_the_stand_ins_too():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["simulate", "--port", port])
    assert result.exit_code == 1 and port in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_home_that_is_not_writable_fails_with_one_sentence(home: Path):
    home.write_text("a file is no folder", encoding="utf-8")
    said = one_sentence("demo", "--home", str(home / "below"), home=home)
    assert str(home) in said


def test_a_misspelt_setting_fails_with_one_sentence_that_suggests_a_name(home: Path):
    wrong = {"APERTURE_TIMEZOEN": "UTC", "APERTURE_HOME": str(home)}
    for command in (["demo"], ["up", "--port", "0"]):
        assert "APERTURE_TIMEZONE" in one_sentence(*command, home=home, **wrong)
