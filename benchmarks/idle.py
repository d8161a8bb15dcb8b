"""Measure what `aperture up` costs while nothing happens, beside an empty `dagster dev` in the same minutes.

    python benchmarks/idle.py [--minutes 10] [--home FOLDER]

Fills a home with the demo unless ``--home`` names one that is filled, starts `aperture up --demo` on it and
`dagster dev` with one asset and the default storage (SQLite), waits until both are quiet, and then watches both:
processes, memory (PSS: shared pages count by share), CPU seconds and bytes written.
PostgreSQL and the stand-ins are listed apart. Exits with 1 if `aperture up` takes more than 1.25 times the memory or
the CPU seconds of the empty `dagster dev`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
from verdict import Verdict

from aperture_dagster.up.health import ask_graphql, read_key

LIMIT = 1.25
SAMPLE_SECONDS = 15
PATIENCE_SECONDS = 1500
PROJECT = Path(__file__).resolve().parents[1]
EMPTY = "import dagster as dg\n\n\n@dg.asset\ndef one(): ...\n\n\ndefs = dg.Definitions(assets=[one])\n"
MARK = "IDLE_BENCHMARK_OF"
UP, POSTGRES, STAND_INS, EMPTY_DEV = "aperture up", "its PostgreSQL", "the stand-ins", "empty dagster dev"
TICKS = os.sysconf("SC_CLK_TCK")
MB = 1024 * 1024
UNFINISHED = """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { runId } } } }"""


@dataclass(frozen=True)
class Ui:
    """The UI of `aperture up` on a home, which is asked as its operator would."""

    port: int
    home: Path

    def ask(self, query: str) -> Any:
        """Ask a GraphQL query; None while there is no answer."""
        key = read_key(str(self.home / "front-door" / "operator.secret"))
        return ask_graphql("127.0.0.1", self.port, query, key, 20)


@dataclass
class Usage:
    """What a group of processes used."""

    processes: list[int] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    written_bytes: int = 0


def main() -> int:
    """Run the benchmark, print the table, and return 0 if both limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="How long to watch.")
    parser.add_argument("--settle", type=float, default=90.0, help="Seconds without a run before watching starts.")
    parser.add_argument("--home", type=Path, help="A home in which `aperture demo` has run.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aperture-idle-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        home = (options.home or folder / "home").resolve()
        if options.home is None:
            subprocess.run(aperture("demo", "--home", home), check=True, stdout=subprocess.DEVNULL, env=environment())
        with idle_up(home, folder) as ui, idle_dagster(folder) as empty:
            settle(ui, options.settle)
            wait_for(lambda: answers(empty), "the empty dagster dev")
            usage = watch(home, options.minutes * 60)
    return report(usage, options.minutes)


def aperture(*arguments: str | Path) -> list[str]:
    """Return a command of this project."""
    return [sys.executable, "-m", "aperture_dagster.cli.main", *map(str, arguments)]


def environment(mark: str = "", **more: str) -> dict[str, str]:
    """Return the environment without any settings of ours, with a mark that children inherit."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APERTURE_", "DAGSTER_"))}
    return kept | {"PYTHONPATH": str(PROJECT), MARK: mark} | more


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, **options: Any) -> Iterator[None]:
    """Run a program until the block ends; if the block fails, print what the program said."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options)
        try:
            yield
            if process.poll() is not None:
                raise SystemExit("A program ended by itself.")
        except SystemExit:
            print(f"{' '.join(command)} (exit code {process.poll()}):\n{log.read_text()}", file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)


@contextlib.contextmanager
def idle_up(home: Path, folder: Path) -> Iterator[Ui]:
    """Run `aperture up` on the demo; yield its UI."""
    port = free_port()
    command = aperture("up", "--demo", "--home", home, "--port", str(port))
    with running(command, folder / "up.log", env=environment(UP), cwd=folder):
        yield Ui(port, home)


@contextlib.contextmanager
def idle_dagster(folder: Path) -> Iterator[int]:
    """Run `dagster dev` with one asset; yield the port of its UI."""
    port, own = free_port(), folder / "empty"
    own.mkdir()
    (own / "defs.py").write_text(EMPTY)
    (own / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    command = [sys.executable, "-m", "dagster", "dev", "-f", "defs.py", "-p", str(port), "--log-level", "warning"]
    with running(command, folder / "dev.log", env=environment(EMPTY_DEV, DAGSTER_HOME=str(own)), cwd=own):
        yield port


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Return whether Dagster's own webserver answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=20):
        return True
    return False


def wait_for(what: Callable[[], Any], name: str, *, every: float = 1) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited in vain for {name}.")
        time.sleep(every)


def settle(ui: Ui, quiet_seconds: float) -> None:
    """Wait until there has been no unfinished run for a while: sensors and automation may start some first."""
    wait_for(lambda: ui.ask("{ version }"), "the UI")
    since = time.monotonic()

    def is_quiet() -> bool:
        nonlocal since
        answer = ui.ask(UNFINISHED)
        if answer is None or answer["runsOrError"]["results"]:
            since = time.monotonic()
        return time.monotonic() - since >= quiet_seconds

    wait_for(is_quiet, "the end of all runs", every=5)


def watch(home: Path, seconds: float) -> dict[str, Usage]:
    """Watch all groups of processes."""
    usage: dict[str, Usage] = defaultdict(Usage)
    before = used_so_far(home)
    end = time.monotonic() + seconds
    while True:
        for group, processes in grouped(home).items():
            usage[group].processes.append(len(processes))
            usage[group].memory_mb.append(sum(memory_mb(process) for process in processes))
        left = end - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(SAMPLE_SECONDS, left))
    for group, (cpu, written) in used_so_far(home).items():
        cpu_before, written_before = before.get(group, (0.0, 0))
        usage[group].cpu_seconds = cpu - cpu_before
        usage[group].written_bytes = written - written_before
    return dict(usage)


def grouped(home: Path) -> dict[str, list[psutil.Process]]:
    """Return the running processes by group: by the mark in their environment, and PostgreSQL by its data directory."""
    groups: dict[str, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get(MARK)
            if mark:
                stand_ins = "aperture_dagster.simulator" in process.cmdline()
                groups[STAND_INS if stand_ins else mark].append(process)
    with contextlib.suppress(psutil.Error, OSError):
        server = psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))
        groups[POSTGRES] = [server, *server.children(recursive=True)]
    return groups


