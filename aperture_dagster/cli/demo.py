"""``aperture demo``: run everything once on stand-ins, and show the results."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import (
    LISTS,
    STATE,
    demo_home,
    demo_home_option,
    note_served,
    point_at,
    warn_of_ignored_database,
)
from aperture_dagster.cli.requirements import require_writable
from aperture_dagster.cli.stand_ins import StandIns, stand_in_options, usual_port
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.postgres.embedded import start_embedded_server
from aperture_dagster.settings.home import checkout


@click.command()
@stand_in_options
@demo_home_option
def demo(stand_ins: StandIns, home: str | None) -> None:
    """Run everything once on stand-ins, without keys, server or network, and show the results.

    Example: aperture demo --users 3 --server emby
    """
    started = time.monotonic()
    folder = demo_home(home, stand_ins.server)
    # A descriptor of its own: while a step runs, Dagster redirects the usual one to a file, which is no terminal.
    with (
        operator_errors(),
        os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="replace") as terminal,
    ):
        console = Terminal(terminal)
        warn_of_ignored_database()
        console.print_hanging(f"Starting the stand-ins ({stand_ins.world}); everything is kept in {folder}")
        # The stand-ins take as long to start as this.
        _in_thread(_load, folder, is_new=stand_ins.world == "demo")
        with stand_ins.running(lists=folder / LISTS, port=usual_port(folder), state=folder / STATE) as (_, environment):
            # Not before: stand-ins that cannot serve this world should leave no folder behind.
            require_writable(folder)
            note_served(folder, stand_ins, environment)
            settings = point_at(environment, folder, folder / LISTS)
            from aperture_dagster.cli.cycle import run_cycle, show_lists

            run_cycle(settings, console)
            show_lists(settings, console)
        options = stand_ins.options()
        options += [f"--home {shlex.quote(str(folder))}"] if stand_ins.world != "demo" or home else []
        is_usual = checkout() is not None and not options
        command = "make up-demo" if is_usual else " ".join(["aperture up --demo", *options])
        done = f"Done in {time.monotonic() - started:.0f} s. To open it in the Dagster UI:"
        # In one piece, to be copied.
        fits = len(f"{done} {command}") <= console.text_width
        console.print(Text.assemble(done, " " if fits else "\n  ", (command, "bold")), soft_wrap=True)


def _load(folder: Path, *, is_new: bool) -> None:
    """Load what the demo needs, and start the database of a home; ``is_new``: also of one that has none yet."""
    # Loaded by one thread, and the server is waited for by another.
    importlib.import_module("psycopg")
    if is_new or (folder / "postgres").is_dir():
        _in_thread(start_embedded_server, folder / "postgres")
    importlib.import_module("aperture_dagster.cli.cycle")


def _in_thread(do: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Do something ahead. What fails will fail again where it is needed, and be reported there."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            do(*arguments, **options)

    threading.Thread(target=attempt).start()
