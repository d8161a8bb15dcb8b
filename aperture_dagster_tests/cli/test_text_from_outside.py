"""Titles, names and messages of servers are shown on the terminal, and do not control it."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import Console, Terminal, echo, echo_json
from aperture_dagster.instance.terminal import RunFormatter, TerminalHandler
from aperture_dagster.model import UNPRINTABLE
from aperture_dagster.model.errors import OperatorError

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
