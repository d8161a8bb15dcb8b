"""``aperture up``: the Dagster UI and daemon, on a media server or on the stand-ins."""

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from dotenv import dotenv_values

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import (
    LISTS,
    STATE,
    demo_home,
    demo_home_option,
    load_settings_of,
    note_served,
    point_at,
    warn_of_ignored_database,
)
from aperture_dagster.cli.migrate import migrate_databases
from aperture_dagster.cli.requirements import family_of, require_free_port, require_writable
from aperture_dagster.cli.stand_ins import StandIns, stand_in_options, usual_port
from aperture_dagster.cli.terminal import echo
from aperture_dagster.files import locks
from aperture_dagster.files.private import write_file
from aperture_dagster.front_door.restoring import restore_as_asked
from aperture_dagster.front_door.secrets import OPERATOR, secret_file
from aperture_dagster.front_door.set_up.progress import progress_file
from aperture_dagster.instance.home import LOCATION, use_dagster_home
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.folder import in_container
from aperture_dagster.postgres.cluster import Cluster, short_path
from aperture_dagster.postgres.connection import close_engine, product_database_url
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import FROM_FILE, Settings, copied_variables, load_settings
from aperture_dagster.settings.home import checkout, env_file
from aperture_dagster.settings.types import is_loopback_only
from aperture_dagster.up.files import UpFiles, read_state, up_is_running
from aperture_dagster.up.plan import EmbeddedDatabase, Limits, Part, Plan, Ui
from aperture_dagster.up.restart import LISTENING, inherited
from aperture_dagster.up.signals import AWAITED

LOOPS = {
    # Looks for runs that crashed, to restart them, and writes down that it has looked.
    "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": 60,
    # Compares the age of all assets with their policies, which are hours and days.
    "FRESHNESS_DAEMON_INTERVAL_SECONDS": 300,
}
"""Seconds between two looks of loops of the daemon that do not need Dagster's 5 and 30; see ``docs/idle.md``."""

CONTAINER_STOP_SECONDS = 4.0
"""How long the parts of a stage may take to stop in a container, which Docker kills after ten seconds: the code server,
which stops the database, comes after the daemon."""
SET_UP = "aperture_dagster.front_door.set_up"
MAIN = "aperture_dagster.cli.main"
CHECK_SECONDS = 10.0
"""How long the start waits for the media server."""


@click.command()
@click.option("--demo", "on_demo", is_flag=True, help="Run on the stand-ins, with the results of `aperture demo`.")
@stand_in_options
@demo_home_option
@click.option("--host", help="Address that the UI listens on. Default: APERTURE_UI_HOST, or else 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the UI. Default: APERTURE_UI_PORT, or else 3000.")
def up(on_demo: bool, stand_ins: StandIns, home: str | None, host: str | None, port: int | None) -> None:
    """Run the Dagster UI and the daemon (schedules, sensors, backfills) until interrupted.

    Without a media server, the pages on which one is set up are all that runs; --demo shows everything on stand-ins.

    A part that dies is restarted; the others go on, also while one cannot be kept alive.
    """
    # The supervisor blocks them before it becomes this program again.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    with operator_errors():
        given = load_settings() if on_demo else load_settings_of(home)
        is_set_up = on_demo or bool(given.media_server_url and given.media_server_api_key)
        if not on_demo and stand_ins != StandIns():
            raise click.UsageError("--world, --users and --server are for a demo: they need --demo.")
        given_host, given_port = host, port
        folder = demo_home(home, stand_ins.server) if on_demo else None
        # Before a port is chosen, which that one most likely uses.
        _refuse_if_running(folder or given.home_path)
        host = _host_of_demo(host, given) if on_demo else host or given.ui_host
        listening = inherited(host, given.ui_port if port is None else port)
        if listening is None:
            port = _free_port(host, given.ui_port if port is None else port)
        else:
            # The program before this one keeps the address open.
            port = given.ui_port if port is None else port
        chosen = port if given_port is not None else None
        again = _arguments(on_demo, stand_ins, home, given_host, chosen)
        if not is_set_up:
            if given.home_path.exists():
                # What is entered is kept there, so it is better said before than after.
                require_writable(given.home_path)
            demo = _arguments(True, StandIns(), None, given_host, chosen)
            _set_up(given, _ui(host, port, given), again, demo, listening)
        if not on_demo:
            # It was set up meanwhile, by hand.
            progress_file(given).unlink(missing_ok=True)
        first = [] if folder is None else [_point_at_stand_ins(stand_ins, folder)]
        settings = load_settings()
        require_writable(settings.home_path)
        use_dagster_home(settings)
        lock = _lock_home(settings.home_path)
        # The file of an `aperture up` that was killed would say that all is ready.
        UpFiles.of_home(settings.home_path).state.unlink(missing_ok=True)
        echo(f"Starting on {settings.home_path} …")
        if not on_demo:
            listening = restore_as_asked(settings, host, port, listening, echo)
        # Once: otherwise each part that starts later would print its own long error.
        migrate_databases(settings)
        _end_dead_runs(settings)
        for finding in _check_the_rest(settings, ["home"] if on_demo else ["home", "media server"]):
            if finding.state != "ok":
                echo(f"! {finding.what}: {finding.message}")
        _release_databases(settings)
        plan = _plan(settings, _ui(host, port, given), lock, folder, first)
        plan = dataclasses.replace(plan, again=["-P", "-m", MAIN, "up", *again], listening=listening)
        for name, seconds in LOOPS.items():
            os.environ.setdefault(name, str(seconds))
        sys.stdout.flush()
        # A signal that arrives from now on waits for the supervisor, which knows what to stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
        # Replaced, not started: everything that the checks above imported would stay in memory for months.
        os.execv(sys.executable, plan.command())


