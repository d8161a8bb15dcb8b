"""``aperture doctor``: examine everything that a working system needs, and say what to do about what is wrong."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import click
from rich.text import Text

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_to_act_with
from aperture_dagster.cli.terminal import Terminal, echo_json, json_option
from aperture_dagster.maintenance.status import State
from aperture_dagster.model import counted

NAMES = 12
"""Columns of the names of what is examined."""

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "off": ("-", "dim"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "red"),
}
WORST_FIRST: tuple[State, ...] = ("failed", "warning", "ok", "off")


FORMAT = 1
"""Version of the JSON; keys are only added to it."""


@click.command()
@json_option
@home_option
def doctor(as_json: bool, home: str | None) -> None:
    """Examine everything that a working system needs, and say what to do about what is wrong.

    What is wrong comes first. The exit code is 1 if anything failed; warnings do not count.
    """
    # It logs each step of opening a database.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with operator_errors(), settings_to_act_with(home) as settings:
        findings = sorted(examine(settings), key=lambda one: WORST_FIRST.index(one.state))
    counts: Counter[State] = Counter(one.state for one in findings)
    if as_json:
        found = [asdict(one) for one in findings]
        document = {"format": FORMAT, "ok": not counts["failed"], "home": settings.home_path, "findings": found}
        echo_json(document)
        sys.exit(bool(counts["failed"]))
    console = Terminal()
    console.print_hanging(f"Examined {settings.home_path}", "bold")
    for finding in findings:
        start = Text.assemble(" ", MARKS[finding.state], f"  {finding.what:<{NAMES}}  ")
        console.print_hanging(start + Text(finding.message), hang=NAMES + 6)
    console.print()
    console.print_hanging(summary(counts), "red" if counts["failed"] else "yellow" if counts["warning"] else "green")
    sys.exit(bool(counts["failed"]))


def summary(counts: Mapping[State, int]) -> str:
    """Say how many findings there are of each state."""
    failed, warnings = counts["failed"], counts["warning"]
    wrong = [f"{failed} failed"] * bool(failed) + [counted(warnings, "warnings")] * bool(warnings)
    rest = f"{counts['ok']} fine, {counts['off']} off"
    return f"{', '.join(wrong) or 'Nothing is wrong'}; {rest}."