def memory_mb(process: psutil.Process) -> float:
    """Return the process's proportional share of memory (PSS), in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def used_so_far(home: Path) -> dict[str, tuple[float, int]]:
    """Return CPU seconds, with those of children that ended, and bytes written by each group so far."""
    total: dict[str, tuple[float, int]] = {}
    for group, processes in grouped(home).items():
        cpu, written = 0.0, 0
        for process in processes:
            with contextlib.suppress(OSError):
                # Behind the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17.
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) / TICKS
                lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
                # By system calls: what reaches the disk counts whole blocks, a megabyte on some filesystems.
                written += sum(int(line.split()[1]) for line in lines if line.startswith("wchar:"))
        total[group] = (cpu, written)
    return total


def report(usage: Mapping[str, Usage], minutes: float) -> int:
    """Print the table and the verdict; return the exit code."""
    print(f"Idle for {minutes:g} minutes")
    print(f"{'':<20}{'processes':>10}{'PSS in MB':>11}{'CPU s/min':>11}{'written MB/h':>14}")
    for group in (UP, EMPTY_DEV, POSTGRES, STAND_INS):
        used = usage[group]
        print(
            f"{group:<20}{max(used.processes):>10}{mean(used.memory_mb):>11.0f}{used.cpu_seconds / minutes:>11.2f}"
            f"{used.written_bytes / MB * 60 / minutes:>14.1f}"
        )
    ours, empty = usage[UP], usage[EMPTY_DEV]
    verdict = Verdict()
    for name, value, other in (
        ("memory", mean(ours.memory_mb), mean(empty.memory_mb)),
        ("CPU", ours.cpu_seconds, max(empty.cpu_seconds, 1 / TICKS)),
    ):
        verdict.most(f"{name}, ratio to an empty dagster dev", value / other, LIMIT)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
