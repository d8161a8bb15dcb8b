"""``aperture restore``: put a backup in the place of the database, and drop databases that were replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.terminal import Console
from aperture_dagster.errors import OperatorError
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.storage.backup.places import backup_folder, in_words
from aperture_dagster.storage.connection import product_database_url
from aperture_dagster.storage.maintenance import drop_replaced_database, maintenance, replaced_databases
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.restore import RestorableFile, Restored, examine_file
from aperture_dagster.storage.restore import restore as restore_database
from aperture_dagster.storage.tables import HEAD_REVISION

if TYPE_CHECKING:
    from dagster import DagsterInstance

SHOWN_RUNS = 5


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--trust", is_flag=True, help="Restore a file that has no manifest beside it, or another checksum than it says."
)
@click.option("--drop-old", is_flag=True, help="Instead, drop the databases that earlier restores replaced.")
def restore(file: Path | None, yes: bool, trust: bool, drop_old: bool) -> None:
    """Put the backup in FILE in the place of the database, which is kept under another name.

    The backup is restored into a new database, compared with what was backed up, and migrated to the present schema;
    only then does it take the place of the old one. Nothing else can use the database meanwhile.
    """
    if (file is None) != drop_old:
        raise click.UsageError("Name the FILE to restore, or --drop-old.")
    console = Console()
    with operator_errors():
        settings = load_settings()
        use_dagster_home(settings, unless_set=True)
        if file is None:
            _drop_old(settings, console, yes=yes)
        else:
            path = file if file.exists() or file.parent != Path() else backup_folder(settings) / file
            _restore(settings, path.expanduser().absolute(), console, yes=yes, trust=trust)


def _restore(settings: Settings, path: Path, console: Console, *, yes: bool, trust: bool) -> None:
    import dagster as dg

    file = examine_file(path, trust=trust)
    console.print(_about(file, settings))
    console.print()
    if not yes:
        click.confirm("Put it in the place of the present database?", abort=True)
    with dg.DagsterInstance.get() as instance:
        done = restore_database(
            settings,
            file,
            now=Clock().now(),
            refuse_runs=lambda: refuse_runs(instance, settings),
            report=lambda step: console.print(Text(step, "dim")),
        )
        # First, since what follows may fail.
        _show(console, done)
        add_users(instance, settings)


def refuse_runs(instance: DagsterInstance, settings: Settings) -> None:
    """Refuse to go on while Dagster has runs that have not ended; dead ones are ended first.

    Raises:
        OperatorError: there are some; it names them.
    """
    import dagster as dg

    from aperture_dagster.instance.dead_runs import end_dead_runs
    from aperture_dagster.instance.runs import UNFINISHED

    end_dead_runs(instance, settings)
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    if runs:
        names = ", ".join(f"{run.job_name} {run.run_id[:8]}" for run in runs[:SHOWN_RUNS])
        more = f" and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
        raise OperatorError(
            f"Runs are in progress or queued: {names}{more}. Wait until they have ended, or terminate them in the UI, "
            "and try again."
        )


def add_users(instance: DagsterInstance, settings: Settings) -> list[str]:
    """Give every user in the database who takes part a partition; return those who had none."""
    from aperture_dagster.partitions import add_user_partitions, user_partitions

    with Database(settings).transaction() as connection:
        stored = read_users(connection)
    wanted = settings.participants(stored)
    known = set(user_partitions(instance))
    missing = [user.partition_key for user in wanted if user.partition_key not in known]
    if missing:
        add_user_partitions(instance, missing)
    return missing


def _about(file: RestorableFile, settings: Settings) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 1))
    manifest = file.manifest
    where = (
        "the server of APERTURE_DATABASE_URL"
        if settings.database_url
        else f"the embedded server in {settings.home_path}"
    )
    rows = [("file", f"{file.path}, {in_words(file.contents.bytes)}")]
    if manifest is None:
        rows.append(("origin", "not known: nothing but the form of the file can be checked (--trust)"))
    else:
        proven = f"proven on {manifest.proven}" if manifest.proven else "dumped, not proven"
        rows.append(("made at", f"{manifest.made_at.astimezone():%Y-%m-%d %H:%M}, {proven}"))
        rows.append(
            ("holds", f"{file.rows_of('titles') or 0:,} films and series, {file.rows_of('users') or 0:,} users")
        )
        change = "" if manifest.revision == HEAD_REVISION else f", to be migrated to {HEAD_REVISION}"
        rows.append(("schema", f"{manifest.revision}{change}"))
    rows.append(("restored on", f"{where}; the present database is kept there under another name"))
    rows.append(("not in it", "Dagster's runs and events, the logos, and the lists on the media server"))
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    return table


def _show(console: Console, done: Restored) -> None:
    migrated = "" if done.schema == HEAD_REVISION else f" It was migrated from schema {done.schema}."
    console.print(f"The backup is in place: {done.titles:,} films and series.{migrated}")
    if done.void_accounts:
        console.print(
            f"Trakt: {done.void_accounts} users have to connect again, since the tokens in a backup are void: "
            "`aperture trakt status` names them.",
        )
    console.print("The next runs read what has changed since. What is published is adopted, not published twice.")
    if done.kept is not None:
        console.print(
            f"The database that was replaced is kept as {done.kept}. When you no longer need it: "
            "`aperture restore --drop-old`.",
        )


def _drop_old(settings: Settings, console: Console, *, yes: bool) -> None:
    url = product_database_url(settings)
    # Also drops what a killed restore left unfinished.
    with maintenance(url):
        old = replaced_databases(url)
    if not old:
        console.print("No database was replaced by a restore, or all of them were dropped.")
        return
    for one in old:
        console.print(f"{one.name}, {in_words(one.size_bytes)}")
    if not yes:
        click.confirm("Drop for good?", abort=True)
    for one in old:
        drop_replaced_database(url, one.name)
    console.print(f"Dropped {len(old)}.")
