"""``aperture backup``: make and list backups of the database."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.terminal import Console, Terminal, echo_json, json_option
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.folder import backup_folder, in_words, read_backups
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
    console = Terminal()
    with operator_errors():
        made = create_backup(
            load_settings(),
            Clock().now(),
            accept_folder=accept_folder,
            report=lambda step: console.print(Text(step, "dim"), soft_wrap=True),
        )
    state = Text("dumped, not proven", "yellow") if made.unproven_because else Text("proven", "green")
    size = f", {in_words(made.bytes)}, {made.rows:,} rows, {made.seconds:.0f} s"
    console.print_hanging(Text.assemble(f"{made.path}: ", state, size))
    for sentence in filter(None, [made.unproven_because, *(f"Deleted: {name}." for name in made.deleted)]):
        console.print_hanging(sentence, "dim")


@backup.command(name="list")
@json_option
def list_backups(as_json: bool) -> None:
    """List the backups, newest first; exit code 1 if none is proven."""
    console = Console()
    with operator_errors():
        folder = backup_folder(load_settings())
        found = read_backups(folder)
    if as_json:
        echo_json([asdict(one) for one in reversed(found)])
    else:
        console.print(Text(str(folder)), soft_wrap=True)
        for one in reversed(found):
            state = Text("proven    ", "green") if one.is_proven else Text("not proven", "yellow")
            # The name comes last, and whole in any terminal: `aperture restore` takes it.
            console.print(Text.assemble(state, f"{in_words(one.bytes):>10}  {one.path.name}"), soft_wrap=True)
    if not any(one.is_proven for one in found):
        raise OperatorError(f"There is no proven backup in {folder}: run `aperture backup create`.")
