"""`aperture up` starts again what died, goes on without what keeps dying, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from aperture_dagster.files import locks
from aperture_dagster.postgres.cluster import Cluster
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.up.files import read_state
from aperture_dagster.up.plan import EmbeddedDatabase, Limits, Part, Plan, Ui
from aperture_dagster.up.processes import LONGEST_LINE, RUNNER, Output, PartProcess
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.holders import Holder, run
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.waiting import SECONDS
from aperture_dagster_tests.webserver import free_port

PART = """
import pathlib, signal, socket, subprocess, sys, time
folder, name, *options = sys.argv[1:]
folder = pathlib.Path(folder)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in options else lambda *_: sys.exit(0))
print("words of", name, flush=True)
if "broken" in options:
    sys.exit("no such \x1b[31mthing\x1b[0m")
while "chatty" in options:
    print("words of", name)
if "uses" in options:
    from aperture_dagster.postgres.embedded import start_embedded_server
    start_embedded_server(pathlib.Path(options[options.index("uses") + 1]))
if "serves" in options:
    server = socket.socket(socket.AF_UNIX)
    (folder / "socket").unlink(missing_ok=True)
    server.bind(str(folder / "socket"))
    server.listen()
if "asks" in options:
    from aperture_dagster.up import restart
    (folder / f"{name}.may-ask").write_text(str(restart.is_possible()))
child = subprocess.Popen(["sleep", "600"])
with (folder / f"{name}.starts").open("a") as starts:
    starts.write(f"{child.pid} ")
try:
    (folder / f"{name}.started").touch()
    while not (folder / f"{name}.end").exists():
        time.sleep(0.05)
        if (folder / f"{name}.ask").exists() and "asks" in options:
            restart.restart()
            (folder / f"{name}.ask").unlink()
finally:
    (folder / f"{name}.ending").write_text(str(time.monotonic()))
    while "patient" in options and not (folder / "go").exists():
        time.sleep(0.02)
    (folder / f"{name}.ended").write_text(str(time.monotonic()))
