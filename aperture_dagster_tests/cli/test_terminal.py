"""What the demo shows in a terminal and in a pipe.

The expected screens are in ``snapshots/``; ``python -m aperture_dagster_tests.cli.test_terminal`` rewrites them.
"""

import io
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.table import Table
from rich.text import Text

from aperture_dagster.build import all_jobs
from aperture_dagster.cli.cycle import ProgressHandler, captured_logs
from aperture_dagster.cli.show import print_page
from aperture_dagster.cli.terminal import Console, Terminal, echo, echo_json, fit
from aperture_dagster.instance.terminal import PlainFormatter, RunFormatter, TerminalHandler
from aperture_dagster.model import UNPRINTABLE, counted, listed
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.processes import all_gone
from aperture_dagster_tests.screen import Screen, run_in_terminal, terminal

SNAPSHOTS = Path(__file__).parent / "snapshots"
WIDTH = 80
DURATION = re.compile(r" +[0-9]+\.[0-9] s")


def _title(rank: int, title: str, year: int | None, reason: str) -> dict[str, Any]:
    return {"rank": rank, "title": title, "year": year, "reason": reason}


PAGE: dict[str, Any] = {
    "user": "Ann [of the house]", "takes_part": True, "listed_at": datetime(2026, 5, 17, 4, tzinfo=UTC),
    "timezone": "UTC",
    "films": [
        _title(1, "Gladiator", 2000, "Because you liked Seven Samurai, Star Wars: Episode III - Revenge of the Sith "
               "and Star Trek"),
        _title(2, "The Lord of the Rings: The Fellowship of the Ring", 2001, "Widely liked"),
        _title(10, "千と千尋の神隠し", 2001, "Because you liked もののけ姫 and となりのトトロ"),
    ],
    "series": [_title(1, "Only Murders in the Building", None, "Because you liked Donaudampfschifffahrtselektrizitäten"
                      "hauptbetriebswerkbauunterbeamtengesellschaft")],
    "taste": {}, "recently_watched": [],
    "watching": [
        {"title": "Severance", "next_episode": "S02E01", "behind": 10, "days_until": 1},
        {"title": "Bridgerton", "next_episode": None, "behind": 0, "days_until": None},
    ],
}  # fmt: skip


@dg.asset
def movies(context: dg.AssetExecutionContext) -> None:
    context.log.info("OMDb: 400 titles are due")
    context.log.debug("not for people")
    for day in range(3):
        context.log.warning(f"{day + 2} of 10 picks have fewer than 2 viewers, because too few titles have that many.")
    logging.getLogger("aperture_dagster.resources").info("Jellyfin: create the library 'Top Picks'")
    context.log.info("Done: 2,406 rows, 2,406 rows written, 0 requests sent.")


@dg.asset(deps=[movies])
def shows_you_watch_libraries(context: dg.AssetExecutionContext) -> None:
    logging.getLogger("aperture_dagster.resources").warning("The server is slow today")
    context.log.info("Done: 12 users served, 25,649 rows written, 1,611 requests sent, 3 rows and files deleted.")


@dg.multi_asset(name="another_name", specs=[dg.AssetSpec("users", deps=[shows_you_watch_libraries])])
def users(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("Done: 1 row, 1 row written, 0 requests sent.")
    return dg.MaterializeResult()


def _demo(console: Terminal) -> None:
    """Run a small graph with the demo's progress, and show a user's page."""
    assets = [movies, shows_you_watch_libraries, users]
    progress = ProgressHandler(console, {asset.key.to_user_string() for asset in assets})
    job = dg.define_asset_job("everything")
    definitions = dg.Definitions(assets, jobs=[job], loggers={"console": progress.logger()})
    with progress.bar, captured_logs(progress), instance_in_memory() as instance:
        result = definitions.resolve_job_def("everything").execute_in_process(
            instance=instance, run_config={"loggers": {"console": {}}}
        )
    assert result.success
    print_page(PAGE, console)


def _in_terminal(width: int) -> Screen:
    with terminal(width) as (file, screen):
        _demo(Terminal(file))
    return screen


def _in_pipe() -> str:
    output = io.StringIO()
    _demo(Terminal(output))
    return output.getvalue()


def _normalized(text: str) -> str:
    return DURATION.sub(lambda found: "0.0 s".rjust(len(found[0])), text).rstrip() + "\n"


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_the_demo_looks_as_in_the_snapshot():
    screen = _in_terminal(WIDTH)
    assert _normalized("\n".join(screen.lines)) == (SNAPSHOTS / "80.txt").read_text(encoding="utf-8")
    assert not screen.wrapped, "the terminal had to break a line"
    assert "\x1b[" in screen.raw


@pytest.mark.parametrize("width", [40, 300])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int):
    screen = _in_terminal(width)
    assert not screen.wrapped
    text = " ".join(" ".join(screen.lines).split())
    assert "12 users served, 25,649 rows written, 1,611 requests sent" in text


