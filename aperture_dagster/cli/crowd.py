"""``aperture crowd``: what other people watched, as a table of films that go together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_of_home
from aperture_dagster.cli.requirements import require_writable
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.files import locks
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.taste.crowd import describe_effect, table_in_use

if TYPE_CHECKING:
    from aperture_dagster.taste.crowd_table import CrowdTable

# pandas and numpy would slow every command down: modules that import them are imported when a command runs.


@click.group()
def crowd() -> None:
    """What other people watched: better lists for a small household, from public histories."""


@crowd.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default="crowd.npz", show_default=True,
    help="File to write.",
)  # fmt: skip
@click.option("--licence", default="", help="A note on the terms of the data, kept in the file.")
def build(source: Path, output: Path, licence: str) -> None:
    """Make a table from SOURCE, a folder or zip archive with histories in MovieLens format: ratings.csv and links.csv.

    Example: aperture crowd build ml-32m.zip --licence "GroupLens, research only"
    """
    from aperture_dagster.taste.crowd_table import build_table, write_table

    console = Terminal()
    with operator_errors():
        console.print_hanging(f"Reading {source} …")
        made = build_table(source, licence=licence)
        write_table(output, made)
    size, header = output.stat().st_size / 1e6, made.header
    films = len(made.arrays["tmdb_ids"])
    console.print_hanging(
        f"Wrote {output} ({size:.1f} MB): {films:,} films, from {header.people:,} of {header.people_read:,} people."
    )
    console.print_hanging(f"To use it: aperture crowd use {output}")


# The names of `taste/crowd_sources.py`, which loads what only a download needs.
NAMES = ("ml-32m", "ml-latest-small")
TENTHS = 10


@crowd.command()
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option("--yes", is_flag=True, help="Accept the terms without being asked.")
@home_option
def fetch(name: str, yes: bool, home: str | None) -> None:
    """Download public histories, make a table of them, and put it into use, after showing the terms.

    NAME is ml-32m, or ml-latest-small to try it. A download that was interrupted goes on when this is called again.
    The archive is removed in the end; only the table is kept, which holds no person and no rating.

    Example: aperture crowd fetch ml-32m
    """
    from aperture_dagster.taste.crowd_sources import DATA_SETS, LICENCE, fetch_archive
    from aperture_dagster.taste.crowd_table import CrowdError, build_table, write_table

    console, data_set = Terminal(), DATA_SETS[name]
    with operator_errors():
        settings = settings_of_home(home)
        console.print_hanging(f"{name} by GroupLens: {data_set.about}")
        console.print_hanging(f"Terms of the data: {LICENCE}. In full: {data_set.terms}")
        if not yes:
            click.confirm("Do you accept these terms, and shall it be downloaded?", abort=True)
        require_writable(settings.home_path)
        with _only_fetch(table_in_use(settings).parent) as folder:
            archive = fetch_archive(settings, data_set, folder, show=_progress(console))
            console.print_hanging(f"Reading {archive.name} and learning which films go together: some minutes …")
            try:
                table = build_table(archive, name=name, licence=f"GroupLens, {LICENCE}")
            except CrowdError:
                archive.unlink()
                raise
            header = table.header
            people = f"{header.people:,} of {header.people_read:,} people"
            console.print_hanging(f"Made a table of {len(table.arrays['tmdb_ids']):,} films from {people}.")
            for line in _effect(settings, table):
                console.print_hanging(line)
            write_table(table_in_use(settings), table)
            archive.unlink()
    console.print_hanging("It is in use: the job generate_recommendations renews the lists with it, next tonight.")


@contextlib.contextmanager
def _only_fetch(folder: Path) -> Iterator[Path]:
    """Make the folder of the table, and keep other processes from fetching into it. OperatorError if one does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = locks.acquire(folder / "fetch.lock", wait=False)
    if lock is None:
        raise OperatorError("Another `aperture crowd fetch` is under way on this home: let it finish.")
    try:
        yield folder
    finally:
        locks.release(lock)


def _progress(console: Terminal) -> Callable[[int, int], None]:
    """Return what says how much has arrived, at each tenth."""
    said = -1

    def show(there: int, whole: int) -> None:
        nonlocal said
        if (tenth := there * TENTHS // max(whole, 1)) > said:
            said = tenth
            console.print_hanging(f"Downloaded {there / 1e6:,.1f} of {whole / 1e6:,.1f} MB")

    return show


def _effect(settings: Settings, table: CrowdTable) -> list[str]:
    """Say what a table will change for whom; a database that cannot be read prevents nothing."""
    try:
        with Database(settings).transaction() as connection:
            return describe_effect(connection, settings, table)
    except (DatabaseError, ServiceError) as error:
        return [f"What it will change cannot be said, since the database cannot be read: {error}"]


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
    """Remove the table from the home, and unfinished downloads; lists made from now on do without it."""
    from aperture_dagster.taste.crowd_sources import discard_archives

    with operator_errors():
        settings = settings_of_home(home)
        discard_archives(table_in_use(settings).parent)
        if not table_in_use(settings).exists():
            raise OperatorError(f"There is no table of a crowd in {settings.home_path}.")
        table_in_use(settings).unlink()
    Terminal().print_hanging("Removed. Lists made from now on do without it.")
