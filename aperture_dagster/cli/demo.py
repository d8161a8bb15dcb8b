"""``aperture demo``: the stand-ins, one run of every job on them, and a summary of the results."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import click
from rich.text import Text

from aperture_dagster.cli.common import echo, operator_errors, require_writable
from aperture_dagster.cli.stand_ins import Server, StandIns, stand_in_options, usual_port
from aperture_dagster.cli.summary import show, summarize
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.settings import (
    FILE_SUFFIX,
    PREFIX,
    Settings,
    environment_names,
    groups,
    load_settings,
    secret_names,
)
from aperture_dagster.settings.places import default_home, start_command

LISTS = "libraries"
"""The folder in the home that the stand-in for the media server can read."""

demo_home_option = click.option(
    "--home",
    type=click.Path(file_okay=False),
    help="Folder to keep everything in. Default for stand-ins: the folder 'demo' in APERTURE_HOME.",
)


@click.command()
@stand_in_options
@demo_home_option
@click.option("--summary", type=click.Path(dir_okay=False), help="Also write the summary to this file, as JSON.")
def demo(stand_ins: StandIns, home: str | None, summary: str | None) -> None:
    """Run everything once on stand-ins, without keys, server or network, and show the results.

    Example: aperture demo --users 3 --server emby
    """
    if summary and not Path(summary).absolute().parent.is_dir():
        raise click.BadParameter(f"the folder of {summary} does not exist.", param_hint="--summary")
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
        with stand_ins.running(lists=folder / LISTS, port=usual_port(folder)) as (_, environment):
            # Not before: stand-ins that cannot serve this world should leave no folder behind.
            require_writable(folder)
            settings = point_at(environment, folder, folder / LISTS)
            from aperture_dagster.cli.cycle import run_cycle

            result = summarize(settings, run_cycle(settings, console))
        show(result, console)
        if summary:
            Path(summary).write_text(json.dumps(result, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
        options = stand_ins.options()
        options += [f"--home {shlex.quote(str(folder))}"] if stand_ins.world != "demo" or home else []
        command = " ".join(["aperture up --demo", *options]) if options else start_command()
        done = f"Done in {time.monotonic() - started:.0f} s. To open it in the Dagster UI:"
        # In one piece, to be copied.
        fits = len(f"{done} {command}") <= console.text_width
        console.print(Text.assemble(done, " " if fits else "\n  ", (command, "bold")), soft_wrap=True)


def demo_home(home: str | None, server: Server = "jellyfin") -> Path:
    """The folder of the demo: as given, or ``demo`` in the operator's own home, apart from its contents.

    A home belongs to one server, so the demo on another server or version has its own.
    """
    if home:
        return Path(home).expanduser().resolve()
    own = Path(os.environ.get(PREFIX + "HOME") or default_home()).expanduser()
    return (own / ("demo" if server == "jellyfin" else f"demo-{server.replace('@', '-')}")).resolve()


home_option = click.option(
    "--home", type=click.Path(file_okay=False), help="Folder to look into. Default: your own, or else the demo's."
)
"""The option of commands that look into a home."""


def settings_of_home(home: str | None) -> Settings:
    """Load the settings for a command that looks into a home: the given one, the operator's own, or else the demo's.

    Without a media server, everything real is removed from the environment, as for the demo itself.
    """
    settings = load_settings_of(home)
    if settings.media_server_url is not None:
        use_dagster_home(settings, create=False)
        return settings
    # APERTURE_HOME may also name the folder of a demo itself.
    folders = [demo_home(home)] if home is not None else [demo_home(None), settings.home_path]
    return point_at({}, next((one for one in folders if (one / "postgres").exists()), folders[0]), create=False)


def load_settings_of(home: str | None) -> Settings:
    """Load the settings with another home, which also becomes that of this process and its children."""
    if home is not None:
        # First, since an installed package reads its settings from there.
        os.environ[PREFIX + "HOME"] = str(Path(home).expanduser().resolve())
    return load_settings()


def warn_of_ignored_database() -> None:
    """Say so when the environment names a database: a demo never uses it."""
    given = {name.upper().removesuffix(FILE_SUFFIX) for name, value in os.environ.items() if value}
    names = [name for name in ("APERTURE_DATABASE_URL", "APERTURE_DAGSTER_DATABASE_URL") if name in given]
    if names:
        verb = "is" if len(names) == 1 else "are"
        echo(f"{' and '.join(names)} {verb} ignored: the demo keeps everything in its own database.")


def point_at(environment: dict[str, str], home: Path, lists: Path | None = None, *, create: bool = True) -> Settings:
    """Make this process and its children work in ``home`` with the given environment; returns the settings.

    Settings of real services and databases are removed from the environment: a demo never touches them. With ``lists``,
    everything is published below that folder, which the stand-ins see at `VOLUME`. ``create``: see
    :func:`use_dagster_home`.
    """
    from aperture_dagster.simulator.settings import VOLUME

    # A group of settings with a secret in it configures something real.
    real = [group for group in groups() if group.model_fields.keys() & secret_names()]
    ignored = {name for group in real for setting in group.model_fields for name in environment_names(setting)}
    for name in list(os.environ):
        # Settings are read from names in lower case, too.
        if {name.upper(), name.upper().removesuffix(FILE_SUFFIX)} & ignored:
            del os.environ[name]
    os.environ.update(environment)
    os.environ[PREFIX + "HOME"] = str(home)
    os.environ[PREFIX + "PUBLISH"] = str(lists is not None).lower()
    if lists is not None:
        lists.mkdir(parents=True, exist_ok=True)
        os.environ[PREFIX + "PUBLISH_ROOT"] = str(lists)
        os.environ[PREFIX + "PATH_MAP"] = json.dumps({str(lists): VOLUME})
    os.environ[PREFIX + "CONFIG"] = os.devnull
    settings = load_settings()
    use_dagster_home(settings, create=create)
    return settings
