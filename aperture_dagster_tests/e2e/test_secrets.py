"""No secret ends up in logs, events, metadata, tables or on the terminal, whatever goes wrong.

Every secret setting gets a recognisable key. The product runs successfully, and against services that repeat the key in
every answer; then everything that it left behind is searched for the keys.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import html
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import MetaData, create_engine, make_url, select

from aperture_dagster.postgres.cluster import ROLE
from aperture_dagster.settings import environment_names, secret_names
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import data_directory, role_with_password, run_statements
from aperture_dagster_tests.e2e.housekeeper import ANSWER
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.programs import Program, run_program
from aperture_dagster_tests.services import Answer, Asked, Scripted

pytestmark = pytest.mark.e2e

# Its errors go to a file, among what it leaves behind.
HOUSEKEEPER = """
import os, sys
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
from aperture_dagster_tests.e2e.housekeeper import main
main()
"""
KEYS = [name for name in secret_names() if name != "database_url"]
# The stand-in's name of a key, by setting.
STAND_INS_KEYS = {"media_server_api_key": "jellyfin_key", "embedder_api_key": "openai_key"}
ADDRESSES = (
    "media_server_url", "tmdb_url", "tmdb_image_url", "omdb_url", "mdblist_url", "embedder_url", "trakt_url",
    "seerr_url",
)  # fmt: skip
# Only used here, never sent to a service.
OWN_KEYS = ("secret_key", "session_key", "alert_urls")


def core(name: str) -> str:
    """Return the recognisable part of a secret, which no encoding of URLs, JSON or HTML changes."""
    return "Hush" + hashlib.sha256(name.encode()).hexdigest()[:20]


def planted(name: str) -> str:
    """Return a key with characters that are escaped in URLs, JSON and HTML."""
    return f"/k+%{core(name)}&=<{name}>;~"


def password(name: str) -> str:
    return f"p@ss/w:rd%{core(name)}"


TRACES = {
    name: [
        core(name)[:12],
        core(name)[-12:],
        # The base64 form of a text depends on its offset modulo three.
        *(base64.b64encode(b"x" * before + core(name).encode())[4:-4].decode() for before in range(3)),
    ]
    for name in secret_names()
}


def found_in(said: str) -> list[str]:
    """Return the settings whose secrets, or a large part of them, are in a text."""
    return [name for name, traces in TRACES.items() if any(trace in said for trace in traces)]


# What is left behind


def read(value: Any) -> str:
    """Return a value of a database as text, decompressing what Dagster compresses."""
    if isinstance(value, (bytes, memoryview)):
        raw = bytes(value)
        for unpack in (zlib.decompress, gzip.decompress):
            with contextlib.suppress(Exception):
                return unpack(raw).decode("utf-8", "replace")
        return raw.decode("latin-1")
    said = str(value)
    with contextlib.suppress(Exception):
        if len(said) > 40 and re.fullmatch(r"[A-Za-z0-9+/=]+", said):
            return said + read(base64.b64decode(said))
    return said


def tables_of(url: str) -> Iterator[tuple[str, str]]:
    """Yield every table of a database with its content."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    tables = MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        for table in tables.tables.values():
            columns = [column for column in table.columns if "VECTOR" not in str(column.type).upper()]
            rows = connection.execute(select(*columns))
            yield f"table {table.name}", "\n".join(read(value) for row in rows for value in row if value is not None)
    engine.dispose()


def files_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every file with its content; of a PostgreSQL cluster, only the log."""
    for path in folder.rglob("*"):
        inside = [parent for parent in path.parents if (parent / "PG_VERSION").exists()]
        if path.is_file() and (not inside or path.name == "log"):
            yield str(path), path.read_bytes().decode("utf-8", "replace")


# Actions


class Housekeeper:
    """The process that runs the jobs, with its output."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._process = Program(HOUSEKEEPER, log, environment=environment, folder=PROJECT)
        self.said = ""

    def do(self, job: str | None = None, **how: Any) -> dict[str, Any]:
        """Run a job, and wait for its result."""
        order = how | ({"job": job} if job else {})
        print(json.dumps(order), file=self._process.stdin, flush=True)
        for said in self._process.lines():
            self.said += said
            if said.startswith(ANSWER):
                return json.loads(said.removeprefix(ANSWER))
        raise AssertionError("the housekeeper is gone")

    def close(self) -> None:
        self._process.communicate()


