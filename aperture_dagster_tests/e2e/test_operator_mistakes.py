"""Mistakes of an operator: each gives one sentence that names the setting and the remedy, and affects nothing else.

They are tested with the doctor and with a real run in this process; commands that cannot start have one of their own.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import no_room
from aperture_dagster_tests.household import Household, failures
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.services import Answer, Scripted

pytestmark = pytest.mark.e2e

PASSWORD = "hush-very-secret"
PAGE = Answer("<html><body>It works!</body></html>", headers={"content-type": "text/html"})
NO_PAGE = Answer("<html><body>Nothing here</body></html>", 404, {"content-type": "text/html"})
PLAIN_TO_TLS = Answer("<html>The plain HTTP request was sent to HTTPS port</html>", 400, {"content-type": "text/html"})
TO_LOGIN = Answer("", 302, {"location": "https://elsewhere.example/login"})
SERVER, KEY = "APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY"
ATTEMPTS = "APERTURE_HTTP_ATTEMPTS"


@dataclass(frozen=True)
class Mistake:
    """Wrong settings, with names of places, and words of the message about them."""

    name: str
    variables: dict[str, str]
    told: tuple[str, ...]
    where: str = "media server"
    answer: Answer | None = None


NEITHER = (SERVER, "neither Jellyfin nor Emby", "http://192.168.1.10:8096")
OPENAI = {
    "APERTURE_EMBEDDER": "openai",
    "APERTURE_EMBEDDER_MODEL": "demo-embedding",
    "OPENAI_API_KEY": "demo-openai-key",
}
OF_THE_SERVER = [
    Mistake("no such host", {SERVER: "http://no-such-host.invalid:8096"}, (f"Check {SERVER}", "no-such-host")),
    Mistake("nothing listens", {SERVER: "{nobody}"}, (f"Check {SERVER}", "refused")),
    Mistake(
        "no answer", {SERVER: "{silent}", "APERTURE_MEDIA_SERVER_TIMEOUT_SECONDS": "0.5"},
        (f"Check {SERVER}", "no answer in time"),
    ),
    Mistake("another web server's page", {SERVER: "{other}"}, (f"Check {SERVER}", "not JSON (text/html)")),
    Mistake("another web server's 404", {SERVER: "{other}"}, NEITHER, answer=NO_PAGE),
    Mistake("another program's JSON", {SERVER: "{other}"}, NEITHER, answer=Answer({"hello": "world"})),
    Mistake("another program's list", {SERVER: "{other}"}, NEITHER, answer=Answer([])),
    Mistake("http to an https port", {SERVER: "{other}"}, NEITHER, answer=PLAIN_TO_TLS),
    Mistake(
        "a page for logging in", {SERVER: "{other}"}, (f"set {SERVER} to", "elsewhere.example/login"), answer=TO_LOGIN
    ),
    Mistake("the path is missing", {SERVER: "{root}", "APERTURE_MEDIA_SERVER_TYPE": "jellyfin"}, NEITHER),
    Mistake("the browser's path", {SERVER: "{root}/jellyfin/web/index.html"}, NEITHER),
    Mistake(
        "https to an http port", {SERVER: "{tls}/jellyfin"}, (f"Check {SERVER}", "does not speak https", "http://")
    ),
    Mistake("a refused key", {KEY: PASSWORD}, (f"Check {KEY}", "refused (401)")),
    Mistake("a key with odd characters", {KEY: "hush…very-secret"}, (KEY, "contains a character")),
    Mistake("no key", {KEY: ""}, (KEY, "Dashboard, API Keys")),
]  # fmt: skip
OF_TMDB = [
    Mistake("TMDb's key", {"TMDB_API_KEY": PASSWORD}, ("Check TMDB_API_KEY", "refused (401)"), "TMDb"),
    Mistake("TMDb's address", {"APERTURE_TMDB_URL": "{nobody}"}, ("Check APERTURE_TMDB_URL", "refused"), "TMDb"),
    Mistake("TMDb's path", {"APERTURE_TMDB_URL": "{root}/nowhere"}, ("APERTURE_TMDB_URL", "unset it"), "TMDb"),
]
OF_THE_EMBEDDER = [
    Mistake(
        "the embedder's key", OPENAI | {"APERTURE_EMBEDDER_URL": "{root}/openai/v1", "OPENAI_API_KEY": PASSWORD},
        ("Check OPENAI_API_KEY", "refused (401)"), "embedder",
    ),
    Mistake(
        "the embedder's address", OPENAI | {"APERTURE_EMBEDDER_URL": "{nobody}"},
        ("Check APERTURE_EMBEDDER_URL", "refused"), "embedder",
    ),
    Mistake(
        "the embedder's path", OPENAI | {"APERTURE_EMBEDDER_URL": "{root}/openai"},
        ("Check APERTURE_EMBEDDER_URL", "/v1", "APERTURE_EMBEDDER_MODEL"), "embedder",
    ),
]  # fmt: skip
# One mistake of each kind at once: the doctor reports each in its own row.
ROUNDS = [
    [of_the_server, *(more for more in (OF_TMDB[place : place + 1] + OF_THE_EMBEDDER[place : place + 1]))]
    for place, of_the_server in enumerate(OF_THE_SERVER)
]


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """Possible targets of an address: working stand-ins, a silent port and a closed one."""
    with running_simulator(odd_world(datetime.now(UTC))) as simulator, socket.socket() as mute, socket.socket() as free:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        free.bind(("127.0.0.1", 0))
        silent, nobody = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (mute, free))
        tls = simulator.url.replace("http:", "https:")
        yield {"root": simulator.url, "tls": tls, "silent": silent, "nobody": nobody}


@pytest.fixture
def other() -> Iterator[Scripted]:
    """Another web server."""
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def well(places: dict[str, str], database_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a correctly configured home, without retries."""
    return {
        "APERTURE_HOME": str(tmp_path / "home"),
        "APERTURE_DATABASE_URL": database_url,
        "APERTURE_TIMEZONE": "UTC",
        ATTEMPTS: "1",
        "APERTURE_STEP_RETRIES": "0",
        SERVER: f"{places['root']}/jellyfin",
        KEY: "demo-jellyfin-key",
        "TMDB_API_KEY": "demo-tmdb-key",
        "APERTURE_TMDB_URL": f"{places['root']}/tmdb/3",
        "APERTURE_TMDB_IMAGE_URL": f"{places['root']}/tmdb-images",
        "COLUMNS": "1000",
    }


