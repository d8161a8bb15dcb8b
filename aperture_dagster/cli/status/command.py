"""``aperture status``: what is there, and what is wrong, for people and for monitors.

It looks at the state that is stored here, and asks no service; ``aperture doctor`` examines connections and settings.
"""

from __future__ import annotations

import sys

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_of_home
from aperture_dagster.cli.status.document import as_document
from aperture_dagster.cli.status.page import print_status
from aperture_dagster.cli.status.prices import show_prices
from aperture_dagster.cli.status.reading import read_status
from aperture_dagster.cli.terminal import Terminal, echo_json, json_option
from aperture_dagster.maintenance.status import (
    find_wrong,
)
from aperture_dagster.model import Clock


@click.command()
@json_option
@home_option
@click.option("--prices", is_flag=True, help="Show instead what each embedding model costs for this library.")
def status(as_json: bool, home: str | None, prices: bool) -> None:
    """Show what is there and what is wrong; the exit code is 1 if something is.

    It reads what is stored and asks no service. To find out why something is wrong: aperture doctor. The keys of the
    JSON are explained in docs/status.md.
    """
    with operator_errors():
        settings = settings_of_home(home)
        if prices:
            show_prices(settings, as_json=as_json)
            return
        found = read_status(settings, now=Clock().now())
        wrong = find_wrong(found)
    if as_json:
        echo_json(as_document(settings, found, wrong))
    else:
        print_status(settings, found, wrong, Terminal())
    sys.exit(1 if wrong else 0)
