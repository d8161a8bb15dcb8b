"""``aperture up``: the Dagster UI and daemon, on a media server or on the stand-ins."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from aperture_dagster.cli.common import Server, operator_errors, require_free_port, require_writable, stand_in_options
from aperture_dagster.cli.demo import LISTS, demo_home, point_at, stand_ins, usual_port, warn_of_ignored_database
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import load_settings, project_root


@click.command()
@click.option("--demo", "on_demo", is_flag=True, help="Run on the stand-ins, with the results of `aperture demo`.")
@stand_in_options("world", "users", "server", "home")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Port of the UI.")
def up(on_demo: bool, world: str, users: int | None, server: Server, home: str | None, host: str, port: int) -> None:
    """Run the Dagster UI and the daemon (schedules, sensors, backfills) until interrupted."""
    import dagster as dg

    with operator_errors(), contextlib.ExitStack() as stack:
        if load_settings().media_server_url is None and not on_demo:
            click.echo("No media server is configured (APERTURE_MEDIA_SERVER_URL); running the demo instead.")
            on_demo = True
        if not on_demo and (world, users, server) != ("demo", None, "jellyfin"):
            raise click.UsageError("--world, --users and --server need --demo: a media server is configured.")
        require_free_port(host, port, "aperture up")
        folder = demo_home(home, server) if on_demo else None
        if folder is not None:
            require_writable(folder)
            warn_of_ignored_database()
            lists = folder / LISTS
            running = stand_ins(world, users, server, lists=lists, port=usual_port(folder))
            point_at(stack.enter_context(running), folder, lists)
        elif home:
            os.environ["APERTURE_HOME"] = home
        os.environ["DAGSTER_HOME"] = str(project_root())
        require_writable(load_settings().home_path)
        # Opened now; otherwise every part that starts later would print its own long error.
        with Database(load_settings()).transaction(), dg.DagsterInstance.get():
            pass
        click.echo(f"The UI will be at http://{host}:{port} in a few seconds. Press Ctrl-C to stop.")
        # Dagster lets a .env file in the working folder override the environment; a demo must not see it.
        sys.exit(_run_dagster(host, port, folder))


def _run_dagster(host: str, port: int, folder: Path | None) -> int:
    """Run ``dagster dev`` in a folder; it and all its children end with this process. Returns its exit code."""
    program = Path(sys.executable).with_name("dagster")
    command = [str(program) if program.exists() else "dagster", "dev"]
    command += ["-w", str(project_root() / "workspace.yaml"), "-h", host, "-p", str(port), "--log-level", "warning"]
    process: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        if process is not None:
            process.send_signal(signal.SIGINT)

    # Before it starts: it would inherit a signal that is ignored here (as in a shell's background), and never stop.
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    # In a session of its own: otherwise Ctrl-C would reach each of its parts twice, directly and through its parent.
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    try:
        return max(process.wait(), 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        for number, handler in previous.items():
            signal.signal(number, handler)
