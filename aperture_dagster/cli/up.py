"""``aperture up``: the Dagster UI and daemon, on a media server or on the stand-ins."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import click

from aperture_dagster.cli import supervisor
from aperture_dagster.cli.common import Server, operator_errors, require_free_port, require_writable, stand_in_options
from aperture_dagster.cli.demo import (
    LISTS,
    demo_home,
    point_at,
    stand_ins_process,
    usual_port,
    warn_of_ignored_database,
)
from aperture_dagster.errors import OperatorError
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.places import checkout
from aperture_dagster.storage import locks
from aperture_dagster.storage.cluster import short_path
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.embedded import release_embedded_server
from aperture_dagster.storage.files import write_file

LOCATION = "aperture"
"""Name of the code location, as in ``workspace.yaml``: Dagster keeps the state of sensors and schedules by it."""

LOOPS = {
    # Looks for runs that crashed, to restart them, and writes down that it has looked.
    "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": 60,
    # Compares the age of all assets with their policies, which are hours and days.
    "FRESHNESS_DAEMON_INTERVAL_SECONDS": 300,
}
"""Seconds between two looks of loops of the daemon that do not need Dagster's 5 and 30; see ``docs/idle.md``."""


@click.command()
@click.option("--demo", "on_demo", is_flag=True, help="Run on the stand-ins, with the results of `aperture demo`.")
@stand_in_options("world", "users", "server", "home")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Port of the UI.")
def up(on_demo: bool, world: str, users: int | None, server: Server, home: str | None, host: str, port: int) -> None:
    """Run the Dagster UI and the daemon (schedules, sensors, backfills) until interrupted."""
    helpers: list[int] = []
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
            running = stand_ins_process(world, users, server, lists=lists, port=usual_port(folder))
            process, environment = stack.enter_context(running)
            helpers.append(process)
            point_at(environment, folder, lists)
        elif home:
            os.environ["APERTURE_HOME"] = home
        settings = load_settings()
        require_writable(settings.home_path)
        use_dagster_home(settings)
        lock = _lock_home(settings.home_path)
        _check_databases(settings)
        plan = _plan(settings.home_path, host, port, lock, folder, helpers)
        click.echo(f"The UI will be at http://{host}:{port} in a few seconds. Press Ctrl-C to stop.")
        sys.stdout.flush()
        for name, seconds in LOOPS.items():
            os.environ.setdefault(name, str(seconds))
        # A signal that arrives from now on waits for the supervisor, which knows what to stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.AWAITED)
        # Replaced, not started: everything that the checks above imported would stay in memory for months.
        os.execv(sys.executable, plan.command())


def _lock_home(home: Path) -> int:
    """Lock the home against a second `aperture up`, whose daemon would run every schedule twice.

    Raises:
        OperatorError: another one is running.
    """
    path = home / "dagster" / "up.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = locks.acquire(path, wait=False)
    if lock is None:
        raise OperatorError(
            f"`aperture up` is already running on {home}, or still stopping. Stop it first; to run another "
            "one beside it, set APERTURE_HOME to another folder."
        )
    os.set_inheritable(lock, True)
    return lock


def _check_databases(settings: Settings) -> None:
    """Open both databases once; otherwise each part that starts later would print its own long error."""
    import dagster as dg

    with Database(settings).transaction(), dg.DagsterInstance.get():
        pass
    if settings.database_url is None:
        close_engine(product_database_url(settings))
        # The supervisor could not stop it; the parts start it again, and the last one stops it.
        release_embedded_server(settings.home_path / "postgres")


def _plan(home: Path, host: str, port: int, lock: int, folder: Path | None, helpers: list[int]) -> supervisor.Plan:
    """Plan the parts that ``dagster dev`` has, with one code server for all and no process in front of it."""
    own = home / "dagster"
    code_socket = str(short_path(own) / "code.sock")
    workspace = own / "code-server.yaml"
    server = {"socket": code_socket, "location_name": LOCATION}
    # JSON is valid YAML.
    write_file(workspace, json.dumps({"load_from": [{"grpc_server": server}]}).encode())
    quiet = ["--log-level", "warning"]
    code_server = ["api", "grpc", "--socket", code_socket, "--module-name", "aperture_dagster.definitions", *quiet]
    code_server += ["--location-name", LOCATION, "--inject-env-vars-from-instance"]
    code_server += ["--use-python-environment-entry-point"]
    webserver = ["--workspace", str(workspace), "--host", host, "--port", str(port), "--dagster-log-level", "warning"]
    return supervisor.Plan(
        parts=[
            supervisor.Part("code server", "dagster", code_server, ready=code_socket),
            supervisor.Part("webserver", "dagster_webserver", webserver),
            supervisor.Part("daemon", "dagster._daemon", ["run", "--workspace", str(workspace), *quiet]),
        ],
        lock=lock,
        # Dagster lets a .env file in the working folder override the environment; a demo must not see it.
        folder=str(folder or own) if folder or not checkout() else None,
        helpers=helpers,
    )
