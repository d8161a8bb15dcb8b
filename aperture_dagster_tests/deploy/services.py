"""Run the services of ``deploy/compose.yaml`` in a root, by the commands, health checks and times of that file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aperture_dagster_tests.deploy.compose_file import Service, read_compose
from aperture_dagster_tests.deploy.roots import Root, end, kill, visible
from aperture_dagster_tests.waiting import wait_for

PASSWORD = "letters1and2digits"
WORLD = "generated:movies=20,series=2,episodes=6,users=3,plays=20"
SERVICES = ("code", "webserver", "daemon")
SECONDS = 240.0
ENV_FILE = {
    "APERTURE_MEDIA_SERVER_URL": "http://media-server:8096/jellyfin",
    "APERTURE_MEDIA_SERVER_API_KEY": "demo-jellyfin-key",
    "APERTURE_TIMEZONE": "UTC",
    "APERTURE_SCHEDULES_ENABLED": "false",
    "APERTURE_PRICES_URL": "",
    # The volumes are folders in memory here, which is not what is tested.
    "POSTGRES_PASSWORD": PASSWORD,
}
"""What an operator would write into ``.env``."""
LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "%s"},
  runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = '{ runOrError(runId: "%s") { ... on Run { status } } }'
ASK = """
import json, sys, urllib.request
body = json.dumps({"query": sys.argv[1]}).encode()
headers = {"Content-Type": "application/json"}
headers["Authorization"] = "Bearer " + open("/var/lib/aperture/front-door/operator.secret").read().strip()
request = urllib.request.Request("http://127.0.0.1:3000/operate/graphql", body, headers)
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""
TOOLS = "from aperture_dagster.postgres.cluster import embedded_tool; print(embedded_tool('initdb').parent)"


