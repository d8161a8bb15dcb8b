"""``aperture restore``: put a backup in the place of the database, and drop databases that were replaced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text
from sqlalchemy import Connection

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.members.keys import take_over_keys
from aperture_dagster.members.sessions import end_all
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.folder import backup_folder, in_words
from aperture_dagster.postgres.connection import product_database_url
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.databases import drop_replaced_database, replaced_databases
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.postgres.restore import Restored
from aperture_dagster.postgres.restore import restore as restore_database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.trakt.stored import void_restored_tokens

if TYPE_CHECKING:
    from dagster import DagsterInstance


SHOWN_RUNS = 5


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-keys", is_flag=True, help="Leave all API keys of the backup valid, also those removed since.")
@click.option("--drop-old", is_flag=True, help="Instead, drop the databases that earlier restores replaced.")
def restore(file: Path | None, yes: bool, drop_old: bool, keep_keys: bool) -> None:
    """Put the backup in FILE in the place of the database, which is kept under another name.

    The backup is restored into a new database and migrated to the present schema; only then does it take the place of
    the old one. Restore only files that you trust: what is in them runs with the rights of the database's user.
    """
    if (file is None) != drop_old:
        raise click.UsageError("Name the FILE to restore, or --drop-old.")
    console = Terminal()
    with operator_errors():
        settings = load_settings()
        use_dagster_home(settings, unless_set=True)
        if file is None:
            _drop_old(settings, console, yes=yes)
        else:
            path = file if file.exists() or file.parent != Path() else backup_folder(settings) / file
            _restore(settings, path.expanduser().absolute(), console, yes=yes, keep_keys=keep_keys)


def _restore(settings: Settings, path: Path, console: Terminal, *, yes: bool, keep_keys: bool) -> None:
    import dagster as dg

    embedded = f"the embedded server in {settings.home_path}"
    where = "the server of APERTURE_DATABASE_URL" if settings.database_url else embedded
    console.print_hanging(f"{path} ({in_words(path.stat().st_size)}) is to be restored on {where}.")
    if not yes:
        click.confirm("Put it in the place of the present database, which is kept under another name?", abort=True)
    with dg.DagsterInstance.get() as instance:
        done = restore_database(
            settings,
            path,
            now=Clock().now(),
            refuse_runs=lambda: refuse_runs(instance),
            void=partial(void_tokens, path=path, keep_keys=keep_keys),
            report=lambda step: console.print(Text(step, "dim")),
        )
        # First, since what follows may fail.
        _show(console, done, settings)
        add_users(instance, settings)


@dataclass(frozen=True, slots=True)
class Voided:
    """What is not valid in a backup: how many accounts of Trakt have to connect again, and the names of API keys."""

    accounts: int
    keys: list[str]


def void_tokens(connection: Connection, present: Connection | None, *, path: Path, keep_keys: bool = False) -> Voided:
    """Void what may have been ended since the backup: tokens of Trakt, sessions of members, and API keys.

    Args:
        connection: the restored database.
        present: the one that it replaces, whose API keys are valid; None if it cannot be reached.
        path: the backup.
        keep_keys: leave all API keys valid.
    """
    end_all(connection)
    accounts = void_restored_tokens(connection, path.name, now=Clock().now())
    return Voided(accounts, [] if keep_keys else take_over_keys(connection, present))


def refuse_runs(instance: DagsterInstance) -> None:
    """Refuse to go on while runs of Dagster are in progress; dead ones are ended first.

    Raises:
        OperatorError: there are some; it names them.
    """
    from aperture_dagster.instance.dead_runs import end_dead_runs, runs_in_progress

    end_dead_runs(instance)
    runs = runs_in_progress(instance)
    if runs:
        names = ", ".join(f"{run.job_name} {run.run_id[:8]}" for run in runs[:SHOWN_RUNS])
        more = f" and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
        raise OperatorError(
            f"Runs are in progress: {names}{more}. Wait until they have ended, or terminate them in the UI, "
            "and try again."
        )


def add_users(instance: DagsterInstance, settings: Settings) -> list[str]:
    """Give every user in the database who takes part a partition; return those who had none."""
    from aperture_dagster.partitions import add_user_partitions, user_partitions

    with Database(settings).transaction() as connection:
        stored = read_users(connection)
    wanted = who_takes_part(settings, stored)
    known = set(user_partitions(instance))
    missing = [user.partition_key for user in wanted if user.partition_key not in known]
    if missing:
        add_user_partitions(instance, missing)
    return missing


def _show(console: Terminal, done: Restored[Voided], settings: Settings) -> None:
    with Database(settings).transaction() as connection:
        size = catalogue_size(connection)
    migrated = "" if done.schema == HEAD_REVISION else f" It was migrated from schema {done.schema}."
    console.print_hanging(f"The backup is in place: {size['movies'] + size['series']:,} films and series.{migrated}")
    if done.voided.keys:
        console.print_hanging(
            f"API keys that are void, since the database that was replaced does not have them: "
            f"{', '.join(done.voided.keys)}. Make new ones (`aperture api-key add`), or restore again with --keep-keys."
        )
    if done.voided.accounts:
        console.print_hanging(
            f"Trakt: {done.voided.accounts} users have to connect again, since the tokens in a backup are void: "
            "`aperture trakt status` names them.",
        )
    console.print_hanging(
        "The next runs read what has changed since. What is published is adopted, not published twice."
    )
    if done.kept is not None:
        console.print_hanging(
            f"The database that was replaced is kept as {done.kept}. When you no longer need it: "
            "`aperture restore --drop-old`.",
        )


def _drop_old(settings: Settings, console: Terminal, *, yes: bool) -> None:
    url = product_database_url(settings)
    old = replaced_databases(url)
    if not old:
        console.print_hanging("No database was replaced by a restore, or all of them were dropped.")
        return
    for one in old:
        console.print_hanging(f"{one.name}, {in_words(one.size_bytes)}")
    if not yes:
        click.confirm("Drop for good?", abort=True)
    for one in old:
        drop_replaced_database(url, one.name)
    console.print_hanging(f"Dropped {len(old)}.")