sys.exit(3)
"""


# Becomes a command whose process is the parent of orphaned descendants, as process 1 of a container is.
ADOPT = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
# What everything starts anew with, in these tests.
AGAIN = """
import json, os, pathlib, signal, sys
from aperture_dagster.files import locks
folder = pathlib.Path(sys.argv[1])
given = {name: os.environ.get(name) for name in ("COPIED", "GIVEN", "_APERTURE_LISTENING")}
seen = {**given, "pid": os.getpid(), "locked": locks.is_held(folder / "lock"), "open": len(os.listdir("/dev/fd"))}
(folder / "again.new").write_text(json.dumps(seen))
(folder / "again.new").rename(folder / "again")
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
sys.exit(7)
"""
SET_CHILD_SUBREAPER = 36
# Seconds. Nothing here takes longer, not even on a busy machine, unless something is broken.
LIMIT = 30
QUICK = Limits(pause_seconds=0.05)


@pytest.fixture
def orphans() -> Iterator[None]:
    """Collect orphans at once, as a machine's process 1 does; that of a container may take seconds for it."""
    listed, over, others = Path(f"/proc/self/task/{os.getpid()}/children"), threading.Event(), set[int]()
    if sys.platform != "linux" or not listed.exists():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def collect() -> None:
        while not over.wait(0.02):
            for pid in {*map(int, listed.read_text().split())} - others:
                # Supervisors are collected by who started them.
                with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                    if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE and pid not in Supervised.started:
                        os.waitpid(pid, os.WNOHANG)

    others.update(map(int, listed.read_text().split()))
    assert libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    collector = threading.Thread(target=collect)
    collector.start()
    yield
    over.set()
    collector.join(SECONDS)
    libc.prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Supervised:
    """A supervisor with parts, in a folder."""

    started: ClassVar[set[int]] = set()
    """The process ids of all."""

    def __init__(self, folder: Path, plan: Callable[[int], Plan], prefix: list[str] | None = None) -> None:
        self.folder = folder
        self.lock_file = folder / "lock"
        lock = locks.acquire(self.lock_file)
        assert lock is not None
        os.set_inheritable(lock, True)
        self.output = folder / "terminal"
        # The tests may run in the background of a shell, where it is ignored.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*(prefix or []), *plan(lock).command()],
                env=os.environ | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{folder}"},
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
            )
        self.started.add(self.process.pid)
        signal.signal(signal.SIGHUP, before)
        locks.release(lock)

    def wait_for(self, *names: str) -> None:
        """Wait for files that the parts write."""
        self.wait_until(lambda: all((self.folder / name).exists() for name in names), f"{names} did not appear")

    def wait_until(self, condition: Callable[[], Any], otherwise: str) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"{otherwise}:\n{self.said}"
            time.sleep(0.02)

    def wait_for_words(self, words: str) -> None:
        """Wait until it says something."""
        self.wait_until(lambda: words in self.said, f"it never said {words!r}")

    def leaders(self, name: str) -> list[int]:
        """Return the process ids of the running part."""
        found = []
        for one in processes_of(self.folder):
            # It may have ended since it was listed.
            with contextlib.suppress(psutil.NoSuchProcess):
                words = one.cmdline()
                found += [one.pid] * (name in words[-20:] and RUNNER in words)
        return found

    def children(self, name: str) -> list[int]:
        """Return the process ids of the children of all times that a part was started."""
        return [int(pid) for pid in (self.folder / f"{name}.starts").read_text().split()]

    def kill(self, name: str) -> None:
        """Kill a part, but not its child, and wait until it has been started again."""
        before = len(self.children(name))
        (leader,) = self.leaders(name)
        os.kill(leader, signal.SIGKILL)
        self.wait_until(lambda: len(self.children(name)) > before, f"{name} was not started again")

    def state(self, name: str) -> Mapping[str, Any]:
        """Return what other commands may know of a part."""
        parts = read_state(self.folder / "up.json").get("parts", [])
        return next(part for part in parts if part["name"] == name)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    def end(self) -> tuple[int, str]:
        """Wait for the end of the supervisor, which leaves nothing behind; return its exit code and what it said."""
        code = self.process.wait(timeout=LIMIT)
        assert not processes_of(self.folder), "also not what a part has started"
        return code, self.said


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path, orphans: None) -> Iterator[Start]:
    """Yield a function that starts a supervisor with a part for each of the given lists of options.

    Those that serve are the earlier stage.
    """
    (tmp_path / "part_of_test.py").write_text(PART)

    def started(
        limits: Limits = QUICK,
        *,
        prefix: list[str] | None = None,
        wait: bool = True,
        database: EmbeddedDatabase | None = None,
        port: int = 3000,
        **parts: str,
    ) -> Supervised:
        planned = [
            Part(
                name, "part_of_test", [str(tmp_path), name, *options.split()],
                stage=0 if "serves" in options else 1, may_restart="may" in options.split(),
                listens="listens" in options,
                address=str(tmp_path / "socket") if "serves" in options else None,
            )
            for name, options in parts.items()
        ]  # fmt: skip
        supervised = Supervised(
            tmp_path,
            lambda lock: Plan(
                planned, lock, str(tmp_path / "up.json"), str(tmp_path / "key"), Ui("127.0.0.1", port), str(tmp_path),
                limits, database, again=["-c", AGAIN, str(tmp_path)], copied=["COPIED"],
            ),
            prefix,
        )  # fmt: skip
        if wait:
            supervised.wait_for(*(f"{name}.started" for name in parts))
        return supervised

    yield started
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


