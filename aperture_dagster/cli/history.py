"""``aperture history``: what users watched before, from files of other programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.columns import ALIASES, Reading, Role, Survey, suggested_scale
from aperture_dagster.catalogue.history_import.files import read_history_file, survey_file
from aperture_dagster.catalogue.history_import.rows import NAMES, PastRow
from aperture_dagster.catalogue.history_import.stored import read_imports
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Console, Terminal
from aperture_dagster.imports.importing import apply_plan, batches, start_plan, take_back
from aperture_dagster.imports.plan import EXAMPLES, Plan, Planner
from aperture_dagster.model import Clock, counted
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import load_settings

KINDS = ("plays", "elsewhere", "named", "ratings", "wanted")


@click.group()
def history() -> None:
    """What users watched before, with other programs."""


@history.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--user", "names", multiple=True, metavar="[THEIRS=]OURS",
    help="Whose plays these are: of the user THEIRS in the files, or of the files' only user.",
)  # fmt: skip
@click.option("--scale", type=click.FloatRange(1, 1000), help="How high ratings go in a plain table: 5, 10 or 100.")
@click.option("--dates", type=click.Choice(["dmy", "mdy", "ymd"]), help="Order of day, month and year: 03/06/24.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=HEADING", help="Which column of a table is what.")
@click.option("--share-ratings", is_flag=True, help="Send imported ratings to the media server and Trakt, too.")
@click.option("--apply", "write", is_flag=True, help="Import them; without it, only show what would be imported.")
def import_history(
    files: Sequence[Path],
    names: Sequence[str],
    scale: float | None,
    dates: str | None,
    columns: Sequence[str],
    share_ratings: bool,
    write: bool,
) -> None:
    """Import plays and ratings from Letterboxd, IMDb, Netflix, Simkl, MDBList, Trakt, Tautulli, or a plain table.

    Example: aperture history import export.zip --user Anna

    docs/history.md says which files these are, and how titles are recognised. Nothing is ever imported twice.
    """
    console = Terminal()
    with operator_errors():
        settings = load_settings()
        reading = Reading(_roles(columns), scale, dates)  # pyright: ignore[reportArgumentType]
        database, zone = Database(settings), ZoneInfo(settings.schedule_timezone)
        done = Outcome()
        with console.status("Reading …"):
            for path in files:
                known = _ask(path, reading)
                with database.transaction() as connection:
                    people = _People(connection, names)
                    _import_file(connection, path, zone, known, people, done, share_ratings)
                    if not write:
                        # What was planned is exact because it was done, and is undone.
                        connection.rollback()
    if done.figures:
        Console().print(_table(done, write))
    for reason, count in done.refused.most_common():
        examples = ", ".join(done.examples[reason])
        more = ", …" if count > len(done.examples[reason]) else ""
        said = f"{counted(count, 'rows')} left out: {reason} ({examples}{more})"
        console.print_hanging(Text.assemble(("! ", "yellow"), said))
    if not done.figures:
        raise OperatorError("There is nothing to import.")
    if not any(sum(one.values()) for one in done.figures.values()):
        console.print_hanging("All of it is known.", "dim")
    elif write:
        console.print_hanging("Tastes and lists follow in the coming night, or run generate_recommendations.", "dim")
    else:
        console.print_hanging("Nothing was changed. To import this, add --apply.", "dim")


@history.command(name="list")
@click.argument("user")
def list_imports(user: str) -> None:
    """List the files that were imported for USER, with their numbers."""
    with operator_errors():
        with Database(load_settings()).transaction() as connection:
            imports = read_imports(connection, find_user(connection, user).user_id)
        if not imports:
            raise OperatorError("Nothing was imported.")
    table = Table("No.", "Imported", "From", "File", "What", box=None, padding=(0, 1))
    for stored in imports:
        what = ", ".join(f"{count:,} {kind}" for kind, count in stored.figures.items() if count)
        source = next((name for program, name in NAMES.items() if program == stored.source), stored.source)
        table.add_row(str(stored.import_id), f"{stored.imported_at:%Y-%m-%d}", source, Text(stored.file_name), what)
    Console().print(table)


@history.command(name="take-back")
@click.argument("user")
@click.argument("number", type=int)
def take_back_import(user: str, number: int) -> None:
    """Delete everything that the import NUMBER of USER wrote; `aperture history list` shows the numbers."""
    with operator_errors(), Database(load_settings()).transaction() as connection:
        person = find_user(connection, user)
        if not take_back(connection, person.user_id, number, now=Clock().now()):
            raise OperatorError(f"{person.name} has no import {number}.")
    Terminal().print_hanging("It was taken back.", "dim")


class Outcome:
    """What was read and written, by the user's id, and what was not."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.figures: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.known: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, user: User, plan: Plan, figures: Mapping[str, int]) -> None:
        """Add what a file held for a user."""
        self.names[user.user_id] = user.name
        self.figures[user.user_id].update(figures)
        self.known[user.user_id] += plan.known
        for question in plan.questions.values():
            year = f" ({question.year})" if question.year else ""
            plan.refused["it may be another title, or several"] += question.rows - 1
            plan.leave_out("it may be another title, or several", f"{question.title}{year}")
        self.leave_out(plan)

    def leave_out(self, plan: Plan) -> None:
        """Add what was left out."""
        self.refused.update(plan.refused)
        for reason, examples in plan.examples.items():
            new = [one for one in examples if one not in self.examples[reason]]
            self.examples[reason] = [*self.examples[reason], *new][:EXAMPLES]


