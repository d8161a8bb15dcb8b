"""The command line: ``aperture demo``, ``up``, ``doctor``, ``simulate``."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from aperture_dagster.cli.demo import SERVERS, Server
from aperture_dagster.settings import load_settings, project_root

DEFAULT_PORT = 3000
SERVER = click.Choice(SERVERS)
PORT = click.IntRange(0, 65535)


def _fail(message: str) -> None:
    """End with one sentence for the operator and no stack trace."""
    raise click.ClickException(message)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn an error of the operating system into one sentence and an exit code; ours are sentences already."""
    try:
        yield
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))


def _make_home(folder: Path) -> None:
    from aperture_dagster.cli.doctor import why_not_writable

    why = why_not_writable(folder)
    if why is not None:
        _fail(f"{why}.")


def _tell_of_an_ignored_database() -> None:
    given = {name.upper() for name, value in os.environ.items() if value}
    names = [name for name in ("APERTURE_DATABASE_URL", "APERTURE_DAGSTER_DATABASE_URL") if name in given]
    if names:
        verb = "is" if len(names) == 1 else "are"
        click.echo(f"{' and '.join(names)} {verb} ignored: the demo keeps everything in a database of its own.")


def _check_databases() -> None:
    """Open both databases now: parts that start later would each say at length what is wrong with them."""
    import dagster as dg

    from aperture_dagster.resources.providers import Database

    with Database(load_settings()).transaction(), dg.DagsterInstance.get():
        pass


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aperture-dagster")
def main() -> None:
    """Personal recommendations for home media servers."""