def test_a_signal_ends_every_part_and_what_the_parts_have_started_and_the_one_that_others_use_last(
    start: Start, tmp_path: Path
):
    """Other tests send SIGINT and SIGTERM."""
    up = start(server="serves", daemon="patient")
    up.process.send_signal(signal.SIGHUP)
    up.wait_for("daemon.ending")
    (tmp_path / "go").touch()
    code, said = up.end()
    assert code == 0
    # On a busy machine it also says for what it waits.
    assert "\nStopping …\n" in said and "Killing" not in said
    parts = read_state(up.folder / "up.json")["parts"]
    assert parts and all(part["state"] != "running" for part in parts), "its date tells when the daemon ended"
    daemon_ended, server_was_told = (float((tmp_path / one).read_text()) for one in ("daemon.ended", "server.ending"))
    assert server_was_told >= daemon_ended


@pytest.mark.this_day(reason="libfaketime keeps a descriptor open in every program.")
def test_a_part_that_may_has_everything_started_anew_in_order_and_in_the_environment_of_the_operator(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COPIED", "from .env")
    monkeypatch.setenv("GIVEN", "by the operator")
    up = start(server="serves", daemon="asks", web="asks may")
    assert [(up.folder / f"{name}.may-ask").read_text() for name in ("daemon", "web")] == ["False", "True"]
    # Also after it has been started again itself.
    up.kill("web")
    (up.folder / "web.ask").touch()
    code, said = up.end()
    assert code == 7 and "Starting everything anew …" in said and "Stopping" not in said
    seen = json.loads((up.folder / "again").read_text())
    assert seen["pid"] == up.process.pid, "who started it still knows it"
    assert (seen["COPIED"], seen["GIVEN"]) == (None, "by the operator")
    assert not seen["locked"] and seen["open"] <= 4
    web_ended, server_was_told = (float((up.folder / one).read_text()) for one in ("web.ended", "server.ending"))
    assert server_was_told >= web_ended


@pytest.mark.this_day(reason="libfaketime keeps a descriptor open in every program.")
def test_the_address_stays_open_while_everything_is_started_anew(start: Start):
    port = free_port()
    up = start(port=port, web="asks may listens", daemon="patient")
    (up.folder / "web.ask").touch()
    up.wait_for("web.ended")

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=LIMIT):
            return True
        return False

    # The daemon takes its time.
    up.wait_until(connects, "nobody listens")
    assert not (up.folder / "again").exists()
    (up.folder / "go").touch()
    assert up.end()[0] == 7
    seen = json.loads((up.folder / "again").read_text())
    assert seen["_APERTURE_LISTENING"].isdigit() and seen["open"] <= 5


def test_a_signal_while_everything_ends_to_be_started_anew_ends_it(start: Start):
    up = start(web="asks may patient")
    (up.folder / "web.ask").touch()
    up.wait_for("web.ending")
    up.process.send_signal(signal.SIGTERM)
    (up.folder / "go").touch()
    assert up.end()[0] == 0
    assert not (up.folder / "again").exists()


def test_a_service_manager_may_signal_all_processes_at_once(start: Start):
    up = start(server="serves", daemon="")
    for process in processes_of(up.folder):
        # The first ones may already have ended others.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    assert up.end()[0] == 0


def test_a_part_that_dies_is_started_again_while_its_runs_and_others_go_on_and_a_kill_ends_all_of_them(
    start: Start, tmp_path: Path
):
    # With `nohup`, a terminal that is closed ends nothing.
    up = start(prefix=["nohup"], server="serves", daemon="patient")
    up.process.send_signal(signal.SIGHUP)
    up.kill("server")
    first, second = up.children("server")
    os.kill(first, 0)
    assert len(up.children("daemon")) == 1
    up.wait_for_words("The server ended (killed by SIGKILL); starting it again.")
    assert os.getpgid(first) == os.getpgid(second), "so that the runs of the first server end with the second"
    assert "Stopping" not in up.said
    # Also when the supervisor is killed; until then, the home stays locked.
    up.process.kill()
    up.process.wait(SECONDS)
    assert locks.is_held(up.lock_file), "the daemon is still stopping"
    (tmp_path / "go").touch()
    assert all_gone(tmp_path, seconds=LIMIT)
    # A process that is ending lets go of its memory, where its command line is, before its files.
    up.wait_until(lambda: not locks.is_held(up.lock_file), "the home is still locked")