@pytest.fixture(scope="module")
def instance_that_is_well() -> Iterator[str]:
    """The home of a Dagster instance that does not use the product's database."""
    with dg.instance_for_test():
        yield os.environ["DAGSTER_HOME"]


@pytest.fixture
def doctor(instance_that_is_well: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Result]:
    """``aperture doctor`` in this process, on a working Dagster instance."""

    def ask(environment: dict[str, str]) -> Result:
        with monkeypatch.context() as patched:
            for name, value in (environment | {"DAGSTER_HOME": instance_that_is_well}).items():
                patched.setenv(name, value)
            return CliRunner().invoke(main, ["doctor"])

    return ask


def found(result: Result) -> dict[str, str]:
    """Return the doctor's report by row, each starting with its mark."""
    rows: dict[str, str] = {}
    for line in result.output.splitlines():
        mark, _, rest = line.strip().partition(" ")
        if mark in {"✓", "-", "!", "✗"}:
            what, _, told = rest.strip().partition("  ")
            rows[what] = f"{mark} {told.strip()}"
    return rows


def is_one_sentence(told: str) -> None:
    assert told.strip() and "\n" not in told.strip()
    assert len(told) < 450
    assert "Traceback" not in told and "hush" not in told and ".." not in told.replace("...", "")


def test_each_mistake_is_reported_in_one_sentence_by_the_doctor(
    places: dict[str, str], other: Scripted, well: dict[str, str], doctor: Callable[..., Result]
):
    for mistakes in ROUNDS:
        other.say(mistakes[0].answer or PAGE)
        wrong = {name: value for mistake in mistakes for name, value in mistake.variables.items()}
        result = doctor(well | {name: value.format(**places, other=other.url) for name, value in wrong.items()})
        rows, about = found(result), ", ".join(one.name for one in mistakes)
        assert {what for what, said in rows.items() if said[0] == "✗"} == {one.where for one in mistakes}, about
        assert result.exit_code == 1
        assert "aperture up" in rows and rows["database"].startswith("✓"), "the other rows are checked, too"
        for mistake in mistakes:
            is_one_sentence(rows[mistake.where])
            for words in mistake.told:
                assert words in rows[mistake.where], mistake.name


