"""``aperture demo``: the stand-ins, one run of every job on them, and a summary of the results."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from aperture_dagster.cli.common import Server, echo, operator_errors, require_writable, stand_in_options
from aperture_dagster.cli.summary import show, summarize
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.errors import OperatorError
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
from aperture_dagster.sources import SOURCES

START_SECONDS = 60
# Enough for any world in one day; the real services allow 1,000.
REQUESTS_A_DAY = 1_000_000
JELLYFIN_VERSIONS = {"10.9": "10.9.11", "10.10": "10.10.7", "10.11": "10.11.11", "12": "12.0.0"}
# Below the ports that systems give to outgoing connections.
FIRST_PORT, PORTS = 20_000, 12_000
LISTS = "libraries"
"""The folder in the home that the stand-in for the media server can read."""


@click.command()
@stand_in_options("world", "users", "server", "home")
@click.option("--summary", type=click.Path(dir_okay=False), help="Also write the summary to this file, as JSON.")
def demo(world: str, users: int | None, server: Server, home: str | None, summary: str | None) -> None:
    """Run everything once on stand-ins, without keys, server or network, and show the results.

    Example: aperture demo --users 3 --server emby
    """
    if summary and not Path(summary).absolute().parent.is_dir():
        raise click.BadParameter(f"the folder of {summary} does not exist.", param_hint="--summary")
    started = time.monotonic()
    folder = demo_home(home, server)
    # A descriptor of its own: while a step runs, Dagster redirects the usual one to a file, which is no terminal.
    with (
        operator_errors(),
        os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="replace") as terminal,
    ):
        console = Terminal(terminal)
        warn_of_ignored_database()
        console.print_hanging(f"Starting the stand-ins ({world}); everything is kept in {folder}")
        with stand_ins(world, users, server, lists=folder / LISTS, port=usual_port(folder)) as environment:
            # Not before: stand-ins that cannot serve this world should leave no folder behind.
            require_writable(folder)
            settings = point_at(environment, folder, folder / LISTS)
            from aperture_dagster.cli.cycle import run_cycle

            result = summarize(settings, run_cycle(settings, console))
        show(result, console)
        if summary:
            Path(summary).write_text(json.dumps(result, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
        given = {"server": (server, "jellyfin"), "world": (world, "demo"), "users": (users, None)}
        options = [
            f"--{name} {shlex.quote(str(value))}" for name, (value, default) in given.items() if value != default
        ]
        options += [f"--home {shlex.quote(str(folder))}"] if world != "demo" or home else []
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
    if home is not None:
        # First, since an installed package reads its settings from there.
        os.environ[PREFIX + "HOME"] = str(Path(home).expanduser().resolve())
    settings = load_settings()
    if settings.media_server_url is not None:
        use_dagster_home(settings, create=False)
        return settings
    # APERTURE_HOME may also name the folder of a demo itself.
    folders = [demo_home(home)] if home is not None else [demo_home(None), settings.home_path]
    return point_at({}, next((one for one in folders if (one / "postgres").exists()), folders[0]), create=False)


def usual_port(home: Path) -> int:
    """The port of a home's stand-ins, so that pictures in earlier results are still found there; 0 if it is in use."""
    port = FIRST_PORT + zlib.crc32(str(home).encode()) % PORTS
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@contextlib.contextmanager
def stand_ins(
    world: str, users: int | None, server: Server = "jellyfin", *, lists: Path | None = None, port: int = 0
) -> Iterator[dict[str, str]]:
    """Run the stand-ins as :func:`stand_ins_process` does, and yield only the environment that points at them."""
    with stand_ins_process(world, users, server, lists=lists, port=port) as (_, environment):
        yield environment


@contextlib.contextmanager
def stand_ins_process(
    world: str, users: int | None, server: Server = "jellyfin", *, lists: Path | None = None, port: int = 0
) -> Iterator[tuple[int, dict[str, str]]]:
    """Run the stand-ins in a process that ends with the block, or by itself when this process dies.

    Yields its id and the environment that points every service at them, with ``server`` as the media server. It sees
    the folder ``lists`` at `VOLUME`, as a server in a container would. Port 0 is any free one.

    Raises:
        OperatorError: they did not start; with their last line of output.
    """
    from aperture_dagster.simulator.environment import environment
    from aperture_dagster.simulator.settings import SimulatorSettings

    limits: dict[str, Any] = {f"{source}_daily_limit": REQUESTS_A_DAY for source in _limited_sources()}
    generous = SimulatorSettings(**limits)
    kind = server.partition("@")[0]
    command = [sys.executable, "-m", "aperture_dagster.simulator", "--parent-pid", str(os.getpid())]
    command += stand_in_arguments(world, users, server, lists=lists, port=port)
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True) as process,
    ):
        assert process.stdout is not None
        try:
            # Its first line is its address, printed as soon as it answers requests.
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            line = process.stdout.readline().decode() if ready else ""
            if not line:
                log.seek(0)
                output = log.read().decode("utf-8", "replace").strip().splitlines()
                reason = output[-1].removeprefix("simulator: ") if output else "no answer in time"
                raise OperatorError(f"The stand-ins did not start: {reason}")
            yield process.pid, environment(line.removeprefix("simulator: ").strip(), kind, generous)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def media_server_options(server: Server) -> list[str]:
    """Return the options of the stand-ins for a media server and its version."""
    kind, _, version = server.partition("@")
    return ["--media-server", kind, *(["--jellyfin-version", JELLYFIN_VERSIONS[version]] if version else [])]


def stand_in_arguments(
    world: str, users: int | None, server: Server = "jellyfin", *, lists: Path | None = None, port: int = 0
) -> list[str]:
    """Return the arguments of the program ``aperture_dagster.simulator`` for a demo; see :func:`stand_ins_process`."""
    from aperture_dagster.simulator.environment import VOLUME

    arguments = ["--world", world, "--port", str(port), *media_server_options(server)]
    arguments += [f"--{source}-daily-limit={REQUESTS_A_DAY}" for source in _limited_sources()]
    arguments += ["--users", str(users)] if users is not None else []
    return [*arguments, *(["--volume", f"{VOLUME}={lists}"] if lists is not None else [])]


def _limited_sources() -> list[str]:
    return [source.name for source in SOURCES if source.daily_limit is not None]


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
    from aperture_dagster.simulator.environment import VOLUME

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