def test_a_part_that_cannot_be_kept_up_costs_itself_only_and_is_tried_again(start: Start, tmp_path: Path):
    limits = Limits(pause_seconds=0.02, restarts=2, longest_pause_seconds=0.1)
    up = start(limits, wait=False, server="serves", daemon="", webserver="broken")
    up.wait_for("server.started", "daemon.started")
    up.wait_for_words("The webserver ended 3 times in a row, the last time with this: exit code 1.")
    up.wait_until(lambda: up.said.count("words of webserver") > 10, "it was not started any more")
    first, second, third = (line for line in up.said.splitlines() if "ended" in line)
    for line in (first, second):
        assert line.partition(" ")[2] == "The webserver ended (exit code 1); starting it again."
    assert third.endswith("everything else goes on. It said last: no such thing"), "without colours"
    up.wait_until(lambda: up.state("webserver")["is_broken"], "status would not say so")
    assert len(up.children("daemon")) == len(up.children("server")) == 1, "they were never stopped"
    os.kill(up.children("daemon")[0], 0)
    # What was wrong is mended: nobody has to start the rest again.
    (tmp_path / "part_of_test.py").write_text(PART.replace('"broken" in options', "False"))
    up.wait_for("webserver.started")
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 0


def test_the_exit_code_tells_of_a_part_that_could_not_be_kept_running(start: Start):
    up = start(
        Limits(pause_seconds=0.02, restarts=1, longest_pause_seconds=600), wait=False, daemon="", webserver="broken"
    )
    up.wait_for("daemon.started")
    up.wait_for_words("The webserver ended 2 times in a row")
    up.process.send_signal(signal.SIGTERM)
    code, said = up.end()
    assert code == 1 and said.endswith("Stopped. This could not be kept running: webserver. The exit code is 1.\n")


def test_each_time_in_a_row_the_pause_before_it_is_started_again_is_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    plan = Plan([Part("daemon", "part_of_test", [])], 0, "", "", Ui("127.0.0.1", 3000))
    daemon = PartProcess(plan, plan.parts[0], 0)
    pauses = []
    for lasted in (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 599, 601, 1):
        daemon._started_at = now[0]
        now[0] += lasted
        daemon.ended("exit code 1")
        pauses.append(daemon.start_at - now[0])
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 1, 2]


def test_a_signal_does_not_wait_until_a_part_is_started_again(start: Start):
    up = start(Limits(pause_seconds=600), wait=False, daemon="broken")
    up.wait_for_words("starting it again")
    up.process.send_signal(signal.SIGINT)
    assert up.end()[0] == 0


def test_parts_that_use_a_server_wait_for_it(start: Start):
    limits = Limits(pause_seconds=0.02, restarts=1, longest_pause_seconds=0.1)
    up = start(limits, wait=False, server="broken serves", daemon="")
    up.wait_for_words("The server ended 2 times in a row")
    assert not (up.folder / "daemon.started").exists()
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_as_process_1_of_a_container_it_does_not_wait_for_runs_that_have_ended(start: Start):
    # Longer than the test waits.
    up = start(Limits(stop_seconds=600), prefix=[sys.executable, "-c", ADOPT], server="serves", daemon="")
    up.kill("server")
    os.kill(up.children("server")[0], signal.SIGKILL)
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 0


def test_a_part_that_does_not_listen_is_killed(start: Start):
    up = start(Limits(stop_seconds=1), daemon="stubborn")
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 0


@pytest.mark.nightly(
    reason="It waits for limits of seconds.",
    instead="up/test_supervisor.py::test_a_part_that_does_not_listen_is_killed",
)
def test_a_second_ctrl_c_does_not_wait_for_a_part_that_does_not_listen(start: Start):
    # Longer than the test waits.
    up = start(Limits(stop_seconds=600), daemon="stubborn")
    up.process.send_signal(signal.SIGINT)
    up.wait_for_words("Waiting up to")
    assert "seconds for: daemon" in up.said
    up.process.send_signal(signal.SIGINT)
    assert up.end()[0] == 0 and "Killing daemon." in up.said


