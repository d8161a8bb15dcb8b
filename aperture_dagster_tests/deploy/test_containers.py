"""The files of Compose and the health checks: valid by their specification, and right in what they mean."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
import yaml
from dagster._cli import cli as dagster_cli
from dagster._daemon.cli import cli as daemon_cli
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from jsonschema import Draft7Validator

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.front_door.__main__ import command as front_door
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.settings import known_variables
from aperture_dagster.up import health
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy.compose_file import (
    COMPOSE,
    ENV_EXAMPLE,
    HOUSEHOLD,
    Missing,
    read_compose,
    read_env_file,
)
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS
from aperture_dagster_tests.webserver import free_port

SCHEMA = Path(__file__).with_name("compose-spec.json")
PASSWORD = {"POSTGRES_PASSWORD": "x"}
OURS = {"IMAGE", "PUID", "PGID", "HOME_FOLDER", "BACKUPS_FOLDER", "POSTGRES_FOLDER", "POSTGRES_PASSWORD"}
"""Variables that Compose alone reads; a name that begins with APERTURE_ would be refused as an unknown setting."""
SETTINGS = known_variables()
SERVICES = ("code", "webserver", "daemon")
DAGSTERS = {"dagster": dagster_cli, "dagster-daemon": daemon_cli}
FRONT_DOOR = ["python", "-m", "aperture_dagster.front_door"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose(PASSWORD)


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose["services"].items() if name != "postgres"}


# Compose


def test_the_file_is_valid_by_the_schema_of_the_compose_specification(compose: dict[str, Any]):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (HOUSEHOLD, COMPOSE)]
    for given in (*files, read_compose({}, HOUSEHOLD), compose):
        problems = [f"{list(one.path)}: {one.message}" for one in Draft7Validator(schema).iter_errors(given)]
        assert not problems
    # The schema itself finds a slip.
    compose["services"]["code"]["restarts"] = "always"
    assert not Draft7Validator(schema).is_valid(compose)
    del compose["services"]["code"]["restarts"]


def test_every_variable_is_a_setting_or_explained_in_the_example():
    text = "".join(path.read_text(encoding="utf-8") for path in (HOUSEHOLD, COMPOSE))
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used <= SETTINGS | OURS
    explained = read_env_file(commented=True).keys()
    assert used <= explained
    assert explained <= SETTINGS | OURS
    named = set(read_compose(PASSWORD)["services"]["daemon"]["environment"])
    dagsters = {name for name in named if "DAEMON" in name}
    assert named - dagsters <= SETTINGS | {"CODE_SERVER_HOST"}
    up = (PROJECT / "aperture_dagster" / "cli" / "up.py").read_text(encoding="utf-8")
    for name in dagsters:
        assert f'"{name}": {read_compose(PASSWORD)["services"]["daemon"]["environment"][name]}' in up


def test_the_file_is_refused_without_a_password_and_the_example_has_none():
    with pytest.raises(Missing, match=r"POSTGRES_PASSWORD: set it in \.env"):
        read_compose({})
    # A household needs none, and no more than these.
    assert list(read_env_file()) == [
        "APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY", "APERTURE_TIMEZONE", "TMDB_API_KEY"
    ]  # fmt: skip
    read_compose({}, HOUSEHOLD)


def test_the_example_is_read_by_the_product_as_it_is(tmp_path: Path):
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z])", r"\1", ENV_EXAMPLE.read_text(encoding="utf-8"), flags=re.M))
    code = "from aperture_dagster.settings import load_settings; s = load_settings(); print(s.publish_root, s.path_map)"
    environment = os.environ | {"APERTURE_HOME": str(tmp_path)}
    done = run_program(code, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/srv/aperture/published")


def test_no_port_is_open_to_other_machines_unless_chosen(compose: dict[str, Any]):
    assert read_compose({}, HOUSEHOLD)["services"]["aperture"]["ports"] == ["127.0.0.1:3000:3000"]
    ports = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    assert ports == {"webserver": ["127.0.0.1:3000:3000"]}
    assert not any(one.get("network_mode") or one.get("privileged") for one in compose["services"].values())
    chosen = read_compose(PASSWORD | {"APERTURE_UI_HOST": "192.168.1.5", "APERTURE_UI_PORT": "3100"})
    assert chosen["services"]["webserver"]["ports"] == ["192.168.1.5:3100:3000"]


def test_services_have_no_rights_that_they_do_not_need(compose: dict[str, Any]):
    for one in [*ours(compose).values(), *read_compose({}, HOUSEHOLD)["services"].values()]:
        assert one["user"] == "1000:1000"
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
        assert one["restart"] == "unless-stopped"
    assert read_compose(PASSWORD | {"PUID": "1026", "PGID": "100"})["services"]["code"]["user"] == "1026:100"


def test_the_household_and_the_services_have_the_same_folders_and_rights(compose: dict[str, Any]):
    one, code = read_compose({}, HOUSEHOLD)["services"]["aperture"], compose["services"]["code"]
    differs = {"ports", "stop_grace_period", "command", "depends_on", "environment", "healthcheck", "networks"}
    # A household is set up in the browser; services need a password first, which has to be in the file.
    assert one.pop("env_file") == [{"path": ".env", "required": False}] and code.pop("env_file") == ".env"
    assert {key: value for key, value in one.items() if key not in differs} == {
        key: value for key, value in code.items() if key not in differs
    }


def test_one_service_alone_migrates_and_the_others_wait_for_it(compose: dict[str, Any]):
    commands = {name: shlex.join(one["command"]) for name, one in ours(compose).items()}
    assert [name for name, command in commands.items() if "aperture migrate &&" in command] == ["code"]
    for name in ("webserver", "daemon"):
        assert "aperture_dagster.up.health code --host code-inner --wait" in commands[name]
        assert compose["services"][name]["depends_on"] == {"code": {"condition": "service_started"}}
    assert compose["services"]["code"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", SERVICES)
def test_the_programs_of_a_service_exist_and_accept_their_arguments(name: str, compose: dict[str, Any]):
    shell, option, script = compose["services"][name]["command"]
    assert (shell, option) == ("sh", "-c")
    first, program = (shlex.split(part) for part in script.split("&&"))
    # The shell is replaced, so that signals reach the program.
    assert program[0] == "exec"
    _require_known(first)
    _require_known(program[1:])
    kind, *check = compose["services"][name]["healthcheck"]["test"]
    assert kind == "CMD"
    _require_known(check)


def test_every_service_runs_the_ui_behind_the_guard(compose: dict[str, Any]):
    assert shlex.join(FRONT_DOOR) in shlex.join(compose["services"]["webserver"]["command"])
    for path in (PROJECT / "deploy").rglob("*"):
        if path.is_file() and not path.name.startswith("requirements"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"dagster-webserver|-m dagster_webserver|dagster dev", text), path


def _require_known(words: list[str]) -> None:
    if words[0] == "aperture":
        assert words[1] in aperture.list_commands(click.Context(aperture))
    elif words[:3] == ["python", "-m", "aperture_dagster.up.health"]:
        health.parse([*words[3:]])
    elif words[:3] == FRONT_DOOR:
        _parse(front_door, words[2:])
    else:
        _parse(DAGSTERS[words[0]], words)


def _parse(command: click.Command, words: list[str]) -> None:
    words = words[1:]
    while isinstance(command, click.Group) and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    # Files that it names are in the image.
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.make_context(command.name, words)


# The code server


def test_the_workspace_names_the_location_under_which_state_is_kept():
    (given,) = yaml.safe_load((PROJECT / "deploy" / "workspace.yaml").read_text())["load_from"]
    assert given["grpc_server"]["location_name"] == LOCATION
    command = shlex.join(read_compose(PASSWORD)["services"]["code"]["command"])
    assert f"--location-name {LOCATION} " in command and f"--port {given['grpc_server']['port']} " in command


# Health checks


@contextmanager
def graphql_server(answers: dict[str, Any], key: str | None = None) -> Iterator[int]:
    """Answer queries, by a word in them, if they show the key; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def do_POST(self) -> None:
            if key is not None and self.headers["Authorization"] != f"Bearer {key}":
                self.send_response(401)
                self.end_headers()
                return
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            data = next(value for word, value in answers.items() if word in asked)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": data}).encode())

        def log_message(self, format: str, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def loaded(error: str | None = None) -> dict[str, Any]:
    location = {"__typename": "PythonError", "message": error} if error else {"__typename": "RepositoryLocation"}
    return {"workspaceOrError": {"locationEntries": [{"loadStatus": "LOADED", "locationOrLoadError": location}]}}


def loops(**healthy: bool) -> dict[str, Any]:
    found = [
        {"daemonType": name, "required": name != "ASSET", "healthy": value, "lastHeartbeatTime": 1.0 if value else None}
        for name, value in healthy.items()
    ]
    return {"instance": {"daemonHealth": {"allDaemonStatuses": found}}}


@pytest.mark.parametrize(
    ("part", "answers", "problem"),
    [
        ("webserver", {}, None),
        ("daemon", {"daemonHealth": loops(SENSOR=True, SCHEDULER=True, ASSET=False)}, None),
        ("daemon", {"daemonHealth": loops(SENSOR=True, SCHEDULER=False)}, "No sign of life from the daemon: SCHEDULER"),
        ("all", {"workspace": {"workspaceOrError": {"locationEntries": []}}}, "has not loaded the code"),
        ("all", {"workspace": loaded("Traceback\nno module named films")}, "loaded the code: no module named films"),
        ("all", {"workspace": loaded(), "daemonHealth": loops(SENSOR=True)}, None),
    ],
)
def test_a_health_check_says_what_is_wrong(part: str, answers: dict[str, Any], problem: str | None):
    with graphql_server(answers) as port:
        found = health.find_problem(part, "127.0.0.1", port)
    assert found is None if problem is None else problem in str(found)


def test_signs_of_life_of_an_earlier_daemon_do_not_count():
    with graphql_server({"daemonHealth": loops(SENSOR=True)}) as port:
        assert health.find_problem("daemon", "127.0.0.1", port, since=2.0) is not None
        assert health.find_problem("daemon", "127.0.0.1", port, since=0.5) is None


def test_a_health_check_shows_the_key_that_lies_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with graphql_server({"daemonHealth": loops(SENSOR=True)}, key="secret") as port:
        monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
        assert health.main(["daemon", "--port", str(port)]) == 1
        (tmp_path / "front-door").mkdir()
        (tmp_path / "front-door" / "operator.secret").write_text("secret")
        assert health.main(["daemon", "--port", str(port)]) == 0


def test_a_code_server_is_healthy_only_if_it_answers(tmp_path: Path):
    address = f"unix:{tmp_path}/socket"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        assert not health.grpc_server_answers(address, 0.3), "accepted by the kernel only"
    (tmp_path / "socket").unlink()
    server = grpc.server(ThreadPoolExecutor(1))
    add_HealthServicer_to_server(HealthServicer(), server)
    server.add_insecure_port(address)
    server.start()
    assert health.grpc_server_answers(address, 10)
    server.stop(None).wait(SECONDS)


@pytest.mark.parametrize("part", ["code", "webserver", "daemon", "all"])
def test_a_part_that_is_not_there_is_not_healthy(part: str, capsys: pytest.CaptureFixture[str]):
    port = free_port()
    assert health.main([part, "--port", str(port)]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "is_asked"),
    [
        ("tini -s -- aperture up --host 0.0.0.0 --port 3000", True),
        ("/opt/aperture/bin/python -P -m aperture_dagster.up.supervisor {}", True),
        ("tini -s -- aperture demo", False),
        ("tini -s -- sh -c dagster-daemon run", False),
    ],
)
def test_in_a_container_only_the_command_that_runs_everything_is_asked_for_its_health(
    command: str, is_asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    monkeypatch.setattr(health, "FIRST_PROCESS", tmp_path / "cmdline")
    assert health.main(["container", "--port", str(free_port())]) == is_asked


def test_who_waits_for_a_part_says_so_once_and_goes_on_when_it_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(health, "POLL_SECONDS", 0.01)
    looks = iter([False, False, False, True])
    monkeypatch.setattr(health, "grpc_server_answers", lambda address: next(looks))
    assert health.main(["code", "--host", "code", "--wait", "60"]) == 0
    assert capsys.readouterr().err == "No code server answers at code:4000; waiting.\n"
    monkeypatch.setattr(health, "grpc_server_answers", lambda address: False)
    assert health.main(["code", "--wait", "0.05"]) == 1
    assert capsys.readouterr().err.endswith("No code server answers at 127.0.0.1:4000, after 0 seconds.\n")


def test_a_health_check_imports_nothing_but_the_standard_library():
    code = "import sys, aperture_dagster.up.health; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-Sc", f"import sys; sys.path.insert(0, {str(PROJECT)!r}); {code}"],
                          check=True, capture_output=True, text=True, timeout=SECONDS)  # fmt: skip
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"aperture_dagster", "__main__"}