class _People:
    """Whom the names in files mean."""

    def __init__(self, connection: Connection, names: Sequence[str]) -> None:
        self._users = read_users(connection)
        self._names: dict[str | None, User | None] = {}
        for name in names:
            theirs, is_named, ours = name.rpartition("=")
            self._names[theirs.casefold() if is_named else None] = find_user(connection, ours)

    def find(self, name: str | None) -> User | str:
        """Return a user, or why there is none."""
        key = name.casefold() if name is not None else None
        if key not in self._names:
            found = match_users(name, self._users) if name else []
            self._names[key] = found[0] if len(found) == 1 else None
        user = self._names[key]
        if user is None and name is None:
            return "the file does not say whose it is: --user NAME"
        return user if user is not None else f"nobody here is called {name!r}: --user {name}=NAME"


def _import_file(
    connection: Connection,
    path: Path,
    zone: ZoneInfo,
    reading: Reading,
    people: _People,
    done: Outcome,
    share_ratings: bool,
) -> None:
    """Import a file for everybody whom it names; what cannot be read, and what follows, is left out."""
    now, nobody = Clock().now(), Plan()
    planners: dict[str, tuple[User, Planner]] = {}
    for batch, works in batches(connection, read_history_file(path, zone, reading)):
        for row in batch:
            if not isinstance(row, PastRow):
                nobody.leave_out(row.reason, row.where)
                continue
            user = people.find(row.user)
            if isinstance(user, str):
                nobody.leave_out(user, row.label)
                continue
            if user.user_id not in planners:
                lock_history(connection, user.user_id)
                planners[user.user_id] = user, start_plan(connection, user.user_id, now=now)
            planners[user.user_id][1].take(row, works)
    done.leave_out(nobody)
    for user, planner in planners.values():
        plan = planner.finish()
        figures = apply_plan(
            connection, user.user_id, plan, file_name=path.name, share_ratings=share_ratings, now=now
        )  # fmt: skip
        done.add(user, plan, figures)


def _roles(columns: Sequence[str]) -> dict[Role, str]:
    found: dict[Role, str] = {}
    for given in columns:
        role, is_given, heading = given.partition("=")
        if not is_given or role not in ALIASES:
            raise OperatorError(f"{given!r} is not ROLE=HEADING; roles are {', '.join(ALIASES)}.", exit_code=2)
        found[role] = heading  # pyright: ignore[reportArgumentType]
    return found


def _ask(path: Path, reading: Reading) -> Reading:
    """Return how to read a file. Raises OperatorError if that has to be said first, and shows three of its rows."""
    survey = survey_file(path, reading)
    asked = []
    if "columns" in survey.needs:
        asked.append("--column title=HEADING: no column names titles or ids")
    if "scale" in survey.needs:
        asked.append(f"--scale {suggested_scale(survey.highest):g}: the highest rating is {survey.highest:g}")
    if "dates" in survey.needs:
        asked.append("--dates dmy or --dates mdy: every date may begin with the day or with the month")
    if asked:
        raise OperatorError(f"{path.name} does not say how to read it. Add {'; '.join(asked)}. {_samples(survey)}")
    return Reading(reading.columns, reading.scale, survey.dates)


def _samples(survey: Survey) -> str:
    rows = ("; ".join(f"{name}: {value}" for name, value in row.items() if value) for row in survey.samples)
    return "It begins: " + " | ".join(rows)


def _table(done: Outcome, is_written: bool) -> Table:
    """Return a line for each user, by name."""
    verb = "imported" if is_written else "to import"
    table = Table(
        "User", f"Plays {verb}", "Seen elsewhere", "By name", f"Ratings {verb}", "For later", "known",
        box=None, padding=(0, 1),
    )  # fmt: skip
    for user_id, figures in sorted(done.figures.items(), key=lambda pair: done.names[pair[0]].casefold()):
        counts = (*(figures[kind] for kind in KINDS), done.known[user_id])
        table.add_row(Text(done.names[user_id]), *(f"{count:,}" for count in counts))
    return table