def test_a_mistake_is_reported_in_one_sentence_in_a_run(well: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in (well | {KEY: PASSWORD}).items():
        monkeypatch.setenv(name, value)
    with instance_in_memory() as instance:
        run = Household(load_settings(), instance).run("sync_users")
    assert not run.success
    (message,) = failures(run).values()
    is_one_sentence(message)
    assert f"Check {KEY}" in message and "refused (401)" in message
    (failure,) = [event for event in run.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    assert failure.step_failure_data.error.cause is None, "no cause that Dagster would print before the message"


def test_the_doctor_reports_the_server_of_another_home(
    other: Scripted, well: dict[str, str], doctor: Callable[..., Result]
):
    assert doctor(well).exit_code == 0
    another = Answer({"Id": "0" * 32, "ServerName": "Another", "Version": "12.0.0", "ProductName": "Jellyfin Server"})
    other.say(another)
    result = doctor(well | {SERVER: other.url})
    assert result.exit_code == 1
    told = found(result)["media server"]
    is_one_sentence(told)
    assert f"{SERVER} leads to 'Another'" in told and "Set APERTURE_HOME to another folder" in told


def test_an_invalid_setting_ends_every_command_with_one_sentence_that_names_it(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    address = f"http://ann:{PASSWORD}@127.0.0.1:8096"
    for name, value, words in ((SERVER, address, "without user and password"), (ATTEMPTS, "many", "integer")):
        for variable, its in (well | {name: value}).items():
            monkeypatch.setenv(variable, its)
        for command in (["doctor"], ["up", "--port", "0"]):
            result = CliRunner().invoke(main, command)
            assert result.exit_code == 1
            assert result.output.startswith("Error: ")
            is_one_sentence(result.output)
            assert name in result.output and words in result.output


# Dagster's own command


MATERIALIZE = ("dagster", "asset", "materialize", "-m", "aperture_dagster.definitions", "--select", "users")


@pytest.mark.nightly(
    reason="Dagster's command, as a process that loads everything.",
    instead="e2e/test_operator_mistakes.py::test_a_mistake_is_reported_in_one_sentence_in_a_run",
)
def test_in_dagsters_own_command_a_failed_asset_takes_one_line(well: dict[str, str]):
    environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(PROJECT)}
    done = run_program(
        "from dagster._cli import main; main()",
        *MATERIALIZE[1:],
        environment=environment | well | {KEY: PASSWORD},
        folder=PROJECT,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    about = [line for line in printed.splitlines() if KEY in line]
    assert len(about) == 1 and re.match(r"20\S+ \S+ ERROR users failed: .*Check \w+\. \(run \w{8}\)$", about[0]), (
        printed
    )
    # Besides it, Dagster says that the command is superseded, and that it failed.
    assert len(printed.splitlines()) <= 4, printed
    assert PASSWORD not in printed


# A full disk


def test_a_disk_that_fills_up_in_a_step_gives_one_sentence_and_loses_nothing(
    well: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in well.items():
        monkeypatch.setenv(name, value)
    with instance_in_memory() as instance:
        house = Household(load_settings(), instance)
        house.must("sync_users")
        before = house.snapshot()
        for table in ("titles", "episodes"):
            no_room(database_url, table)
        for job in ("sync_movies", "sync_series"):
            result = house.run(job)
            assert not result.success
            for told in failures(result).values():
                is_one_sentence(told)
                assert "disk" in told and "free some space" in told and "APERTURE_HOME" in told
        after = house.snapshot()
    assert {table: after[table] for table in ("users", "titles", "episodes")} == {
        table: before[table] for table in ("users", "titles", "episodes")
    }


# Commands that cannot start


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for a home. Processes still running there at the end are an error, and are killed."""
    yield tmp_path / "home"
    left = [] if all_gone(tmp_path) else processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


def one_sentence(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that is refused before it starts anything; return the sentence with which it failed."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capfd.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("Error: ") and len(said.strip().splitlines()) == 1, said
    return said


def test_a_port_in_use_gives_one_sentence_from_the_stand_ins_too():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["simulate", "--port", port])
    assert result.exit_code == 1 and port in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_home_that_is_not_writable_and_a_misspelt_setting_fail_with_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(os, "environ", os.environ | {"APERTURE_HOME": str(home)})
    with monkeypatch.context() as patch:
        patch.setitem(os.environ, "APERTURE_TIMEZOEN", "UTC")
        assert "APERTURE_TIMEZONE" in one_sentence(capfd, "up", "--port", "0"), "it suggests a name"
    home.write_text("a file is no folder", encoding="utf-8")
    assert str(home) in one_sentence(capfd, "demo", "--home", str(home / "below"))