class Echo:
    """A service that repeats everything that it receives, including keys, in a given form."""

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted
        self.url = scripted.url

    @property
    def heard(self) -> str:
        return "\n".join(f"{asked.target} {asked.headers} {asked.body}" for asked in self._scripted.asked)

    def answer(self, kind: str) -> None:
        def say(asked: Asked) -> Answer:
            keys = (asked.headers.get(name, "") for name in ("authorization", "x-emby-token", "x-api-key"))
            said = f"{asked.target} {' '.join(keys)} {json.dumps(asked.body)}"
            page = {"content-type": "text/html"}
            if kind == "redirect":
                return Answer(said, 302, {"location": f"http://elsewhere.example/{quote(said)}", **page})
            if kind == "page":
                return Answer(f"<html><body>{html.escape(said)}</body></html>", 500, page)
            if kind == "cut off":
                return Answer({"error": said}, missing=100)
            if kind == "wrong shape":
                return Answer([said, {"Error": said, "error": said, "Response": "False"}])
            return Answer({"error": said, "Error": said, "status_message": said, "Response": "False"}, int(kind))

        self._scripted.say(say)


FAILING_JOBS = (
    "sync_users", "enrich_metadata", "enrich_mdblist", "generate_embeddings", "sync_trakt_ratings", "send_requests",
)  # fmt: skip
SUCCEEDING_JOBS = ("enrich_metadata", "generate_embeddings", "sync_trakt_ratings")
# A user's token of Trakt is about to end, whatever became of the account and of the app before.
OLD_TOKEN = (
    "UPDATE trakt_accounts SET state = 'connected', trouble = NULL, expires_at = now() + interval '1 second'",
    "DELETE FROM facts WHERE name = 'trakt_pause'",
)
REQUESTS_ON = {"requests_per_week": 2}


