"""Mistakes of an operator: each gives one sentence that names the setting and the remedy, and affects nothing else.

They are tested with the doctor and with a real run in this process; Dagster's own command is a process of its own.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from aperture_dagster.cli.main import main
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import no_room, role_with_password, run_statements
from aperture_dagster_tests.forks import run_fork
from aperture_dagster_tests.household import Household, failures
from aperture_dagster_tests.services import Answer, Scripted

pytestmark = pytest.mark.e2e

PASSWORD = "hush-very-secret"
PAGE = Answer("<html><body>It works!</body></html>", headers={"content-type": "text/html"})
NO_PAGE = Answer("<html><body>Nothing here</body></html>", 404, {"content-type": "text/html"})
PLAIN_TO_TLS = Answer("<html>The plain HTTP request was sent to HTTPS port</html>", 400, {"content-type": "text/html"})
TO_LOGIN = Answer("", 302, {"location": "https://elsewhere.example/login"})
SERVER, KEY = "APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY"


class Surroundings:
    """Possible targets of an address: working stand-ins, another web server, a silent port and a closed one."""

    def __init__(self, root: str, other: Scripted, silent: str, nobody: str) -> None:
        self.root, self.other, self.silent, self.nobody = root, other, silent, nobody


Place = Callable[[Surroundings], str]


@dataclass(frozen=True)
class Mistake:
    """Wrong settings, and words of the message about them."""

    name: str
    variables: dict[str, str | Place]
    told: tuple[str, ...]
    where: str = "media server"
    answer: Answer | None = None


def at(path: str) -> Place:
    return lambda around: around.root + path


def other(around: Surroundings) -> str:
    return around.other.url


def nobody(around: Surroundings) -> str:
    return around.nobody


NEITHER = (SERVER, "neither Jellyfin nor Emby", "http://192.168.1.10:8096")
OPENAI: dict[str, str | Place] = {
    "APERTURE_EMBEDDER": "openai",
    "APERTURE_EMBEDDER_MODEL": "demo-embedding",
    "OPENAI_API_KEY": "demo-openai-key",
}
OF_THE_SERVER = [
    Mistake("no such host", {SERVER: "http://no-such-host.invalid:8096"}, (f"Check {SERVER}", "no-such-host")),
    Mistake("nothing listens", {SERVER: nobody}, (f"Check {SERVER}", "refused")),
    Mistake(
        "no answer", {SERVER: lambda around: around.silent, "APERTURE_MEDIA_SERVER_TIMEOUT_SECONDS": "0.5"},
        (f"Check {SERVER}", "no answer in time"),
    ),
    Mistake("another web server's page", {SERVER: other}, (f"Check {SERVER}", "not JSON (text/html)")),
    Mistake("another web server's 404", {SERVER: other}, NEITHER, answer=NO_PAGE),
    Mistake("another program's JSON", {SERVER: other}, NEITHER, answer=Answer({"hello": "world"})),
    Mistake("another program's list", {SERVER: other}, NEITHER, answer=Answer([])),
    Mistake("http to an https port", {SERVER: other}, NEITHER, answer=PLAIN_TO_TLS),
    Mistake("a page for logging in", {SERVER: other}, (f"set {SERVER} to", "elsewhere.example/login"), answer=TO_LOGIN),
    Mistake("the path is missing", {SERVER: at(""), "APERTURE_MEDIA_SERVER_TYPE": "jellyfin"}, NEITHER),
    Mistake("the browser's path", {SERVER: at("/jellyfin/web/index.html")}, NEITHER),
    Mistake(
        "https to an http port",
        {SERVER: lambda around: around.root.replace("http:", "https:") + "/jellyfin"},
        (f"Check {SERVER}", "does not speak https", "http://"),
    ),
    Mistake("a refused key", {KEY: PASSWORD}, (f"Check {KEY}", "refused (401)")),
    Mistake("a key with odd characters", {KEY: "hush…very-secret"}, (KEY, "contains a character")),
    Mistake("no key", {KEY: ""}, (KEY, "Dashboard, API Keys")),
]  # fmt: skip
OF_TMDB = [
    Mistake("TMDb's key", {"TMDB_API_KEY": PASSWORD}, ("Check TMDB_API_KEY", "refused (401)"), "TMDb"),
    Mistake("TMDb's address", {"APERTURE_TMDB_URL": nobody}, ("Check APERTURE_TMDB_URL", "refused"), "TMDb"),
    Mistake("TMDb's path", {"APERTURE_TMDB_URL": at("/nowhere")}, ("APERTURE_TMDB_URL", "unset it"), "TMDb"),
]
OF_THE_EMBEDDER = [
    Mistake(
        "the embedder's key", OPENAI | {"APERTURE_EMBEDDER_URL": at("/openai/v1"), "OPENAI_API_KEY": PASSWORD},
        ("Check OPENAI_API_KEY", "refused (401)"), "embedder",
    ),
    Mistake(
        "the embedder's address", OPENAI | {"APERTURE_EMBEDDER_URL": nobody},
        ("Check APERTURE_EMBEDDER_URL", "refused"), "embedder",
    ),
    Mistake(
        "the embedder's path", OPENAI | {"APERTURE_EMBEDDER_URL": at("/openai")},
        ("Check APERTURE_EMBEDDER_URL", "/v1", "APERTURE_EMBEDDER_MODEL"), "embedder",
    ),
]  # fmt: skip
# One mistake of each kind at once: the doctor reports each in its own row.
ROUNDS = [
    [of_the_server, *(more for more in (OF_TMDB[place : place + 1] + OF_THE_EMBEDDER[place : place + 1]))]
    for place, of_the_server in enumerate(OF_THE_SERVER)
]


@pytest.fixture(scope="module")
def around() -> Iterator[Surroundings]:
    with running_simulator(odd_world(datetime.now(UTC))) as simulator, socket.socket() as mute, socket.socket() as free:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        free.bind(("127.0.0.1", 0))
        scripted = Scripted()
        places = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (mute, free)]
        yield Surroundings(simulator.url, scripted, *places)
        scripted.close()


@pytest.fixture
def well(around: Surroundings, database_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a correctly configured home, without retries."""
    return {
        "APERTURE_HOME": str(tmp_path / "home"),
        "APERTURE_DATABASE_URL": database_url,
        "APERTURE_TIMEZONE": "UTC",
        "APERTURE_HTTP_ATTEMPTS": "1",
        "APERTURE_STEP_RETRIES": "0",
        SERVER: f"{around.root}/jellyfin",
        KEY: "demo-jellyfin-key",
        "TMDB_API_KEY": "demo-tmdb-key",
        "APERTURE_TMDB_URL": f"{around.root}/tmdb/3",
        "APERTURE_TMDB_IMAGE_URL": f"{around.root}/tmdb-images",
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
        for name, value in (environment | {"DAGSTER_HOME": instance_that_is_well}).items():
            monkeypatch.setenv(name, value)
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


@pytest.mark.parametrize("mistakes", ROUNDS, ids=lambda mistakes: ", ".join(one.name for one in mistakes))
def test_a_mistake_is_reported_in_one_sentence_by_the_doctor(
    around: Surroundings, well: dict[str, str], doctor: Callable[..., Result], mistakes: list[Mistake]
):
    around.other.say(mistakes[0].answer or PAGE)
    wrong = {
        name: value if isinstance(value, str) else value(around)
        for mistake in mistakes
        for name, value in mistake.variables.items()
    }
    result = doctor(well | wrong)
    rows = found(result)
    failed = {mistake.where for mistake in mistakes}
    assert {what for what, message in rows.items() if message[0] == "✗"} == failed, result.output
    assert result.exit_code == (1 if failed else 0)
    assert "aperture up" in rows and rows["database"].startswith("✓"), "the other rows are checked, too"
    for mistake in mistakes:
        is_one_sentence(rows[mistake.where])
        for words in mistake.told:
            assert words in rows[mistake.where]


IN_RUNS = [one for one in OF_THE_SERVER if one.name == "a refused key"]


@pytest.mark.parametrize("mistake", IN_RUNS, ids=lambda mistake: mistake.name)
def test_a_mistake_is_reported_in_one_sentence_in_a_run(
    around: Surroundings, well: dict[str, str], monkeypatch: pytest.MonkeyPatch, mistake: Mistake
):
    around.other.say(mistake.answer or PAGE)
    for name, value in (well | mistake.variables).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else value(around))
    with dg.DagsterInstance.ephemeral() as instance:
        run = Household(load_settings(), instance).run("sync_users")
    assert not run.success
    (message,) = failures(run).values()
    is_one_sentence(message)
    assert all(words in message for words in mistake.told)
    (failure,) = [event for event in run.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    assert failure.step_failure_data.error.cause is None, "no cause that Dagster would print before the message"


def test_the_doctor_reports_the_server_of_another_home(
    around: Surroundings, well: dict[str, str], doctor: Callable[..., Result]
):
    assert doctor(well).exit_code == 0
    another = Answer({"Id": "0" * 32, "ServerName": "Another", "Version": "12.0.0", "ProductName": "Jellyfin Server"})
    around.other.say(another)
    result = doctor(well | {SERVER: around.other.url})
    assert result.exit_code == 1
    told = found(result)["media server"]
    is_one_sentence(told)
    assert f"{SERVER} leads to 'Another'" in told and "Set APERTURE_HOME to another folder" in told


# Addresses and databases


def without_pgvector(postgres: str) -> str:
    """Create a database in which the extension cannot be found."""
    name = f"bare_{uuid.uuid4().hex[:12]}"
    run_statements(postgres, f"CREATE DATABASE {name}")
    run_statements(postgres, f"ALTER DATABASE {name} SET extension_control_path = '/nowhere'")
    return name


def test_the_doctor_reports_an_unusable_database_and_still_checks_services(
    postgres: str, well: dict[str, str], doctor: Callable[..., Result]
):
    url = make_url(postgres).set(drivername="postgresql")
    bare = without_pgvector(postgres)
    with role_with_password(postgres) as role:
        wrong = {
            "another port": (f"postgresql://ann:{PASSWORD}@127.0.0.1:1/db", "refused"),
            "another password": (
                url.set(username=role, password=PASSWORD).render_as_string(hide_password=False),
                "password authentication failed",
            ),
            "no pgvector": (url.set(database=bare).render_as_string(hide_password=False), "pgvector"),
            "no address of a database": (f"mysql://ann:{PASSWORD}@host/db", "expected postgresql://"),
        }
        for name, (address, words) in wrong.items():
            result = doctor(well | {"APERTURE_DATABASE_URL": address})
            rows = found(result)
            assert result.exit_code == 1, name
            is_one_sentence(rows["database"])
            assert rows["database"].startswith("✗") and words in rows["database"], rows["database"]
            assert "APERTURE_DATABASE_URL" in rows["database"], name
            assert {rows[what][0] for what in ("home", "media server", "TMDb", "embedder")} == {"✓"}, name
            assert PASSWORD not in result.output
    close_engine(url.set(drivername="postgresql+psycopg", database=bare).render_as_string(hide_password=False))
    run_statements(postgres, f"DROP DATABASE {bare} WITH (FORCE)")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (SERVER, f"http://ann:{PASSWORD}@127.0.0.1:8096", "without user and password"),
        ("APERTURE_TMDB_URL", f"https://api.themoviedb.org/3?api_key={PASSWORD}", "without ? or #"),
        ("APERTURE_EMBEDDER_URL", f"ann:{PASSWORD}@host/v1", "http://"),
        ("APERTURE_HTTP_ATTEMPTS", "many", "integer"),
    ],
)
def test_an_invalid_setting_ends_every_command_with_one_sentence_that_names_it(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
):
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


def test_in_dagsters_own_command_a_failed_asset_takes_one_line(well: dict[str, str]):
    environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(PROJECT)}
    done = run_fork(
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
    with dg.DagsterInstance.ephemeral() as instance:
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
