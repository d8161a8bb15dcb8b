"""``aperture crowd``: what other people watched, as a table of films that go together."""

from __future__ import annotations

from pathlib import Path

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_of_home
from aperture_dagster.cli.requirements import require_writable
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.taste.crowd import table_in_use

# pandas and numpy would slow every command down: modules that import them are imported when a command runs.


@click.group()
def crowd() -> None:
    """What other people watched: better lists for a small household, from public histories."""


@crowd.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default="crowd.npz", show_default=True,
    help="File to write.",
)  # fmt: skip
@click.option("--licence", default="", help="A note on the terms of the data, kept in the file.")
def build(folder: Path, output: Path, licence: str) -> None:
    """Make a table from FOLDER, which holds histories in MovieLens format: ratings.csv and links.csv.

    Example: aperture crowd build ml-32m --licence "GroupLens, research only"
    """
    from aperture_dagster.taste.crowd_table import build_table, write_table

    console = Terminal()
    with operator_errors():
        console.print_hanging(f"Reading {folder} …")
        made = build_table(folder, licence=licence)
        write_table(output, made)
    size, header = output.stat().st_size / 1e6, made.header
    films = len(made.arrays["tmdb_ids"])
    console.print_hanging(
        f"Wrote {output} ({size:.1f} MB): {films:,} films, from {header.people:,} of {header.people_read:,} people."
    )
    console.print_hanging(f"To use it: aperture crowd use {output}")


@crowd.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
def use(file: Path, home: str | None) -> None:
    """Copy the table FILE into the home, and say what it knows about the library.

    Example: aperture crowd use crowd.npz
    """
    from aperture_dagster.taste.crowd_table import read_table, write_table

    console = Terminal()
    with operator_errors():
        found = read_table(file)
        settings = settings_of_home(home)
        require_writable(settings.home_path)
        write_table(table_in_use(settings), found)
    header = found.header
    console.print_hanging(f"Lists made from now on know what {header.people:,} people of {header.source} watched.")
    if header.licence:
        console.print_hanging(f"Terms of the data: {header.licence}")


@crowd.command()
@home_option
def remove(home: str | None) -> None:
    """Remove the table from the home; lists made from now on do without it."""
    with operator_errors():
        settings = settings_of_home(home)
        if not table_in_use(settings).exists():
            raise OperatorError(f"There is no table of a crowd in {settings.home_path}.")
        table_in_use(settings).unlink()
    Terminal().print_hanging("Removed. Lists made from now on do without it.")
