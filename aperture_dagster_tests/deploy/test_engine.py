"""The image and the files of Compose on a real engine of Docker: ``make test-containers``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster_tests.cli.next_release import MIGRATION, REVISION, SCRIPT
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.asking import (
    HOME,
    PACKAGES,
    PASSWORD,
    UNFINISHED,
    Lists,
    embedded,
    external,
    lists_of,
    took,
    wait_for_lists,
    wait_for_the_same,
)
from aperture_dagster_tests.deploy.conftest import OTHER_USER, SEEN_AT, Deploy
from aperture_dagster_tests.deploy.engine import PYTHON_BASE, Deployment, docker, succeeds
from aperture_dagster_tests.waiting import wait_for

pytestmark = pytest.mark.containers

MOST_BYTES = 380_000_000
STOP_SECONDS = 10.0
"""What Docker gives a container before it kills it, unless told otherwise."""
Say = Callable[[str], None]


# The tests themselves

STARTS = """
import os, signal, sys
from aperture_dagster_tests.deploy.engine import docker, swept
name, image = sys.argv[1:]
with swept(name):
    docker("network", "create", f"{name}-network")
    docker("run", "--detach", "--name", f"{name}-sleeps", "--volume", f"{name}-home:/home", image, "sleep", "600")
    os.kill(os.getpid(), signal.SIGKILL)
