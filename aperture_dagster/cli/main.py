"""The command line, ``aperture``."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click

from aperture_dagster.cli.alert import alert
from aperture_dagster.cli.api_keys import api_key
from aperture_dagster.cli.backup import backup
from aperture_dagster.cli.clock import clock
from aperture_dagster.cli.crowd import crowd
from aperture_dagster.cli.demo import demo
from aperture_dagster.cli.discovery import discover, dismiss, request, requests
from aperture_dagster.cli.doctor.command import doctor
from aperture_dagster.cli.forget import forget
from aperture_dagster.cli.history import history
from aperture_dagster.cli.migrate import migrate
from aperture_dagster.cli.publish import publish, unpublish
from aperture_dagster.cli.ratings import rate, trakt
from aperture_dagster.cli.restore import restore
from aperture_dagster.cli.sessions import sign_out_everybody
from aperture_dagster.cli.show import show
from aperture_dagster.cli.simulate import simulate
from aperture_dagster.cli.status.command import status
from aperture_dagster.cli.up import up


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

    To try it without a server or keys: aperture demo. To use it: aperture up, then set it up in the browser, at
    http://localhost:3000.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A title, or a mark, that the terminal's character set lacks should not end a command.
        sys.stdout.reconfigure(errors="replace")


COMMANDS = {
    "First steps": (demo, up, doctor, status, show),
    "For each user": (discover, dismiss, request, requests, rate, trakt, history),
    "On the media server": (publish, unpublish),
    "Operating": (backup, restore, migrate, clock, alert, crowd, api_key, sign_out_everybody, forget),
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