@main.command()
@click.option(
    "--world",
    default="demo",
    help="'demo', 'odd', 'generated:movies=N,…', or a folder with movies.jsonl.gz and ratings.csv.gz.",
)
@click.option("--users", type=click.IntRange(min=1), help="Only the first so many users.")
@click.option("--server", type=SERVER, default="jellyfin", show_default=True, help="The media server it plays.")
@click.option("--home", type=click.Path(file_okay=False), help="Where to keep everything. Default: .aperture/demo.")
@click.option("--summary", type=click.Path(dir_okay=False), help="Also write the summary to this file, as JSON.")
def demo(world: str, users: int | None, server: Server, home: str | None, summary: str | None) -> None:
    """Run the whole graph once on stand-ins, with no key, no server and no network, and show what came of it."""
    from rich.console import Console

    from aperture_dagster.cli import demo as the_demo

    console = Console()
    started = time.monotonic()
    with _sentences():
        usual, folder = the_demo.demo_home(None, server), the_demo.demo_home(home, server)
        _make_home(folder)
        world = _world(world)
        _tell_of_an_ignored_database()
        console.print(f"Starting the stand-ins ({world}); everything is kept in {folder}", highlight=False)
        with the_demo.stand_ins(folder, world, users, server) as environment:
            settings = the_demo.point_at(environment, folder)
            cycle = the_demo.run_cycle(settings, console)
            result = the_demo.summarize(settings, cycle)
        the_demo.show(settings, result, console)
        if summary:
            Path(summary).write_text(json.dumps(result, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
    opened = "make up"
    if world != "demo" or folder != usual or server != "jellyfin":
        opened = "aperture up --demo"
        opened += f" --server {server}" if server != "jellyfin" else ""
        opened += f" --home {folder}" if world != "demo" or folder != usual else ""
    if world != "demo":
        opened += f" --world {world}" + (f" --users {users}" if users else "")
    console.print(
        f"Done in {time.monotonic() - started:.0f} s. Open it in the Dagster UI: [bold]{opened}[/]", highlight=False
    )


@main.command()
@click.option("--demo", "on_demo", is_flag=True, help="On the stand-ins, with what `aperture demo` made.")
@click.option("--world", default="demo", help="With --demo: 'demo', or a folder.")
@click.option("--users", type=click.IntRange(min=1), help="With --demo: only the first so many users.")
@click.option("--server", type=SERVER, default="jellyfin", show_default=True, help="With --demo: which media server.")
@click.option("--home", type=click.Path(file_okay=False), help="Where everything is kept.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port of the UI.")
def up(on_demo: bool, world: str, users: int | None, server: Server, home: str | None, host: str, port: int) -> None:
    """Run the Dagster UI and the daemon (schedules, sensors, backfills) until interrupted."""
    from aperture_dagster.cli import demo as the_demo

    with _sentences():
        settings = load_settings()
        if settings.media_server_url is None and not on_demo:
            click.echo("No media server is configured (APERTURE_MEDIA_SERVER_URL), so this runs on the demo.")
            on_demo = True
        _refuse_taken_port(host, port)
        with contextlib.ExitStack() as stack:
            folder = None
            if on_demo:
                folder = the_demo.demo_home(home, server)
                _make_home(folder)
                world = _world(world)
                _tell_of_an_ignored_database()
                the_demo.point_at(stack.enter_context(the_demo.stand_ins(folder, world, users, server)), folder)
            elif home:
                os.environ["APERTURE_HOME"] = str(Path(home).expanduser().resolve())
            os.environ["DAGSTER_HOME"] = str(project_root())
            _make_home(load_settings().home_path)
            _check_databases()
            click.echo(f"The UI will be at http://{host}:{port} in a few seconds. Ctrl-C stops it.")
            # Dagster lets a file .env in the working folder win over the environment; a demo must not see it.
            sys.exit(_run_dagster(host, port, folder))


@main.command()
def doctor() -> None:
    """Look at everything that must be right, and say what to do about what is not."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aperture_dagster.cli.doctor import examine

    # A local model's package makes everybody talkative, and this one tells of each of its parts.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    marks = {"ok": ("✓", "green"), "off": ("-", "dim"), "warning": ("!", "yellow"), "failed": ("✗", "red")}
    table = Table(show_header=False, box=None, padding=(0, 1))
    with _sentences():
        os.environ.setdefault("DAGSTER_HOME", str(project_root()))
        findings = list(examine(load_settings()))
    for finding in findings:
        mark, style = marks[finding.state]
        table.add_row(Text(mark, style), Text(finding.what), Text(finding.told))
    Console().print(table)
    if any(finding.state == "failed" for finding in findings):
        sys.exit(1)


@main.command()
@click.option("--world", default="demo", help="'demo', 'odd', 'generated:…', or a folder.")
@click.option("--users", type=click.IntRange(min=1), help="Only the first so many users.")
@click.option("--port", type=PORT, default=8096, show_default=True, help="Port on 127.0.0.1.")
def simulate(world: str, users: int | None, port: int) -> None:
    """Serve the stand-ins alone, for looking at them or for developing against them."""
    from aperture_dagster.simulator.__main__ import main as serve

    if port:
        _refuse_taken_port("127.0.0.1", port, "aperture simulate")
    arguments = ["--world", world, "--port", str(port)]
    sys.exit(serve(arguments + (["--users", str(users)] if users else [])))


def _world(name: str) -> str:
    """A folder by its whole path, since the stand-ins may look from elsewhere; other worlds by their name."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _refuse_taken_port(host: str, port: int, command: str = "aperture up") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                _fail(f"Port {port} on {host} is in use. Choose another: {command} --port {port % 65535 + 1}")
            _fail(f"{host}, port {port}, cannot be listened on ({error.strerror}): choose another --host or --port.")


def _run_dagster(host: str, port: int, folder: Path | None) -> int:
    """Run ``dagster dev`` in a folder and end it, and all that it started, with this process; returns its exit code."""
    program = Path(sys.executable).with_name("dagster")
    command = [str(program) if program.exists() else "dagster", "dev"]
    command += ["-w", str(project_root() / "workspace.yaml"), "-h", host, "-p", str(port), "--log-level", "warning"]
    process: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        if process is not None:
            process.send_signal(signal.SIGINT)

    # Before it starts: a signal that is ignored here (as in a shell's background) it would ignore, too, for ever.
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    # A session of its own: Ctrl-C would otherwise reach every part of it at once, and again through its parent.
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    try:
        return max(process.wait(), 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
