"""The command line in new processes, on the embedded database."""

from __future__ import annotations

import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aperture_dagster.cli.main import main
from aperture_dagster_tests.chaos import (
    DemoHome,
    Step,
    demo_home_in,
    differences,
    environment,
    kill_in_each_step,
    outcome_of,
)
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.forks import Finished, run_fork
from aperture_dagster_tests.processes import all_gone, processes_of

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
COUNTS = ("users", "movies", "series", "episodes", "plays")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for a home. Processes still running there at the end are an error, and are killed."""
    yield tmp_path / "home"
    left = [] if all_gone(tmp_path) else processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


def run(program: str, *arguments: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / program, *arguments],
        env=environment(home, **more),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_forked(*arguments: str, home: Path, **more: str) -> Finished:
    """Run a command of the product in a process of its own."""
    program = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
    return run_fork(program, *arguments, environment=environment(home, **more), folder=PROJECT)


def run_here(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, home: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that is refused before it starts anything, in this process."""
    for name, value in environment(home, **more).items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, list(arguments))
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True)
class Undisturbed:
    """A home with three users whose demo ran to its end, and what it held then."""

    demo: DemoHome
    summary: dict[str, Any]
    steps: list[Step]
    content: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[Undisturbed]:
    """A demo that several tests look at or continue from."""
    # A path short enough for a socket two levels below it.
    with (
        tempfile.TemporaryDirectory(prefix="aperture-", ignore_cleanup_errors=True) as folder,
        demo_home_in(Path(folder) / "undisturbed") as home,
    ):
        summary = home.run()
        yield Undisturbed(home, summary, home.steps(), home.content())
        assert home.left_behind() == []


@pytest.mark.nightly(
    reason="Two demos of three users, and two commands of Dagster: a minute of processor time.",
    instead="e2e/test_demo_and_up.py::test_a_demo_publishes_every_list_and_sums_up_what_it_made",
)
def test_the_demo_writes_a_summary_and_dagster_commands_can_continue_from_it(undisturbed: Undisturbed):
    summary, home = undisturbed.summary, undisturbed.demo.home
    lists = {"taste", "recommendations", "top_picks", "shows_you_watch", "discovery", "published"}
    assert set(summary) == {*COUNTS, *lists, "seconds", "requests", "rows_written"}
    assert all(type(summary[name]) is int and summary[name] > 0 for name in COUNTS)
    assert summary["users"] >= len(summary["recommendations"]) == 3
    for entries in summary["recommendations"].values():
        for entry in entries:
            assert set(entry) == {"media_type", "title", "year", "tmdb_id", "imdb_id", "score", "because"}
            assert entry["media_type"] in ("movie", "series")
            assert entry["title"] and entry["because"]
            assert type(entry["score"]) is float
            assert type(entry["year"]) in (int, type(None))
            assert type(entry["tmdb_id"]) in (int, type(None))
            assert entry["imdb_id"] is None or re.fullmatch(r"tt\d+", entry["imdb_id"])
    assert set(summary["top_picks"]) == {"movie", "series"}
    assert all(0 < len(picks) <= 10 for picks in summary["top_picks"].values())
    assert {(*sorted(pick),) for picks in summary["top_picks"].values() for pick in picks} == {
        ("completion", "imdb_id", "plays", "rank", "relaxed", "score", "source", "title", "tmdb_id", "viewers", "year")
    }
    assert set(summary["shows_you_watch"]) == set(summary["recommendations"])
    watched = [entry for entries in summary["shows_you_watch"].values() for entry in entries]
    for entry in watched:
        assert set(entry) == {"title", "next_episode", "behind", "next_air_date", "days_until"}
        assert (entry["next_episode"] is None) == (entry["behind"] == 0)
        assert entry["next_episode"] is None or re.fullmatch(r"S\d{2}E\d{2}", entry["next_episode"])
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", entry["next_air_date"]) and entry["days_until"] in range(30)
    assert any(entry["next_episode"] for entry in watched) and any(not entry["next_episode"] for entry in watched)
    for part in ("seconds", "requests", "rows_written"):
        assert summary[part] and all(value >= 0 for value in summary[part].values()), part
    assert summary["requests"]["tmdb"] >= summary["movies"] + summary["series"] - 10

    users = list(summary["recommendations"])
    span = run(
        "dagster", "asset", "materialize", "-m", "aperture_dagster.definitions", "--select",
        "taste_profiles,recommendations", "--partition-range", f"{users[0]}...{users[-1]}",
        home=home, APERTURE_HOME=str(home),
    )  # fmt: skip
    assert span.returncode == 0, span.stderr
    assert "3 users served" in span.stderr + span.stdout
    today = datetime.now(UTC).date()
    month = run(
        "dagster", "asset", "materialize", "-m", "aperture_dagster.definitions", "--select", "top_picks",
        "--partition-range", f"{today - timedelta(days=29)}...{today}", home=home, APERTURE_HOME=str(home),
    )  # fmt: skip
    assert month.returncode == 0, month.stderr
    assert "Done: 30 days, 0 rows written" in month.stderr + month.stdout
    again = undisturbed.demo.run()
    assert outcome_of(again) == outcome_of(summary)
    assert {name: rows for name, rows in again["rows_written"].items() if rows} == {}
    assert {one["changed"] for one in again["published"].values()} == {0}


def one_sentence(done: subprocess.CompletedProcess[str] | Finished) -> str:
    """Check that a command failed with one sentence on stderr; return the sentence."""
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
    said = one_sentence(run_forked("demo", "--home", str(home / "below"), home=home))
    assert str(home) in said


def test_a_misspelt_setting_fails_with_one_sentence_that_suggests_a_name(home: Path, monkeypatch: pytest.MonkeyPatch):
    wrong = {"APERTURE_TIMEZOEN": "UTC", "APERTURE_HOME": str(home)}
    for refused in (
        run_forked("demo", home=home, **wrong),
        run_here(monkeypatch, "up", "--port", "0", home=home, **wrong),
    ):
        assert "APERTURE_TIMEZONE" in one_sentence(refused)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for a socket two levels below it."""
    with tempfile.TemporaryDirectory(prefix="aperture-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.nightly(
    reason="Three demos of three users, one of which is killed: a minute of processor time.",
    instead="e2e/test_enrichment_requests.py::test_a_killed_run_loses_only_requests_in_flight_and_one_batch",
)
def test_a_demo_that_is_killed_ends_with_the_same_result(short_path: Path, undisturbed: Undisturbed):
    """Once; ``make soak`` kills a home many times, in several ways."""
    # A long one in the middle.
    (step,) = (one for one in undisturbed.steps if one.name == "tmdb_metadata")
    with demo_home_in(short_path / "killed") as home:
        kill_in_each_step(home, [step], random.Random(20), kinds=["everything"])
        assert home.kills.total() == 1
        assert outcome_of(home.run()) == outcome_of(undisturbed.summary)
        assert differences(home.content(), undisturbed.content) == []
        assert home.left_behind() == []
