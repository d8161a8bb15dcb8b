"""``aperture history import``: what users watched before, from files of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.files import read_history_file
from aperture_dagster.catalogue.history_import.past_plays import PastPlays, UserImport
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Console, Terminal
from aperture_dagster.model import Clock, counted
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.in_force import TRAKT, give_rating, never_rated
from aperture_dagster.settings import load_settings

BATCH = 1_000


@click.group()
def history() -> None:
    """What users watched before, with other programs."""


@history.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--user", "names", multiple=True, metavar="[THEIRS=]OURS",
    help="Whose plays these are: of the user THEIRS in the files, or of the files' only user.",
)  # fmt: skip
@click.option("--apply", "write", is_flag=True, help="Import them; without it, only show what would be imported.")
def import_history(files: Sequence[Path], names: Sequence[str], write: bool) -> None:
    """Import plays and ratings from a Trakt export, a Playback Reporting backup, or a Tautulli history.

    Example: aperture history import export.zip --user Anna

    docs/history.md says which files these are, and how titles are recognised. Nothing is ever imported twice.
    """
    console = Terminal()
    with operator_errors():
        settings = load_settings()
        database, zone = Database(settings), ZoneInfo(settings.schedule_timezone)
        with database.transaction() as connection:
            users = read_users(connection)
            whose: dict[str | None, User] = {}
            for one in names:
                theirs, is_named, ours = one.rpartition("=")
                whose[theirs.casefold() if is_named else None] = find_user(connection, ours)
        plays = PastPlays(database, users, whose, write=write, now=Clock().now())
        rows = (row for path in files for row in read_history_file(path, zone))
        with console.status("Reading …") as status:
            read = 0
            while batch := list(islice(rows, BATCH)):
                plays.take(batch)
                status.update(f"{(read := read + len(batch)):,} rows read …")
        new_ratings = {user_id: _take_ratings(database, user_id, one, write) for user_id, one in plays.found.items()}
    if plays.found:
        Console().print(_table(plays.found, new_ratings, write))
    for reason, count in plays.left_out.most_common():
        examples = ", ".join(plays.examples[reason])
        more = ", …" if count > len(plays.examples[reason]) else ""
        said = f"{counted(count, 'rows')} left out: {reason} ({examples}{more})"
        console.print_hanging(Text.assemble(("! ", "yellow"), said))
    if not plays.found:
        raise OperatorError("There is nothing to import.")
    if not any([*new_ratings.values(), *(one.plays for one in plays.found.values())]):
        console.print_hanging("All of it is known.", "dim")
    elif write:
        console.print_hanging("Tastes and lists follow in the coming night, or run generate_recommendations.", "dim")
    else:
        console.print_hanging("Nothing was changed. To import this, add --apply.", "dim")


def _take_ratings(database: Database, user_id: str, found: UserImport, write: bool) -> int:
    """Count the ratings of titles that the user never rated here and, where that is wanted, take them over."""
    with database.transaction() as connection:
        lock_history(connection, user_id)
        new = never_rated(connection, user_id, list(found.ratings))
        for work in sorted(new) if write else ():
            row = found.ratings[work]
            give_rating(connection, user_id, work, row.rating, source=TRAKT, rated_at=row.at or Clock().now())
    return len(new)


def _table(found: dict[str, UserImport], new_ratings: dict[str, int], is_written: bool) -> Table:
    """Return a line for each user, by name."""
    done = "imported" if is_written else "to import"
    table = Table("User", f"Plays {done}", "known", f"Ratings {done}", "known", box=None, padding=(0, 1))
    for user_id, one in sorted(found.items(), key=lambda pair: pair[1].name.casefold()):
        counts = (one.plays, one.known, new_ratings[user_id], len(one.ratings) - new_ratings[user_id])
        table.add_row(Text(one.name), *(f"{count:,}" for count in counts))
    return table
