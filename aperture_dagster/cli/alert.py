"""``aperture alert``: prove that alerts reach the operator."""

from __future__ import annotations

import sys

import click
from rich.text import Text

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import load_settings

TEST = Message(
    "Aperture: a test",
    "Alerts reach this address. Problems are reported once when they begin, at most once a day while they go on, and "
    "when they are over.",
    is_good=True,
)


@click.group()
def alert() -> None:
    """Reports of problems to the addresses of APERTURE_ALERT_URLS."""


@alert.command()
def test() -> None:
    """Send a message to each address, and show whether that worked; exit code 1 if it failed for one."""
    with operator_errors():
        notifier = Notifier(load_settings())
    if not notifier.addresses:
        raise OperatorError(
            "APERTURE_ALERT_URLS is not set, so problems are only logged. Set it in the environment or in .env; "
            "docs/alerts.md has examples."
        )
    outcomes = notifier.send_to_all(TEST)
    console = Terminal()
    for address, reason in outcomes:
        mark, said = (("✓", "green"), "sent") if reason is None else (("✗", "red"), f"not sent: {reason}")
        console.print_hanging(Text.assemble(mark, f"  {address.shown}  {' '.join(said.split())}"), hang=3)
    sys.exit(any(reason is not None for _, reason in outcomes))