def embedded_database(folder: Path) -> EmbeddedDatabase:
    """Return the embedded database of a folder, which has been initialized and is not running."""
    start_embedded_server(folder)
    release_embedded_server(folder)
    cluster = Cluster(folder)
    return EmbeddedDatabase(str(cluster.data), str(cluster.life))


def test_the_database_is_stopped_when_the_part_that_used_it_last_was_killed(start: Start, folder: Path):
    database = embedded_database(folder)
    up = start(Limits(stop_seconds=4), database=database, daemon=f"stubborn uses {folder}")
    assert locks.is_held(Path(database.server_lock))
    up.process.send_signal(signal.SIGINT)
    assert up.end()[0] == 0
    assert not processes_of(folder.parent)


@pytest.mark.nightly(
    reason="It waits for limits of seconds.",
    instead="up/test_supervisor.py::test_the_database_is_stopped_when_the_part_that_used_it_last_was_killed",
)
def test_the_database_of_a_killed_part_goes_on_while_another_command_uses_it(
    start: Start, folder: Path, hold: Callable[..., Holder]
):
    up = start(
        Limits(stop_seconds=4), database=embedded_database(folder), daemon=f"stubborn uses {folder}", other="patient"
    )
    command = hold()
    url = command.url()
    (up.folder / "go").touch()
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 0
    assert run(url, "SELECT 1") == [(1,)]
    command.end()
    assert all_gone(folder.parent, seconds=LIMIT)


def test_parts_that_stop_the_database_themselves_leave_nothing_to_do(start: Start, folder: Path):
    """To start a program for it would cost containers some of their ten seconds."""
    database = EmbeddedDatabase("no such folder", embedded_database(folder).server_lock)
    up = start(database=database, daemon=f"uses {folder}")
    up.process.send_signal(signal.SIGTERM)
    code, said = up.end()
    assert code == 0 and "could not be stopped" not in said
    assert not processes_of(folder.parent)


def test_what_parts_and_their_runs_print_has_the_name_of_the_part_before_it(start: Start):
    up = start(server="serves", daemon="")
    up.wait_for_words("words of daemon")
    up.process.send_signal(signal.SIGTERM)
    up.end()
    assert {"server | words of server", "daemon | words of daemon"} <= set(up.said.splitlines())


def test_output_is_passed_on_line_by_line_and_without_end_even_without_a_line_break():
    output = Output()
    os.write(output.writing, b"first\n\x1b[32msec")
    assert list(output.lines()) == [b"first"]
    os.write(output.writing, b"ond\x1b[0m\n\n")
    assert list(output.lines()) == [b"\x1b[32msecond\x1b[0m", b""] and output.last_line == "second"
    os.write(output.writing, b"x" * (LONGEST_LINE + 1))
    assert list(output.lines()) == [b"x" * (LONGEST_LINE + 1)], "it is not kept until the memory is full"


def test_a_part_that_prints_without_end_keeps_the_supervisor_from_nothing(start: Start):
    up = start(limits=Limits(stop_seconds=2), wait=False, daemon="chatty")
    up.wait_for_words("words of daemon")
    up.process.send_signal(signal.SIGTERM)
    assert up.end()[0] == 0


def test_the_supervisor_imports_nothing_but_the_standard_library():
    code = "import sys, aperture_dagster.up.supervisor; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout.split()
    ours = {name.rpartition(".")[2] for name in names if name.startswith("aperture_dagster.up.")}
    assert ours == {"supervisor", "plan", "processes", "restart", "signals"}
    assert not {"click", "dagster", "pydantic", "sqlalchemy", "asyncio", "tempfile", "http.client"}.intersection(names)