"""


# The household gets its lists while these tests are at work.
@pytest.mark.usefixtures("household")
def test_nothing_is_left_of_tests_that_are_killed(image: str, prefix: str):
    name = f"{prefix}-killed"
    done = subprocess.run([sys.executable, "-c", STARTS, name, image], cwd=PROJECT, timeout=1200)
    assert done.returncode == -signal.SIGKILL

    def left() -> str:
        kinds = ("ps", "--all", "--format", "{{.Names}}"), ("network", "ls"), ("volume", "ls")
        return "\n".join(line for kind in kinds for line in docker(*kind).splitlines() if name in line)

    wait_for(lambda: not left(), left, seconds=60, pause=0.5)


# The image


def test_the_image_is_small_says_what_it_is_and_holds_no_tools_to_build_with(image: str, say: Say):
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", one)) for one in (image, PYTHON_BASE)]
    say(f"our layers have {(sizes[0] - sizes[1]) / 1e6:.0f} MB, the base {sizes[1] / 1e6:.0f} MB")
    assert sizes[0] - sizes[1] <= MOST_BYTES
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["User"] == "aperture" and not config.get("Volumes")
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "aperture-dagster" and labels["licenses"] == "Apache-2.0" and labels["version"]
    left = "for name in pip gcc cc make; do ! command -v $name; done; ! ls | grep -Ex 'pip|setuptools|tests|uvloop'"
    docker("run", "--rm", "--workdir", PACKAGES, image, "sh", "-ceu", left)
    # Nothing of it belongs to the user, whom a program that was taken over acts as.
    theirs = "! find /opt/aperture /etc/aperture ! -type l '(' -user aperture -o -perm -002 ')' | grep ."
    docker("run", "--rm", image, "sh", "-ceu", theirs)


def test_a_builder_gets_nothing_but_what_the_image_is_made_from(image: str, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /context/\n")
    secret = engine.DEPLOY / "nas" / ".env"
    secret.write_text("APERTURE_SECRET_KEY=never-in-an-image")
    try:
        builders = ["0", *(["1"] if succeeds("buildx", "version") else [])]
        found = [engine.files_of_context(tmp_path / "Dockerfile", builder) for builder in builders]
    finally:
        secret.unlink()
    for files in found:
        assert files == found[0]
        assert {path.split("/")[1] for path in files} == {
            "LICENSE", "NOTICE", "README.md", "aperture_dagster", "deploy", "pyproject.toml"
        }  # fmt: skip
        assert not [path for path in files if path.endswith((".env", ".pyc", ".toml.local"))]
        assert {path.removeprefix("context/deploy/") for path in files if path.startswith("context/deploy/")} == {
            "requirements-build.txt", "requirements-celery.txt", "requirements-docker.txt", "requirements-k8s.txt",
            "requirements.txt", "workspace.yaml",
        }  # fmt: skip


def test_a_container_with_another_command_is_not_called_ill(image: str, prefix: str):
    container = f"{prefix}-sleeps"
    docker("run", "--detach", "--name", container, "--health-interval", "1s", image, "sleep", "600")
    try:
        health = ["inspect", "--format", "{{.State.Health.Status}}", container]
        wait_for(lambda: docker(*health) == "healthy", lambda: docker("inspect", container), seconds=60, pause=0.5)
    finally:
        docker("rm", "--force", container)


def test_a_container_ends_at_once_while_it_still_starts(image: str, prefix: str):
    container = f"{prefix}-starts"
    settings = ("APERTURE_MEDIA_SERVER_URL=http://192.0.2.1", "APERTURE_MEDIA_SERVER_API_KEY=some-key")
    given = [part for setting in settings for part in ("--env", setting)]
    docker("run", "--detach", "--name", container, *given, image)
    try:
        wait_for(lambda: "Starting on" in docker("logs", container), "it does not start", seconds=60, pause=0.2)
        began = time.monotonic()
        docker("stop", container)
        assert time.monotonic() - began < STOP_SECONDS
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) != "137"
    finally:
        docker("rm", "--force", "--volumes", container)


ASKS = """
import json, socket, urllib.error, urllib.request
here = f"http://{socket.gethostbyname(socket.gethostname())}:3000"
def ask(path, body=None):
    request = urllib.request.Request(here + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
print(json.dumps([ask("/"), ask("/operate/graphql", b'{"query": "{ version }"}'), ask("/health")]))
"""


def test_without_a_media_server_a_container_only_says_what_to_set(image: str, prefix: str):
    container = f"{prefix}-not-set-up"
    docker("run", "--detach", "--name", container, "--health-interval", "1s", image)
    try:
        health = ["inspect", "--format", "{{.State.Health.Status}}", container]
        wait_for(lambda: docker(*health) == "healthy", lambda: docker("logs", container), seconds=60, pause=0.5)
        page, query, healthy = json.loads(docker("exec", container, "python", "-c", ASKS))
        assert page[0] == query[0] == 503 and "Code from the log" in page[1] and query == page
        assert re.search(r"code for set-up, good until the next start: \w{10}", docker("logs", container))
        assert healthy == [200, "not set up\n"]
        running = docker("top", container)
        assert "front_door.set_up" in running and not re.search("daemon|grpc|simulator|postgres", running)
        began = time.monotonic()
        docker("stop", container)
        assert time.monotonic() - began < STOP_SECONDS
    finally:
        docker("rm", "--force", "--volumes", container)


# A household


def finds(box: Deployment, path: str) -> bool:
    return box.try_in("aperture", "test", "-e", path).returncode == 0


def runs(box: Deployment) -> int:
    return int(embedded(box, "SELECT count(*) FROM runs", "aperture_dagster") or 0)


PHASES: dict[str, Callable[[Deployment], bool]] = {
    "its database is made": lambda box: finds(box, f"{HOME}/postgres.new/PG_VERSION") or finds(box, f"{HOME}/postgres"),
    "its parts start": lambda box: finds(box, f"{HOME}/dagster/code.sock"),
    "the first run is there": lambda box: runs(box) > 0,
    "titles are there": lambda box: embedded(box, "SELECT count(*) FROM works") not in ("", "0"),
    "the first list is there": lambda box: embedded(box, "SELECT count(*) FROM recommendations") not in ("", "0"),
}
"""What a container has reached when it is killed, in order. Of a run that was starting, that is known minutes later."""


# The household, with which this one is compared, gets its lists meanwhile.
@pytest.mark.nightly(
    reason="A container that is killed in each phase: minutes.",
    instead="deploy/test_engine.py::test_it_stops_in_time_with_postgresql_closed_and_is_the_same_when_it_comes_back",
)
@pytest.mark.usefixtures("household")
def test_a_container_that_is_killed_in_each_phase_of_its_start_ends_like_one_that_was_not(
    deploy: Deploy, request: pytest.FixtureRequest, say: Say
):
    def kill() -> None:
        docker("kill", "--signal", "KILL", box.container("aperture"))
        docker("start", box.container("aperture"))

    with deploy("compose.yaml", "household.yaml") as box:
        box.compose("up", "--detach")
        for phase, is_reached in PHASES.items():
            wait_for(lambda is_reached=is_reached: is_reached(box), f"never: {phase}", seconds=900, pause=0.5)
            kill()
        began = time.monotonic()
        box.wait_until_healthy("aperture")
        wait_for_lists(box)
        say(f"killed {len(PHASES)} times, whole again {took(began)} after the last one")
        # In the middle of a backup, too.
        docker("exec", "--detach", box.container("aperture"), "aperture", "backup", "create")
        begun = ["sh", "-c", f"ls {HOME}/backups | grep -q aperture-backup"]
        wait_for(lambda: box.try_in("aperture", *begun).returncode == 0, "no backup", seconds=60)
        kill()
        box.wait_until_healthy("aperture")
        box.run_in("aperture", "aperture", "backup", "create")
        wait_for_the_same(box, request.getfixturevalue("undisturbed"))
        wait_for(lambda: embedded(box, UNFINISHED, "aperture_dagster") == "0", "runs without an end", pause=1)


def test_four_lines_of_settings_give_a_household(household: Deployment, undisturbed: Lists, say: Say):
    assert len(undisturbed) == 3
    port = re.search(r"UI_PORT=(\d+)", (household.folder / ".env").read_text())
    assert port is not None
    ready = f"Ready: http://127.0.0.1:{port[1]} on the host"
    assert ready in household.log("aperture")
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=30) as page:
        assert page.status == 200
    # A proxy on the host is believed about its clients.
    guess = urllib.request.Request(f"http://127.0.0.1:{port[1]}/sign-in", b"name=nobody&password=x")
    guess.add_header("X-Forwarded-For", "198.51.100.1, 203.0.113.9")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(guess, timeout=30)
    log = household.log("aperture")
    assert re.findall(r"Refused a sign-in from (\S+)", log) == ["203.0.113.9"]
    assert household.run_in("aperture", "id", "-u").strip() == OTHER_USER["PUID"]
    status = json.loads(household.try_in("aperture", "aperture", "status", "--json").stdout)
    assert {part["state"] for part in status["up"]["parts"]} == {"ok"}, status["up"]
    say(f"a household takes {household.memory()}")


def test_what_the_media_server_does_not_see_is_one_sentence_with_the_line_to_write(
    deploy: Deploy, published: Path, household: Deployment
):
    publishing = {"APERTURE_PUBLISH": "true", "APERTURE_PUBLISH_ROOT": str(published)}
    with deploy("compose.yaml", "household.yaml", **OTHER_USER, **publishing) as box:
        told = box.compose("run", "--rm", "--no-TTY", "aperture", "sh", "-c", "aperture doctor; true")
        assert f"does not see the files in {published} at {published}" in " ".join(told.split())
        assert f"- {published}:{published}:ro" in " ".join(told.split())
        mapped = ["-e", f'APERTURE_PATH_MAP={{"{published}": "{SEEN_AT}"}}']
        told = box.compose("run", "--rm", "--no-TTY", *mapped, "aperture", "sh", "-c", "aperture doctor; true")
        assert "does not see" not in told and SEEN_AT in told


def test_it_stops_in_time_with_postgresql_closed_and_is_the_same_when_it_comes_back(
    household: Deployment, undisturbed: Lists, say: Say
):
    began = time.monotonic()
    docker("stop", household.container("aperture"))
    seconds = time.monotonic() - began
    say(f"`docker stop` took {seconds:.1f} s")
    assert seconds < STOP_SECONDS and household.state("aperture")["ExitCode"] == 0
    household.compose("down")
    household.compose("up", "--detach")
    household.wait_until_healthy("aperture")
    log = household.run_in("aperture", "cat", f"{HOME}/postgres/log")
    assert "not properly shut down" not in log and log.count("database system was shut down") >= 1
    assert lists_of(household) == undisturbed


# Upgrades

MIGRATIONS = "aperture_dagster/schema/migrations/versions"


@pytest.fixture(scope="module")
def next_image(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of a made-up next release, whose schema has one more migration."""
    folder = tmp_path_factory.mktemp("next")
    (folder / SCRIPT).write_text(MIGRATION)
    (folder / SCRIPT).chmod(0o644)
    with engine.derived_image(image, f"COPY {SCRIPT} {PACKAGES}/{MIGRATIONS}/", folder) as name:
        yield name


@pytest.mark.nightly(
    reason="An upgrade and the way back: minutes.",
    instead="postgres/test_migration_backup.py::test_a_household_is_backed_up_and_proven_once_before_its_schema_is_migrated",
)
def test_a_new_image_makes_a_backup_before_it_migrates_and_the_old_one_can_go_back_to_it(
    household: Deployment, undisturbed: Lists, next_image: str, image: str, say: Say
):
    def use(name: str) -> None:
        text = (household.folder / ".env").read_text()
        (household.folder / ".env").write_text(re.sub(r"TEST_IMAGE=.*", f"TEST_IMAGE={name}", text))

    revision = "SELECT version_num FROM alembic_version"
    began = time.monotonic()
    use(next_image)
    household.compose("up", "--detach")
    household.wait_until_healthy("aperture")
    say(f"an upgrade with a backup and a migration took {took(began)}")
    assert embedded(household, revision) == REVISION
    assert lists_of(household) == undisturbed
    kept = household.run_in("aperture", "sh", "-c", f"ls {HOME}/backups")
    (backup,) = re.findall(rf"\S+-schema-{HEAD_REVISION}\.sql\.gz(?=\s)", kept)
    # The old one changes nothing, and says what to do.
    use(image)
    household.compose("up", "--detach")
    wait_for(lambda: household.state("aperture")["Status"] == "exited", "it runs", seconds=120, pause=0.5)
    assert "Install the version that wrote it again" in household.log("aperture")
    household.compose("run", "--rm", "--no-TTY", "aperture", "aperture", "restore", "--yes", f"{HOME}/backups/{backup}")
    household.compose("up", "--detach")
    household.wait_until_healthy("aperture")
    assert embedded(household, revision) == HEAD_REVISION
    assert lists_of(household) == undisturbed


# Services


@pytest.mark.nightly(
    reason="Four more containers.",
    instead="deploy/test_containers.py",
)
def test_services_of_their_own_give_the_same_lists_and_end_in_time(
    services: Deployment, undisturbed: Lists, stand_ins: str, say: Say
):
    names = ("postgres", "code", "webserver", "daemon")
    services.wait_until_healthy(*names)
    wait_for_lists(services, external, "code")
    wait_for_the_same(services, undisturbed, "code")
    say(f"services take {'; '.join(services.memory().splitlines())}")
    for host, port in (("code", 4000), ("code-inner", 4000), ("postgres", 5432)):
        knock = f"import socket; socket.create_connection(({host!r}, {port}), 5)"
        with pytest.raises(AssertionError, match=r"gaierror|ConnectionRefusedError|TimeoutError"):
            docker("exec", stand_ins, "python", "-c", knock)
    for name in names:
        docker("kill", "--signal", "KILL", services.container(name))
    services.compose("up", "--detach")
    services.wait_until_healthy(*names)
    assert lists_of(services, "code") == undisturbed
    began = time.monotonic()
    services.compose("stop")
    say(f"`docker compose stop` took {took(began)}")
    assert [services.state(one)["ExitCode"] for one in names] == [0, 0, 0, 0]
    for name in names[1:]:
        assert PASSWORD not in services.log(name)