def _arguments(on_demo: bool, stand_ins: StandIns, home: str | None, host: str | None, port: int | None) -> list[str]:
    """Return the arguments with which to start again; what was not given here is then read from the settings."""
    given = {"--home": home and str(Path(home).expanduser().resolve()), "--host": host, "--port": port}
    options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    return [*(["--demo", *shlex.split(" ".join(stand_ins.options()))] if on_demo else []), *options]


def _host_of_demo(host: str | None, given: Settings) -> str:
    """Return where a demo listens, which asks nobody who they are. Raises UsageError for an option that opens it."""
    if is_loopback_only(host or given.ui_host):
        return host or given.ui_host
    if host is not None:
        raise click.UsageError(
            f"A demo has no sign-in, so it is for this machine only: leave --host {host} out. From another machine, "
            "open it through a tunnel: docs/remote-access.md says how."
        )
    echo(f"APERTURE_UI_HOST={given.ui_host} is ignored: a demo has no sign-in, so it listens on this machine only.")
    return "127.0.0.1"


def _set_up(given: Settings, ui: Ui, again: Sequence[str], demo: Sequence[str], listening: int | None) -> NoReturn:
    """Become the program on whose pages everything is set up; nothing else runs until then."""
    # A proxy or tunnel on this machine brings others here, too.
    is_led_here = bool(given.ui_allowed_hosts or given.ui_trusted_proxies)
    needs_code = in_container() or not is_loopback_only(ui.host) or is_led_here
    echo(f"No media server is configured, so nothing runs yet but the pages to set up: {ui.address}")
    echo(f"Or set APERTURE_MEDIA_SERVER_URL and APERTURE_MEDIA_SERVER_API_KEY in {env_file()}, and start again.")
    sys.stdout.flush()
    start = {"host": ui.host, "port": ui.port, "again": [*again], "needs_code": needs_code}
    # A demo has no sign-in.
    start["demo"] = None if needs_code else [*demo]
    if listening is not None:
        os.environ[LISTENING] = str(listening)
    os.execv(sys.executable, [sys.executable, "-P", "-m", SET_UP, json.dumps(start)])


def _point_at_stand_ins(stand_ins: StandIns, folder: Path) -> Part:
    """Point everything at the stand-ins of a demo, and return the part that they are.

    Raises:
        OperatorError: they cannot serve that world.
    """
    warn_of_ignored_database()
    stand_ins.require_world()
    lists, state = folder / LISTS, folder / STATE
    port = usual_port(folder) or _free_port("127.0.0.1", 0)
    environment = stand_ins.environment(f"http://127.0.0.1:{port}")
    require_writable(folder)
    note_served(folder, stand_ins, environment)
    point_at(environment, folder, lists)
    arguments = stand_ins.demo_arguments(lists=lists, port=port, state=state)
    return Part("stand-ins", "aperture_dagster.simulator", arguments, address=port, says_errors_only=True)


def _free_port(host: str, port: int) -> int:
    """Return the port, or any free one instead of 0; OperatorError if it is in use."""
    require_free_port(host, port, "aperture up")
    if port:
        return port
    with socket.socket(family_of(host)) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _ui(host: str, port: int, settings: Settings) -> Ui:
    """Return where the UI is. In a container, the settings say where its host publishes it."""
    here = Ui(host, port)
    if not in_container() or host == here.reachable_host:
        return here
    return Ui(host, port, published=Ui(settings.ui_host, settings.ui_port).address)


def _lock_home(home: Path) -> int:
    """Lock the home against a second `aperture up`, whose daemon would run every schedule twice.

    Raises:
        OperatorError: another one is running.
    """
    path = UpFiles.of_home(home).lock
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = locks.acquire(path, wait=False)
    if lock is None:
        raise _already_running(home)
    os.set_inheritable(lock, True)
    return lock


def _refuse_if_running(home: Path) -> None:
    """Look at the lock before anything is started or created; raises as :func:`_lock_home`."""
    is_running = False
    # A folder that cannot be read is refused with a better sentence, once it is known that it is needed.
    with contextlib.suppress(OSError):
        is_running = up_is_running(home)
    if is_running:
        raise _already_running(home)


