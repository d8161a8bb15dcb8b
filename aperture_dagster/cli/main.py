"""The command line, ``aperture``."""

import contextlib
import importlib
import io
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

from aperture_dagster.cli.backup import backup, migrate, restore
from aperture_dagster.cli.common import Terminal, operator_errors, require_free_port, require_writable
from aperture_dagster.cli.crowd import crowd
from aperture_dagster.cli.demo import (
    LISTS,
    STATE,
    StandIns,
    demo_home,
    demo_home_option,
    note_served,
    point_at,
    stand_in_options,
    usual_port,
    warn_of_ignored_database,
)
from aperture_dagster.cli.discovery import discover, dismiss, request, requests
from aperture_dagster.cli.doctor import doctor
from aperture_dagster.cli.forget import forget
from aperture_dagster.cli.history import history
from aperture_dagster.cli.publish import publish, unpublish
from aperture_dagster.cli.ratings import rate, trakt
from aperture_dagster.cli.show import api_key, show, sign_out_everybody
from aperture_dagster.cli.status import alert, status
from aperture_dagster.cli.up import up
from aperture_dagster.postgres.embedded import start_embedded_server
from aperture_dagster.settings.home import start_command


class Sections(click.Group):
    """A group whose help lists the commands in sections, those that a newcomer needs first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the sections."""
        return [str(command.name) for commands in COMMANDS.values() for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of commands."""
        longest = max(map(len, self.commands))
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                limit = 200
                formatter.write_dl([(str(one.name).ljust(longest), one.get_short_help_str(limit)) for one in commands])


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aperture-dagster")
def main() -> None:
    """Personal recommendations for home media servers.

    To try it without a server or keys: aperture demo. To use it, set APERTURE_MEDIA_SERVER_URL and
    APERTURE_MEDIA_SERVER_API_KEY, then: aperture doctor, and aperture up.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A title, or a mark, that the terminal's character set lacks should not end a command.
        sys.stdout.reconfigure(errors="replace")


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
        command = " ".join(["aperture up --demo", *options]) if options else start_command()
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


@click.command()
@stand_in_options
@click.option("--port", type=click.IntRange(0, 65535), default=8096, show_default=True, help="Port on 127.0.0.1.")
def simulate(stand_ins: StandIns, port: int) -> None:
    """Serve only the stand-ins, to look at them or to develop against them.

    Example: aperture simulate --server emby --world odd
    """
    # No other command serves the stand-ins in its own process.
    from aperture_dagster.simulator.__main__ import main as serve

    if port:
        require_free_port("127.0.0.1", port, "aperture simulate")
    sys.exit(serve(stand_ins.arguments(port=port)))


COMMANDS = {
    "First steps": (demo, up, doctor, status, show),
    "For each user": (discover, dismiss, request, requests, rate, trakt, history),
    "On the media server": (publish, unpublish),
    "Operating": (backup, restore, migrate, alert, crowd, api_key, sign_out_everybody, forget),
    "Development": (simulate,),
}
"""The commands as `aperture --help` groups them."""


def _work_in(_context: click.Context, _parameter: click.Parameter, home: str | None) -> None:
    if home is not None:
        os.environ["APERTURE_HOME"] = str(Path(home).expanduser().resolve())


HOME = click.Option(
    ["--home"],
    type=click.Path(file_okay=False),
    expose_value=False,
    is_eager=True,
    callback=_work_in,
    help="Folder to work in. Default: your own, or else the demo's.",
)
WITHOUT_HOME = {"simulate", "crowd build"}


def add_home(command: click.Command, path: str) -> None:
    """Give a command, or each in a group, the option that chooses the home, unless it has one of its own."""
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            add_home(one, f"{path} {name}")
    elif path not in WITHOUT_HOME and all(one.name != "home" for one in command.params):
        command.params.append(HOME)


for group in COMMANDS.values():
    for command in group:
        main.add_command(command)
        add_home(command, str(command.name))

if __name__ == "__main__":
    main()