@pytest.fixture
def echo() -> Iterator[Echo]:
    scripted = Scripted()
    yield Echo(scripted)
    scripted.close()


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((("401", "wrong shape"),), id="some answers"),
        pytest.param(
            (("401",), ("429",), ("redirect",), ("page",), ("cut off",), ("wrong shape",)),
            id="all answers",
            marks=pytest.mark.nightly(
                reason="Every job against every kind of answer: 45 runs.", instead="the same test with two answers"
            ),
        ),
    ],
)
def test_no_secret_is_left_behind(
    database_url: str, postgres: str, echo: Echo, tmp_path: Path, answers: tuple[tuple[str, ...], ...]
):
    """Each of ``answers`` are the kinds of answers that the failing jobs get in turns."""
    home, outside, dagster_home = tmp_path / "home", tmp_path / "outside", tmp_path / "dagster_home"
    outside.mkdir()
    dagster_home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", dagster_home)
    url = make_url(database_url)
    aside = url.set(database=f"{url.database}_dagster")
    run_statements(postgres, f"CREATE DATABASE {aside.database} OWNER {ROLE}")
    secrets = {name: planted(name) for name in KEYS}
    secrets["media_server_headers"] = json.dumps({"X-Password": planted("media_server_headers")})
    secrets["database_url"] = url.set(password=password("database_url")).render_as_string(hide_password=False)
    stand_ins = SimulatorSettings(
        **{
            field: planted(name)
            for name in KEYS
            if (field := STAND_INS_KEYS.get(name, name.replace("_api", ""))) in SimulatorSettings.__dataclass_fields__
        }
    )
    said: list[tuple[str, str]] = []
    with running_simulator(small_world(movies=8, users=2, plays=30), stand_ins) as simulator:
        well = {
            "media_server_url": simulator.jellyfin_url,
            "tmdb_url": simulator.tmdb_url,
            "tmdb_image_url": simulator.tmdb_images_url,
            "omdb_url": simulator.omdb_url,
            "mdblist_url": simulator.mdblist_url,
            "embedder_url": simulator.openai_url,
            "trakt_url": simulator.trakt_url,
            "seerr_url": simulator.seerr_url,
        }
        assert set(well) == set(ADDRESSES)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(outside),
            "TMPDIR": str(outside),
            "DAGSTER_HOME": str(dagster_home),
            "APERTURE_HOME": str(home),
            "APERTURE_TIMEZONE": "UTC",
            "APERTURE_EMBEDDER": "openai",
            "APERTURE_EMBEDDER_MODEL": "demo-embedding",
            "APERTURE_HTTP_ATTEMPTS": "2",
            "APERTURE_HTTP_RETRY_WAIT_SECONDS": "0.001",
            "APERTURE_STEP_RETRIES": "0",
            "APERTURE_TMDB_REQUESTS": "9000",
            "TRAKT_CLIENT_ID": stand_ins.trakt_client_id,
            **{environment_names(name)[0]: value for name, value in secrets.items()},
            **{environment_names(name)[0]: value for name, value in well.items()},
        }
        house = Housekeeper(environment, outside / "stderr")
        try:
            for job in ("sync_users", "sync_movies"):
                assert house.do(job)["success"], job
            tokens = simulator.state.trakt_connect("somebody")
            house.do(connect=tokens)
            wrong = dict.fromkeys(ADDRESSES, echo.url)
            for kinds in answers:
                run_statements(database_url, *OLD_TOKEN)
                outcomes = {}
                for job, kind in zip(FAILING_JOBS, cycle(kinds)):
                    echo.answer(kind)
                    outcomes[job] = house.do(job, settings=wrong | REQUESTS_ON)["success"]
                assert not outcomes["sync_users"] and not outcomes["generate_embeddings"], (kinds, outcomes)
                # An expired token reached the sign-in, a valid one the service.
                run_statements(
                    database_url, *OLD_TOKEN, "UPDATE trakt_accounts SET expires_at = now() + interval '9 h'"
                )
                house.do("sync_trakt_ratings", settings=wrong)
                # Make failed titles due again at once.
                run_statements(database_url, "UPDATE fetches SET due_at = now() - interval '1 second'")
            assert not house.do("generate_embeddings", crash=True)["success"]
            with role_with_password(postgres) as role:
                refused = url.set(username=role, password=password("database_url")).render_as_string(False)
                assert not house.do("sync_users", settings={"database_url": refused})["success"]
                house.do(settings={"database_url": refused}, ticks=True)
                echo.answer("401")
                said += doctor(environment | {"APERTURE_DATABASE_URL": refused} | in_environment(wrong))
            house.do(ticks=True)
            house.do(connect=simulator.state.trakt_connect("somebody"))
            for job in SUCCEEDING_JOBS:
                assert house.do(job)["success"], job
            if len(answers) > 1:
                said += doctor(environment)
            said.append(("the arguments of all processes", "\n".join(arguments())))
        finally:
            house.close()
    assert all_gone(tmp_path), processes_of(tmp_path)

    heard = echo.heard
    unheard = [name for name in KEYS if core(name) not in heard and name not in OWN_KEYS]
    assert not unheard, f"the services of this test must receive the key of each setting: {unheard}"
    of_user = [tokens["access_token"], tokens["refresh_token"]]
    assert all(token in heard for token in of_user), "they must receive the tokens of a user, too"
    said += [("stdout", house.said), *files_below(tmp_path), *tables_of(database_url)]
    said += tables_of(aside.render_as_string(hide_password=False))
    log = data_directory(postgres) / "log"
    said.append(("the database's log", log.read_text(encoding="utf-8", errors="replace")))
    everything = dict(said)
    for place in ("stdout", "table event_logs", "table users", str(home / "failures.log"), str(outside / "stderr")):
        assert everything[place], f"nothing was read from {place}"
    assert "***" in everything["table event_logs"], "repeated keys are masked"
    assert not [place for place, content in said if any(token in content for token in of_user)]
    leaks = {place: secrets for place, content in said if (secrets := found_in(content))}
    assert not leaks, {place: (names, passage(dict(said)[place], names[0])) for place, names in leaks.items()}


def passage(content: str, name: str) -> str:
    """Return the text around a secret."""
    place = min(found for trace in TRACES[name] if (found := content.find(trace)) >= 0)
    return content[max(place - 200, 0) : place + 60]


def arguments() -> Iterator[str]:
    """Yield the arguments of every process on the machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end while this looks at it.
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


def in_environment(settings: dict[str, str]) -> dict[str, str]:
    return {environment_names(name)[0]: value for name, value in settings.items()}


def doctor(environment: dict[str, str]) -> list[tuple[str, str]]:
    done = run_program("from aperture_dagster.cli.main import main; main(['doctor'])", environment=environment)
    assert "Traceback" not in done.stdout + done.stderr
    return [("the doctor", done.stdout + done.stderr)]