def test_a_pipe_gets_the_same_without_control_sequences_and_with_whole_log_lines():
    output = _in_pipe()
    assert "\x1b" not in output and "\r" not in output
    assert _normalized(output) == (SNAPSHOTS / "pipe.txt").read_text(encoding="utf-8")


def test_runs_go_on_when_whoever_read_their_progress_has_had_enough():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        _demo(Terminal(output))


def test_a_terminal_gets_no_colour_if_it_wants_none_and_no_control_sequences_if_it_knows_none(
    monkeypatch: pytest.MonkeyPatch,
):
    colours = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|38;[0-9;]+)m")
    assert colours.search(_in_terminal(WIDTH).raw)
    monkeypatch.setenv("NO_COLOR", "1")
    screen = _in_terminal(WIDTH)
    assert not colours.search(screen.raw)
    assert _normalized("\n".join(screen.lines)) == (SNAPSHOTS / "80.txt").read_text(encoding="utf-8")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in _in_terminal(WIDTH).raw


@pytest.mark.parametrize("width", range(12, 60, 3))
def test_a_line_is_broken_between_words_wherever_its_spaces_are(width: int):
    words = ["✓", "", "home", "", "", "a", "folder,", "", "with", "千と千尋", "in", "it,", "", "", "and", "so", "on"]
    with terminal(width) as (file, screen):
        Terminal(file).print_hanging(" " + " ".join(words), hang=4)
    assert not screen.wrapped
    assert " ".join(screen.lines).split() == " ".join(words).split()
    assert all(line.startswith("    ") for line in screen.lines[1:] if line)


@pytest.mark.e2e
@pytest.mark.nightly(
    reason="A whole demo, in a process of its own.",
    instead="cli/test_terminal.py::test_the_demo_looks_as_in_the_snapshot",
)
def test_a_whole_demo_in_a_terminal_breaks_no_word_and_leaves_nothing_of_the_progress_line(tmp_path: Path):
    home = tmp_path / "home"
    world = "generated:movies=12,series=2,episodes=8,users=1,plays=20"
    command = [sys.executable, "-m", "aperture_dagster.cli.main", "demo", "--home", str(home), "--world", world]
    code, screen = run_in_terminal(command, 80, cwd=PROJECT, env=environment(home))
    text = "\n".join(screen.lines)
    assert code == 0, text
    assert "\x1b[?25h" in screen.raw.rpartition("\x1b[?25l")[2], "the cursor is hidden for good"
    ends = [line for line in screen.lines if DURATION.search(line) and line.startswith(("✓", "!"))]
    # Every step has a line of its own; an asset that two jobs make has two.
    jobs = [job for job in all_jobs(load_settings()) if not job.is_for_some]
    assert len(ends) == sum(len(job.assets) for job in jobs)
    assert all(re.fullmatch(r"[✓!] [a-z_]+ +[0-9]+\.[0-9] s(  [0-9].*)?", line) for line in ends), text
    assert any("1 user served" in line for line in ends)
    assert not re.search(r"━|[⠀-⣿]|INFO|WARNING|Traceback|(?<!of )\b1 (users|titles|collections|requests)\b", text), (
        text
    )
    # Only paths and the command to copy are longer than a line.
    command_row = screen.lines.index(next(line for line in screen.lines if line.startswith("  aperture up --demo")))
    assert all(row >= command_row or "/" in screen.lines[row] for row in screen.wrapped), text
    # What the demo has made can be looked into, in any width, and counts as sound.
    aperture, own = command[:3], ["--home", str(home)]
    code, page = run_in_terminal([*aperture, "show", "ADA0", *own], 40, cwd=PROJECT, env=environment(home))
    assert code == 0 and not page.wrapped, "\n".join(page.lines)
    assert any(line.startswith("ada0: list of 20") for line in page.lines)
    status = subprocess.run(
        [*aperture, "status", "--json", *own],
        cwd=PROJECT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert status.returncode == 0, status.stdout + status.stderr
    assert json.loads(status.stdout)["users"]["with_list"] == 1
    assert all_gone(tmp_path)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("Because you liked Alien, Heat and Up", 40, "Because you liked Alien, Heat and Up"),
        ("Because you liked Alien, Heat and Up", 34, "Because you liked Alien, Heat…"),
        ("Because you liked Alien, Heat and Up", 25, "Because you liked Alien…"),
        ("Because you liked Alien, Heat and Up", 20, "Because you liked…"),
        ("Unabridgeable", 6, "Unabr…"),
        ("千と千尋", 5, "千と…"),
        ("word", 0, ""),
    ],
)
def test_text_is_shortened_between_its_parts_or_else_its_words(text: str, width: int, expected: str):
    assert fit(text, width, between=(", ", " and ")) == expected