class Services:
    """The services of the file on one root.

    Args:
        root: the image.
        image: the variables that the image sets.
        folder: for volumes and logs; may be empty.
        user: user and group of the services, as in the file.
    """

    def __init__(self, root: Root, image: Mapping[str, str], folder: Path, user: str) -> None:
        self.root, self.folder, self.user = root, folder, user
        self._image = dict(image)
        self._compose = read_compose(ENV_FILE)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.volumes = {name: folder / name for name in self._compose["volumes"]}
        folders = {source: where for name in SERVICES for where, source in self.service(name).volumes.items()}
        for name, path in self.volumes.items():
            path.mkdir(exist_ok=True)
            if name in folders:
                # As Docker prepares a new volume.
                like = visible(root, folders[name]).stat()
                os.chown(path, like.st_uid, like.st_gid)
                path.chmod(like.st_mode)
            else:
                # PostgreSQL does not run as root.
                os.chown(path, 1000, 1000)

    def service(self, name: str) -> Service:
        """Return what the file says of a service."""
        return Service.read(name, self._compose)

    def log(self, name: str) -> str:
        """Return what a service has printed."""
        return self._log_path(name).read_text(errors="replace")

    def _log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a service: those of the image, of ``.env``, and of the file."""
        return self._image | ENV_FILE | self.service(name).environment

    def start(self, *names: str) -> None:
        """Start services, all at once."""
        for name in names:
            self._running[name] = _start(self._command(name, *self.service(name).command), self._log_path(name))

    def _command(self, name: str, *words: str) -> list[str]:
        volumes = {where: self.volumes[source] for where, source in self.service(name).volumes.items()}
        return self.root.command(words, self.environment(name), volumes=volumes, user=self.user)

    def stop(self, *names: str) -> dict[str, float]:
        """Stop services one after the other, within the time that the file gives them; return the seconds."""
        return {name: end(self._running.pop(name), self.service(name).grace) for name in names}

    def kill_all(self) -> None:
        """Kill everything that is still running."""
        for process in self._running.values():
            kill(process)
        self._running.clear()

    def execute(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program beside a service, as ``docker compose exec`` does."""
        return subprocess.run(self._command(name, *words), capture_output=True, text=True)

    def wait_until_healthy(self, *names: str) -> None:
        """Wait until the health checks of services, as the file gives them, succeed."""
        for name in names:
            check = self.service(name).check
            wait_for(
                lambda check=check, name=name: self.execute(name, *check).returncode == 0,
                lambda name=name: f"{name} is not healthy: {self.log(name)}",
                seconds=SECONDS, pause=0.5, process=self._running[name],
            )  # fmt: skip

    def ask(self, query: str) -> Any:
        """Ask the webserver; None while it does not answer."""
        enter = ["nsenter", f"--net=/proc/{self.root.holder.pid}/ns/net"]
        done = subprocess.run([*enter, sys.executable, "-c", ASK, query], capture_output=True, text=True)
        return json.loads(done.stdout).get("data") if done.returncode == 0 else None

    def launch(self, job: str) -> str:
        """Put a run into the queue, as the UI does; return its id."""

        answers: list[Any] = []

        def launched() -> str | None:
            answers.append(self.ask(LAUNCH % job))
            return ((answers[-1] or {}).get("launchRun") or {}).get("run", {}).get("runId")

        return wait_for(launched, lambda: f"{answers[-1]} {self.log('webserver')}", seconds=SECONDS, pause=0.5)

    def status(self, run: str) -> str | None:
        """Return the status of a run."""
        return ((self.ask(STATUS % run) or {}).get("runOrError") or {}).get("status")

    def wait_for_run(self, run: str, *statuses: str) -> None:
        """Wait until a run has one of these statuses."""
        last: list[str | None] = [None]

        def reached() -> bool:
            last[0] = self.status(run)
            return last[0] in statuses

        logs = "".join(f"\n== {name}\n{self.log(name)}" for name in SERVICES)
        wait_for(reached, lambda: f"the run is {last[0]}, not {statuses}: {logs}", seconds=SECONDS, pause=0.5)

    @contextmanager
    def postgres(self) -> Iterator[None]:
        """Run the embedded PostgreSQL in place of the image of the file, with its port, user, password and folder."""
        done = self.execute("code", "python", "-c", TOOLS)
        assert done.returncode == 0, done.stderr
        tools, data = Path(done.stdout.strip()), "/var/lib/postgresql/data"
        visible(self.root, "/var/lib/postgresql").mkdir(parents=True, exist_ok=True)
        volumes = {"/var/lib/postgresql": self.volumes["postgres"]}
        (self.volumes["postgres"] / "password").write_text(PASSWORD)
        log = self._log_path("postgres")

        def start(*words: str) -> subprocess.Popen[bytes]:
            program, *arguments = words
            command = [str(tools / program), *arguments]
            return _start(self.root.command(command, {"PATH": "/bin"}, volumes=volumes, user="1000:1000"), log)

        options = ["--encoding=UTF8", "--no-locale", "--username=aperture", "--auth=scram-sha-256"]
        options += ["--pwfile=/var/lib/postgresql/password"]
        assert start("initdb", "--no-sync", f"--pgdata={data}", *options).wait() == 0, log.read_text()
        fast = [word for name in ("fsync", "full_page_writes") for word in ("-c", f"{name}=off")]
        network = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        server = start("postgres", "-D", data, *network, *fast)
        try:
            wait_for(lambda: self._sql("SELECT 1", "postgres"), log.read_text, seconds=60, process=server)
            self._sql("CREATE DATABASE aperture", "postgres")
            yield
        finally:
            kill(server)

    def _sql(self, statement: str, database: str = "aperture") -> str | None:
        program = (
            "import psycopg, sys; c = psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2]); "
            "print(c.fetchall() if c.description else 'done')"
        )
        url = f"postgresql://aperture:{PASSWORD}@postgres/{database}"
        done = self.execute("code", "python", "-c", program, url, statement)
        return done.stdout.strip() if done.returncode == 0 else None

    def sql(self, statement: str, database: str = "aperture") -> str:
        """Execute a statement; return its rows as Python prints them."""
        found = self._sql(statement, database)
        assert found is not None, statement
        return found

    @contextmanager
    def media_server(self) -> Iterator[None]:
        """Run the stand-ins as the host ``media-server``."""
        words = ["python", "-m", "aperture_dagster.simulator", "--world", WORLD, "--port", "8096"]
        process = _start(self.root.command(words, self._image, user=self.user), self._log_path("media-server"))
        try:
            yield
        finally:
            kill(process)


@contextmanager
def running_services(root: Root, image: Mapping[str, str], folder: Path, user: str) -> Iterator[Services]:
    """Yield the services, none of which runs yet, with PostgreSQL and a media server; kill what is left at the end."""
    services = Services(root, image, folder, user)
    # Files of the host are read by other accounts; what this process ran before may have set another mask.
    mask = os.umask(0o022)
    try:
        with services.postgres(), services.media_server():
            try:
                yield services
            finally:
                services.kill_all()
    finally:
        os.umask(mask)


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


def stopwatch() -> float:
    """Return seconds that only differences mean something of."""
    return time.monotonic()


def backups_in(folder: Path) -> list[str]:
    """Return the names of the backups in a folder."""
    with suppress(FileNotFoundError):
        return sorted(path.name for path in folder.iterdir() if path.suffix == ".gz")
    return []
