"""``aperture backup``: make a backup now, and list the backups."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.terminal import Console
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.folder import backup_folder, in_words, read_backups
from aperture_dagster.postgres.owner import ensure_owner
from aperture_dagster.settings import load_settings


@click.group()
def backup() -> None:
    """Make and list backups of the database."""


@backup.command()
@click.option(
    "--accept-folder", is_flag=True, help="Use the configured folder from now on, although it is new or was emptied."
)
def create(accept_folder: bool) -> None:
    """Make a backup now, and prove it by restoring it into a scratch database."""
    console = Console()
    with operator_errors():
        made = create_backup(
            load_settings(),
            Clock().now(),
            ensure_owner,
            accept_folder=accept_folder,
            report=lambda step: console.print(Text(step, "dim"), soft_wrap=True),
        )
    state = Text("dumped, not proven", "yellow") if made.unproven_because else Text("proven", "green")
    size = f", {in_words(made.bytes)}, {made.rows:,} rows, {made.seconds:.0f} s"
    console.print(Text.assemble(f"{made.path}: ", state, size), soft_wrap=True)
    for sentence in filter(None, [made.unproven_because, *(f"Deleted: {name}." for name in made.deleted)]):
        console.print(Text(sentence, "dim"), soft_wrap=True)


@backup.command(name="list")
def list_backups() -> None:
    """List the backups, newest first; exit code 1 if none is proven."""
    console = Console()
    with operator_errors():
        folder = backup_folder(load_settings())
        found = read_backups(folder)
    console.print(Text(str(folder)), soft_wrap=True)
    table = Table("File", "Size", "Proven", box=None, padding=(0, 1))
    for one in reversed(found):
        state = Text("yes", "green") if one.is_proven else Text("no", "yellow")
        table.add_row(Text(one.path.name, no_wrap=True), in_words(one.bytes), state)
    if found:
        console.print(table)
    if not any(one.is_proven for one in found):
        raise OperatorError(f"There is no proven backup in {folder}: run `aperture backup create`.")