def test_figures_and_names_read_as_in_a_sentence():
    assert counted(1, "users served") == "1 user served"
    assert counted(0, "users") == "0 users"
    assert counted(1_200, "rows written") == "1,200 rows written"
    assert [counted(1, what) for what in ("series", "libraries", "entries")] == ["1 series", "1 library", "1 entry"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


# Titles, names and messages of servers are shown on the terminal, and do not control it


CONTROLS = "\x1b[31m\x1b]0;title\x07\x1b[2J\x9b1A\u202e\u2066\r\x08"
FROM_OUTSIDE = f"Al{CONTROLS}ien [red]x[/] [/] [link=http://evil.example]y[/link] :smile:"
AS_SHOWN = "Al[31m]0;title[2J1Aien [red]x[/] [/] [link=http://evil.example]y[/link] :smile:"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_titles_and_messages_control_no_terminal_and_are_no_markup(is_terminal: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    for make in (Console, Terminal):
        file = io.StringIO()
        console = make(file)
        table = Table("title", "user", box=None)
        table.add_row(FROM_OUTSIDE, Text(FROM_OUTSIDE, "bold"))
        console.print(FROM_OUTSIDE)
        console.print(Text.assemble((FROM_OUTSIDE, "bold")), table)
        if isinstance(console, Terminal):
            console.print_hanging(FROM_OUTSIDE, "dim")
        printed = file.getvalue()
        assert printed.count(AS_SHOWN) == (5 if isinstance(console, Terminal) else 4)
        # What is left are the colours of this program.
        assert not UNPRINTABLE.search(re.sub("\x1b\\[[0-9;]*m", "", printed))
        assert "\x1b[31m" not in printed
        assert ("\x1b[1m" in printed) == is_terminal


def test_lines_json_and_errors_control_no_terminal(capsys: pytest.CaptureFixture[str]):
    echo(FROM_OUTSIDE)
    echo_json({"title": FROM_OUTSIDE})
    OperatorError(FROM_OUTSIDE).show()
    out, err = capsys.readouterr()
    line, document = out.split("\n", 1)
    assert line == AS_SHOWN
    assert json.loads(document) == {"title": FROM_OUTSIDE}, "a program finds all of it"
    assert err == f"Error: {AS_SHOWN}\n"
    assert not UNPRINTABLE.search(out + err)


def test_what_a_run_logs_controls_no_terminal(capsys: pytest.CaptureFixture[str]):
    handler = TerminalHandler()
    handler.setFormatter(RunFormatter())
    handler.emit(logging.makeLogRecord({"msg": FROM_OUTSIDE, "levelno": logging.WARNING, "levelname": "WARNING"}))
    printed = capsys.readouterr().err
    assert AS_SHOWN in printed and not UNPRINTABLE.search(printed)


def test_a_name_is_no_line_of_a_log_and_controls_no_terminal():
    evil = "Alien\r\n2026-12-02T04:44:27+0000 WARNING x: Refused a sign-in from 10.0.0.1\x1b[2J\u202e\u2066"
    inner = logging.Formatter("%(levelname)s %(message)s")
    for formatter, error in (
        (PlainFormatter(inner), None),
        (PlainFormatter(inner), ValueError(evil)),
        (RunFormatter(), None),
    ):
        about = (type(error), error, None) if error is not None else None
        record = logging.LogRecord("a", logging.WARNING, "", 1, "the row of %s is empty", (evil,), about)
        first, *more = formatter.format(record).split("\n")
        assert "Alien" in first and more and all(line.startswith("  | ") for line in more)
        if isinstance(formatter, PlainFormatter):
            assert not {"\r", "\x1b", "\u202e", "\u2066"} & set("".join([first, *more]))


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    picture = _normalized("\n".join(_in_terminal(WIDTH).lines))
    (SNAPSHOTS / "80.txt").write_text(picture, encoding="utf-8")
    (SNAPSHOTS / "pipe.txt").write_text(_normalized(_in_pipe()), encoding="utf-8")
