"""``aperture clock``: set right what was dated in the future while the clock was ahead."""

from __future__ import annotations

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.maintenance.clock import future_dates, set_right
from aperture_dagster.model import SKEW, Clock, counted, describe_future, duration
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time
from aperture_dagster.settings import load_settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be set right.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clock(dry_run: bool, yes: bool) -> None:
    """Set right what is dated in the future, because the clock was ahead when it was written.

    It is dated now instead, and what was planned from such a date becomes due. Set the clock first: to a clock that is
    behind, everything looks as if it were in the future.
    """
    console = Terminal()
    with operator_errors():
        database, now = Database(load_settings()), Clock().now()
        with database.transaction() as connection:
            apart, dated = database_time(connection) - now, future_dates(connection, now=now)
        if abs(apart) > SKEW:
            raise OperatorError(
                f"The clocks of this machine and of the database are {duration(abs(apart).total_seconds())} apart: set "
                "the wrong one first. Nothing was changed."
            )
        sentence = describe_future(dated, now)
        if sentence is None:
            console.print_hanging("Nothing is dated in the future.")
            return
        console.print_hanging(sentence)
        if dry_run:
            return
        if not yes:
            click.confirm(f"It is now {now:%Y-%m-%d %H:%M} UTC by this clock. Is that so?", abort=True)
        with database.transaction() as connection:
            rows = set_right(connection, now=now)
        console.print_hanging(f"Set right: {counted(rows, 'rows')}.", "green")
