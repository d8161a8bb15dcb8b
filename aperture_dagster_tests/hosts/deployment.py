"""The product on seven hosts: database, outside services, code server, webserver, daemon and two workers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg

from aperture_dagster.postgres.cluster import Cluster
from aperture_dagster.simulator.environment import VOLUME, environment
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.hosts.network import SUBNET, Host, Network

PASSWORD = "correct+horse/battery"
STAND_INS_PORT, POSTGRES_PORT, CODE_PORT, UI_PORT = 8000, 5432, 4000, 3000
# Slow enough for a run to be disturbed in the middle.
TMDB_LIMIT = (8, 1.0)
STAND_INS = """
import socket, sys
from aperture_dagster.simulator import __main__ as stand_ins
stand_ins.listen = lambda port: socket.create_server(("0.0.0.0", port))
sys.exit(stand_ins.main(sys.argv[1:]))
"""
REPOSITORY = {"repositoryLocationName": "aperture", "repositoryName": "__repository__"}
LAUNCH = """
    mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
      __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
START_SENSOR = """
    mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
      __typename ... on PythonError { message } } }"""
TERMINATE = """
    mutation($run: String!) { terminateRun(runId: $run, terminatePolicy: SAFE_TERMINATE) { __typename } }"""
_ATTEMPTS = """
    SELECT r.run_id, r.status, coalesce(h.value, '')
    FROM runs r LEFT JOIN run_tags h ON h.run_id = r.run_id AND h.key = 'aperture/host' WHERE r.run_id = %(run)s
    OR r.run_id IN (SELECT run_id FROM run_tags WHERE key = 'dagster/root_run_id' AND value = %(run)s) ORDER BY r.id"""


