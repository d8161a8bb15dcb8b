"""``aperture forget``: delete everything about a user who left."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aperture_dagster.catalogue.people import User
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.publish import ConsoleHandler
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.model import Clock, counted, listed, sentence
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups
from aperture_dagster.postgres.connection import product_database_url
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.databases import replaced_databases
from aperture_dagster.settings import Settings, load_settings

if TYPE_CHECKING:
    from aperture_dagster.instance.forgetting import Forgetting, Forgotten, Holdings
    from aperture_dagster.maintenance.forgetting import Person

SHOWN_BACKUPS = 10
log = logging.getLogger(__name__)


@click.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(user: str, yes: bool) -> None:
    """Delete everything about USER, who left: history, ratings, lists, libraries on the server, and their name.

    Somebody who takes part cannot be forgotten, since everything would be read again: delete or disable the account on
    the media server first, or name it in APERTURE_EXCLUDE_USERS. It can be interrupted at any time, and repeated.

    Example: aperture forget Anna
    """
    console = Terminal()
    with operator_errors():
        settings = load_settings()
        database = Database(settings)
        with _forgetting(settings, database, console) as forgetting:
            found = _find(database, forgetting, user)
            if not isinstance(found, User):
                _show_done(console, found.name, forgetting.finish(found))
                _show_copies(console, settings)
                return
            holdings = forgetting.look(found)
            _show(console, found, holdings)
            if not yes:
                click.confirm("Delete all of this? It cannot be undone.", abort=True)
            _show_done(console, found.name, forgetting.forget(found))
        _show_rest(console, found, holdings)
        _show_copies(console, settings)


@contextmanager
def _forgetting(settings: Settings, database: Database, console: Terminal) -> Iterator[Forgetting]:
    # Dagster, which only the commands that need it import.
    import dagster as dg

    from aperture_dagster.instance.failures import EXPECTED
    from aperture_dagster.instance.forgetting import Forgetting

    use_dagster_home(settings, unless_set=True)
    handler = ConsoleHandler(console)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with dg.DagsterInstance.get() as instance:
            yield Forgetting(settings, database, instance, Clock(), log)
    except KeyboardInterrupt:
        raise OperatorError("Interrupted. Run this again to go on from there.") from None
    except EXPECTED as error:
        raise OperatorError(str(error)) from None
    finally:
        log.removeHandler(handler)


def _find(database: Database, forgetting: Forgetting, text: str) -> User | Person:
    """Find a user, or somebody whom an interrupted command has left without a row in the database."""
    try:
        with database.transaction() as connection:
            return find_user(connection, text)
    except OperatorError:
        for person in forgetting.unfinished():
            if text.strip().casefold() in (name.casefold() for name in person.names):
                return person
        raise


def _show(console: Terminal, user: User, found: Holdings) -> None:
    where = "is on the media server, and does not take part" if found.is_listed else "is no longer on the media server"
    console.print_hanging(f"{user.name} ({user.user_id}) {where}. This goes:")
    if found.placed:
        console.print_hanging(f"On the media server: {listed(list(dict.fromkeys(found.placed)))}", indent=2)
    tables = [f"{count:,} {name.replace('_', ' ')}" for name, count in found.rows.items()]
    console.print_hanging(f"In the database, rows of: {', '.join(tables) or 'none'}", indent=2)
    if "trakt_accounts" in found.rows:
        console.print_hanging("The connection to Trakt, where the tokens are revoked", indent=2)
    console.print_hanging("In Dagster: runs and events about nobody else, and the name in all others", indent=2)


def _show_done(console: Terminal, name: str, done: Forgotten) -> None:
    parts = [
        counted(number, what)
        for number, what in (
            (done.placed, "lists on the media server"),
            (done.rows, "rows"),
            (done.records, "records of Dagster"),
            (done.files, "files"),
        )
        if number
    ]
    console.print_hanging(f"{name} is forgotten: {listed(parts) or 'nothing was left'}.", "green")
    if done.note is not None:
        console.print_hanging(sentence(done.note), "yellow")


def _show_rest(console: Terminal, user: User, found: Holdings) -> None:
    """Say what is out of reach, or comes back."""
    if found.is_listed:
        console.print_hanging(
            "The media server still lists the account. What is kept of it until it does not any longer: name, id, "
            "rights, and which libraries were hidden from it.",
            "yellow",
        )
    if found.settings:
        console.print_hanging(f"{listed(found.settings)} still names {user.name}: take the name out.", "yellow")
    if requests := found.rows.get("seerr_requests"):
        console.print_hanging(f"Seerr keeps its own record of {counted(requests, 'requests')}.", "dim")


def _show_copies(console: Terminal, settings: Settings) -> None:
    """Name older copies of the database, which hold everything still."""
    backups = [one.path.name for one in reversed(read_backups(backup_folder(settings)))]
    if backups:
        more = [f"{len(backups) - SHOWN_BACKUPS} more"] if len(backups) > SHOWN_BACKUPS else []
        console.print_hanging(
            f"Older backups in {backup_folder(settings)} still hold it: {listed([*backups[:SHOWN_BACKUPS], *more])}. "
            "Each new backup replaces the oldest one; delete them to be rid of it now. After a restore of one of them, "
            "run this again.",
            "yellow",
        )
    if replaced := [one.name for one in replaced_databases(product_database_url(settings))]:
        console.print_hanging(
            f"So do databases that a restore replaced: {listed(replaced)}. `aperture restore --drop-old` drops them.",
            "yellow",
        )
