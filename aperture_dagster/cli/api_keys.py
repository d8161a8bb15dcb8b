"""``aperture api-key``: the keys with which programs read lists."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Terminal, echo
from aperture_dagster.members.keys import add_key, read_keys, remove_key
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import load_settings


@click.group("api-key")
def api_key() -> None:
    """The keys with which programs, such as dashboards, read lists."""


@api_key.command()
@click.argument("name")
@click.option("--user", help="The one user whose lists it may read. Default: all.")
def add(name: str, user: str | None) -> None:
    """Make a key for the program NAME, and print it: it is shown this once, and not stored.

    Example: aperture api-key add "Home Assistant" --user Anna
    """
    with operator_errors(), Database(load_settings()).transaction() as connection:
        whose = find_user(connection, user) if user is not None else None
        key = add_key(connection, name, whose.user_id if whose is not None else None)
        if key is None:
            raise OperatorError(f"There is a key named {name!r}. Choose another name, or remove that one first.")
    echo(f"{name} reads the lists of {whose.name if whose is not None else 'all users'} with this key:", err=True)
    echo(key)


@api_key.command("list")
def list_keys() -> None:
    """Show which programs have a key, and for whose lists."""
    with operator_errors(), Database(load_settings()).transaction() as connection:
        rows = read_keys(connection)
    table = Table("Program", "Lists of", "Since", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(Text(row["name"]), Text(row["user"] or "all users"), f"{row['created_at']:%Y-%m-%d}")
    Terminal().print(table if rows else "No program has a key: run `aperture api-key add NAME`.")


@api_key.command()
@click.argument("name")
def remove(name: str) -> None:
    """End the key of the program NAME, at once."""
    with operator_errors(), Database(load_settings()).transaction() as connection:
        if not remove_key(connection, name):
            raise OperatorError(f"There is no key named {name!r}: see `aperture api-key list`.")
    echo(f"The key of {name} is worth nothing from now on.")