class Deployment:
    """A running deployment.

    Attributes:
        folder: of everything: a home per host, the folder that all hosts see, and what each program printed.
        hosts: by name.
    """

    def __init__(self, folder: Path, network: Network, *, users: int) -> None:
        self.folder, self.network = folder, network
        self.shared, self.lists = folder / "shared", folder / "lists"
        self.logs = folder / "logs"
        for one in (self.shared, self.lists, self.logs):
            one.mkdir(parents=True)
        names = ("services", "database", "code", "webserver", "daemon", "worker-1", "worker-2")
        self.numbers = {name: number for number, name in enumerate(names, start=1)}
        self.hosts = {name: network.connect(name, number) for name, number in self.numbers.items()}
        self._users = users
        self._cluster = Cluster(folder / "postgres")

    def start(self) -> None:
        """Start everything, in the order in which an operator does."""
        limit = [str(one) for one in TMDB_LIMIT]
        options = ["--port", str(STAND_INS_PORT), "--users", str(self._users), "--volume", f"{VOLUME}={self.lists}"]
        options += ["--omdb-daily-limit", "1000000", "--mdblist-daily-limit", "1000000", "--tmdb-limit", *limit]
        self._start("services", sys.executable, "-c", STAND_INS, *options)
        self._start_postgres()
        eventually(lambda: self._answers("services", STAND_INS_PORT, "/jellyfin/System/Info/Public"))
        code = ["api", "grpc", "--host", "0.0.0.0", "--port", str(CODE_PORT), "--location-name", "aperture"]
        code += ["--module-name", "aperture_dagster.definitions", "--inject-env-vars-from-instance"]
        self._start("code", sys.executable, "-m", "dagster", *code, "--use-python-environment-entry-point")
        self._wait_for_code_server()
        for name in ("worker-1", "worker-2"):
            self.start_worker(name)
        workspace = ["--workspace", str(PROJECT / "deploy" / "workspace.yaml")]
        ui = ["--host", "0.0.0.0", "--port", str(UI_PORT), *workspace]
        self._start("webserver", sys.executable, "-m", "aperture_dagster.front_door", *ui)
        self._start("daemon", sys.executable, "-m", "dagster._daemon", "run", *workspace)
        eventually(lambda: self._answers("webserver", UI_PORT, "/server_info"))

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start the worker of a host, which is made again if it was killed."""
        worker = ["celery", "--app", "aperture_dagster.instance.workers", "worker", "--loglevel", "INFO"]
        return self._start(name, sys.executable, "-m", *worker)

    def replace(self, name: str) -> None:
        """Put a new host in the place of one that was killed."""
        self.hosts[name] = self.network.connect(name, self.numbers[name])

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a host's programs."""
        stand_ins = f"http://{SUBNET}.{self.numbers['services']}:{STAND_INS_PORT}"
        limits = SimulatorSettings(omdb_daily_limit=1_000_000, mdblist_daily_limit=1_000_000, tmdb_limit=TMDB_LIMIT)
        temporary = self.folder / name / "temporary"
        temporary.mkdir(parents=True, exist_ok=True)
        encoded = PASSWORD.replace("+", "%2B").replace("/", "%2F")
        return environment(stand_ins, "jellyfin", limits) | {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / name),
            "TMPDIR": str(temporary),
            "DAGSTER_HOME": str(PROJECT / "deploy" / "celery"),
            "CODE_SERVER_HOST": f"{SUBNET}.{self.numbers['code']}",
            "APERTURE_CONFIG": os.devnull,
            "APERTURE_TIMEZONE": "UTC",
            "APERTURE_SCHEDULES_ENABLED": "false",
            "APERTURE_HOME": str(self.folder / name / "home"),
            "APERTURE_SHARED_FOLDER": str(self.shared),
            "APERTURE_DATABASE_URL": (
                f"postgresql://aperture:{encoded}@{SUBNET}.{self.numbers['database']}:{POSTGRES_PORT}/aperture"
            ),
            "APERTURE_PUBLISH": "true",
            "APERTURE_PUBLISH_ROOT": str(self.lists),
            "APERTURE_PATH_MAP": json.dumps({str(self.lists): VOLUME}),
        }

    def environment_here(self) -> dict[str, str]:
        """Return an environment for this process, which reaches the database by its socket."""
        socket = str(self._cluster.data).replace("/", "%2F")
        url = f"postgresql://aperture@/aperture?host={socket}&port={POSTGRES_PORT}"
        return self.environment("webserver") | {
            "APERTURE_DATABASE_URL": url, "APERTURE_HOME": str(self.folder / "operator" / "home")
        }  # fmt: skip

    @contextlib.contextmanager
    def database(self, name: str = "aperture") -> Iterator[psycopg.Connection]:
        """Open a session on a database."""
        with psycopg.connect(
            host=str(self._cluster.data), port=POSTGRES_PORT, user="postgres", dbname=name, autocommit=True
        ) as session:
            yield session

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query to the webserver, and return the only field of its answer."""
        with self.hosts["webserver"].inside():
            answer = httpx.post(
                f"http://127.0.0.1:{UI_PORT}/graphql", json={"query": query, "variables": variables}, timeout=120
            ).json()
        (result,) = answer["data"].values()
        return result

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        """Launch a run as the UI does, and return its id."""
        selector = REPOSITORY | {"jobName": job}
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": metadata}
        result = self.ask(LAUNCH, params=params)
        assert result["__typename"] == "LaunchRunSuccess", result
        return result["run"]["runId"]

    def attempts(self, run_id: str) -> list[tuple[str, str, str]]:
        """Return id, status and host of a run and of those that replaced it, in order."""
        with self.database("aperture_dagster") as session:
            return session.execute(_ATTEMPTS, {"run": run_id}).fetchall()

    def wait_for_success(self, run_id: str, *, seconds: float = 600) -> list[tuple[str, str, str]]:
        """Wait until a run, or one that replaced it, succeeds; return all attempts."""

        def succeeded() -> bool:
            statuses = [status for _, status, _ in self.attempts(run_id)]
            assert len(statuses) <= 3 and "CANCELED" not in statuses, statuses
            return statuses[-1] == "SUCCESS"

        eventually(succeeded, seconds=seconds)
        return self.attempts(run_id)

    def control(self, operation: str, **arguments: Any) -> Any:
        """Run an operation of the stand-ins."""
        with self.hosts["services"].inside():
            url = f"http://127.0.0.1:{STAND_INS_PORT}/_control/{operation}"
            return httpx.post(url, json=arguments, timeout=60).json()["result"]

    def close(self) -> None:
        """Remove what is outside of its folder; the hosts must be gone."""
        self._cluster.remove_copied_programs()

    def log(self, name: str) -> str:
        """Return what the programs of a host have printed."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        host: Host = self.hosts[name]
        return host.start(*command, environment=self.environment(name), log=self.logs / f"{name}.log")

    def _start_postgres(self) -> None:
        cluster = self._cluster
        cluster.create()
        access = "local all all trust\nhost all all 10.77.0.0/24 scram-sha-256\n"
        (cluster.data / "pg_hba.conf").write_text(access)
        program = cluster._readable_tool("postgres", cluster.version)
        options = f"-D /proc/self/cwd -k . -h '*' -p {POSTGRES_PORT} -c fsync=off"
        account = cluster.account
        switch = f"setpriv --reuid {account[0]} --regid {account[1]} --clear-groups" if account else ""
        # Its account may not pass the folders above, but may stay in its own.
        self._start("database", "sh", "-c", f"cd {cluster.data} && exec {switch} {program} {options}")

        def is_there() -> bool:
            with contextlib.suppress(psycopg.OperationalError), self.database("postgres"):
                return True
            return False

        eventually(is_there)
        with self.database("postgres") as session:
            session.execute(f"CREATE ROLE aperture LOGIN CREATEDB SUPERUSER PASSWORD '{PASSWORD}'".encode())
            session.execute("CREATE DATABASE aperture OWNER aperture")

    def _wait_for_code_server(self) -> None:
        health = ["-m", "dagster", "api", "grpc-health-check", "--port", str(CODE_PORT)]
        command = self.hosts["code"].command(sys.executable, *health)
        environment = self.environment("code")
        eventually(lambda: subprocess.run(command, env=environment, capture_output=True).returncode == 0, every=3)

    def _answers(self, name: str, port: int, path: str) -> bool:
        with contextlib.suppress(httpx.TransportError), self.hosts[name].inside():
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30).is_success
        return False


def eventually(happens: Callable[[], bool], *, seconds: float = 300, every: float = 1) -> None:
    """Wait until something happens. Raises AssertionError if it does not."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:.0f} seconds"
        time.sleep(every)
