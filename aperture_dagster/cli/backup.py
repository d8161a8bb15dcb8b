"""``aperture backup``: make a backup now, list the backups, and verify one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.terminal import Console
from aperture_dagster.errors import OperatorError
from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import load_settings
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.manifest import Backup, read_backups
from aperture_dagster.storage.backup.places import backup_folder, in_words
from aperture_dagster.storage.backup.verify import verify_backup

STAGES = {
    "dump": "Dumping the database",
    "fingerprint": "Counting and hashing its rows",
    "check": "Reading the file again",
    "proof": "Restoring it into a scratch database and comparing",
}


@click.group()
def backup() -> None:
    """Make, list and verify backups of the database."""


@backup.command()
@click.option(
    "--accept-folder", is_flag=True, help="Use the configured folder from now on, although it is new or was emptied."
)
def create(accept_folder: bool) -> None:
    """Make a backup now, and prove it by restoring it into a scratch database."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        with _stages(console) as progress:
            report = create_backup(settings, Clock(), reason="command", accept_folder=accept_folder, progress=progress)
    manifest = report.backup.manifest
    state = Text("proven", "green") if manifest.proven else Text("dumped, not proven", "yellow")
    seconds = sum(report.seconds.values())
    size = f", {in_words(manifest.bytes)}, {manifest.fingerprint.rows:,} rows, {seconds:.0f} s"
    console.print(Text.assemble(f"{report.backup.path}: ", state, size), soft_wrap=True)
    sentences = [manifest.unproven_because, *report.notes]
    sentences += [f"Deleted: {', '.join(report.deleted)}."] if report.deleted else []
    for sentence in filter(None, sentences):
        console.print(Text(sentence, "dim"), soft_wrap=True)


@backup.command(name="list")
def list_backups() -> None:
    """List the backups, newest first; exit code 1 if none is proven."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        folder = backup_folder(settings)
        found = read_backups(folder)
    zone = ZoneInfo(settings.schedule_timezone)
    table = Table("File", "Made", "Size", "Rows", "Schema", "By", "Proven", box=None, padding=(0, 1))
    for one in reversed(found.kept):
        manifest = one.manifest
        table.add_row(
            Text(one.path.name),
            f"{manifest.made_at.astimezone(zone):%Y-%m-%d %H:%M}",
            in_words(one.bytes),
            f"{manifest.fingerprint.rows:,}",
            manifest.revision or "",
            manifest.reason,
            _state(one),
        )
    console.print(Text(str(folder)), soft_wrap=True)
    if found.kept:
        console.print(table)
    if found.foreign:
        console.print(Text(f"Not backups of this program, and left alone: {', '.join(found.foreign)}", "dim"))
    if not any(one.is_proven for one in found.kept):
        raise OperatorError(f"There is no proven backup in {folder}: run `aperture backup create`.")


@backup.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def verify(file: Path) -> None:
    """Verify FILE: its checksum, its contents, and that a restored copy equals what was dumped."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        path = file if file.exists() or file.parent != Path() else backup_folder(settings) / file
        with _stages(console) as progress:
            proof = verify_backup(settings, path, progress=progress)
    if proof.place is None:
        raise BackupError(f"{path} is complete and unchanged, but could not be restored for a proof. {proof.reason}")
    console.print(Text(f"{path} restores: a copy on {proof.place} equals what was dumped."), soft_wrap=True)


def _state(one: Backup) -> Text:
    if one.is_proven:
        return Text("yes", "green")
    if one.manifest.proven is not None:
        return Text("its size has changed", "red")
    return Text(f"no: {one.manifest.unproven_because}", "yellow")


@contextmanager
def _stages(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show the stages of a backup while they last; without a terminal, nothing."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Starting", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=STAGES[stage], completed=done, total=total or None)

        yield progress