def _already_running(home: Path) -> OperatorError:
    state = read_state(UpFiles.of_home(home).state)
    where = "starting or stopping"
    if state.get("address"):
        where = f"{'stopping' if state.get('stopping') else 'its UI is at'} {state['address']}"
    process = f", process {state['pid']} on the machine or in the container where it runs" if state.get("pid") else ""
    return OperatorError(
        f"`aperture up` is already running on {home} ({where}{process}). Use that one, or stop it where it was "
        "started: with Ctrl-C, or by its service manager. To run another one beside it, set APERTURE_HOME to "
        "another folder."
    )


def _end_dead_runs(settings: Settings) -> None:
    """End the runs that were killed with the one before, which the daemon then starts again with its first look.

    Its monitoring finds them later, and takes minutes to give up those that had not started.
    """
    import dagster as dg

    from aperture_dagster.instance.dead_runs import end_dead_runs

    with dg.DagsterInstance.get() as instance:
        if ended := end_dead_runs(instance):
            echo(f"{len(ended)} run{'s were' if len(ended) > 1 else ' was'} killed, and will be started again.")


def _release_databases(settings: Settings) -> None:
    """Stop using the embedded database before this process is replaced; the parts start it again."""
    if settings.database_url is None:
        close_engine(product_database_url(settings))
        release_embedded_server(settings.home_path / "postgres")


def _check_the_rest(settings: Settings, what: Sequence[str]) -> list[Finding]:
    """Let the doctor look for problems that do not prevent the start, for a limited time.

    The media server may be booting as well, and the UI says more about a refused key than fits a line.
    """
    found: list[Finding] = []
    hasty = settings.model_copy(update={"http_attempts": 1})
    looking = threading.Thread(target=lambda: found.extend(examine(hasty, what)), daemon=True)
    looking.start()
    looking.join(CHECK_SECONDS)
    if looking.is_alive():
        late = f"{settings.media_server_url} has not answered within {CHECK_SECONDS:.0f} seconds"
        return [*found, Finding("media server", "warning", f"{late}. Jobs that need it will say why.")]
    return found


def _ready(ui: Ui) -> str:
    """Say where the UI is, once it is ready."""
    warning = "Passwords would cross the network unencrypted: docs/remote-access.md says how to encrypt them."
    if ui.published is not None:
        return f"Ready: {ui.address} on the host, if it publishes port {ui.port} of this container there. {warning}"
    here = f"Ready: {ui.address} (Ctrl-C stops it)."
    if ui.host == ui.reachable_host:
        return here
    return f"{here}\nFrom other machines: http://{os.uname().nodename}:{ui.port}. {warning}"


def _has_other_settings(folder: Path) -> bool:
    """Return whether a folder has a ``.env`` that this process has not read: Dagster lets that of its folder win."""
    found = {name: value for name, value in dotenv_values(folder / ".env").items() if value is not None}
    return folder != env_file().parent and any(os.environ.get(name) != value for name, value in found.items())


def _plan(settings: Settings, ui: Ui, lock: int, folder: Path | None, stand_ins: Sequence[Part]) -> Plan:
    """Plan the parts that ``dagster dev`` has, with one code server for all and no process in front of it."""
    files = UpFiles.of_home(settings.home_path)
    code_socket = str(short_path(files.folder) / "code.sock")
    server = {"socket": code_socket, "location_name": LOCATION}
    # JSON is valid YAML.
    write_file(files.workspace, json.dumps({"load_from": [{"grpc_server": server}]}).encode())
    workspace, quiet = ["--workspace", str(files.workspace)], ["--log-level", "warning"]
    code_server = ["api", "grpc", "--socket", code_socket, "--module-name", "aperture_dagster.definitions", *quiet]
    code_server += ["--location-name", LOCATION, "--inject-env-vars-from-instance"]
    code_server += ["--use-python-environment-entry-point"]
    webserver = [*workspace, "--host", ui.host, "--port", str(ui.port), "--dagster-log-level", "warning"]
    if stand_ins:
        # There is nobody to keep out, and no account to sign in with.
        webserver.append("--demo")
    needs_folder = folder or not checkout() or _has_other_settings(Path.cwd())
    return Plan(
        parts=[
            *stand_ins,
            Part("code server", "dagster", code_server, stage=1, address=code_socket),
            Part(
                "webserver",
                "aperture_dagster.front_door",
                webserver,
                stage=2,
                ready=_ready(ui),
                may_restart=True,
                listens=True,
            ),
            Part("daemon", "dagster._daemon", ["run", *workspace, *quiet], stage=2),
        ],
        lock=lock,
        state=str(files.state),
        key=str(secret_file(settings, OPERATOR)),
        ui=ui,
        folder=str(folder or files.folder) if needs_folder else None,
        limits=Limits(stop_seconds=CONTAINER_STOP_SECONDS) if in_container() else Limits(),
        database=_embedded_database(settings),
        copied=sorted({*copied_variables(), FROM_FILE}),
    )


def _embedded_database(settings: Settings) -> EmbeddedDatabase | None:
    """Return the embedded database of a home; None if it is configured to use another server."""
    if settings.database_url is not None:
        return None
    cluster = Cluster(settings.home_path / "postgres")
    return EmbeddedDatabase(str(cluster.data), str(cluster.life))
