"""Measure memory and time to sync a large server: 50,000 films, 200,000 episodes, histories of 50 users.

    python benchmarks/sync_memory.py [--movies 50000] [--episodes 200000] [--users 50] [--plays 500000]

Runs the real jobs (users, films, series with their episodes, watch histories) in one process on the embedded database,
against stand-ins in another process: at a quarter of the size and at full size, and each a second time without any
changes. Prints seconds, rows and peak memory of each step (above the memory after importing the definitions, with a
limit of 500 MB), and how time grew with size. The memory of the database is printed, but does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from verdict import Verdict

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.cli import demo
from aperture_dagster.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster.storage.embedded import release_embedded_server

LIMIT_MB = 500
# Four times the titles may take this much more than four times as long.
GROWTH_LIMIT = 2.0
PROJECT = Path(__file__).resolve().parents[1]
JOBS = ("sync_users", "sync_movies", "sync_series", "sync_watch_history")
MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """Number of items on the server; ``plays`` are those of all users together."""

    movies: int
    series: int
    episodes: int
    users: int
    plays: int

    def part(self, divisor: int) -> Sizes:
        """Return the sizes divided by ``divisor``, with the same number of users."""
        small = {name: count // divisor for name, count in asdict(self).items()}
        return Sizes(**small | {"users": self.users})

    @property
    def world(self) -> str:
        """Return the name of the world for the stand-ins."""
        return "generated:" + ",".join(f"{name}={count}" for name, count in asdict(self).items())


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (
        ("movies", 50_000),
        ("series", 2_500),
        ("episodes", 200_000),
        ("users", 50),
        ("plays", 500_000),
    ):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--measure", action="store_true", help="Measure one size in this process, and print JSON.")
    options = parser.parse_args()
    sizes = Sizes(options.movies, options.series, options.episodes, options.users, options.plays)
    if options.measure:
        print(json.dumps(measure(sizes)))
        return 0
    small, whole = (in_a_new_process(size) for size in (sizes.part(4), sizes))
    verdict = Verdict()
    for size, figures in ((sizes.part(4), small), (sizes, whole)):
        peak = figures["peak_mb"]
        print(f"{size.movies:,} films, {size.episodes:,} episodes, {size.users} users, {size.plays:,} plays")
        for name, cycle in figures["cycles"].items():
            for step, of in cycle.items():
                print(
                    f"  {name:<6} {step:<14} {of['seconds']:7.1f} s {of['rows']:>9,} rows {of['written']:>9,} written"
                    f" {of['peak_mb']:5.0f} MB above the import"
                )
        print(f"  memory of the import {figures['import_mb']:.0f} MB, of the database {figures['database_mb']:.0f} MB")
        verdict.most("peak memory above the import", peak, LIMIT_MB, " MB")
        verdict.most("rows written a second time", sum(of["written"] for of in figures["cycles"]["second"].values()), 0)
    took = [sum(of["seconds"] for of in figures["cycles"]["first"].values()) for figures in (small, whole)]
    growth = took[1] / took[0] / 4
    verdict.most("time per title, ratio to a quarter of the size", growth, GROWTH_LIMIT)
    return verdict.close()


def in_a_new_process(sizes: Sizes) -> dict[str, Any]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--measure"]
    for name, count in asdict(sizes).items():
        command += [f"--{name}", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    return json.loads(done.stdout.splitlines()[-1])


def measure(sizes: Sizes) -> dict[str, Any]:
    """Sync twice in this process; return the figures of each step and the peak memory."""
    demo.START_SECONDS = 600
    with tempfile.TemporaryDirectory(prefix="aperture-sync-memory-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        with demo.stand_ins(sizes.world, None) as environment:
            settings = demo.point_at(environment, home)
            definitions = build_definitions(settings, loggers={"console": silent()})
            import_mb = psutil.Process().memory_info().rss / MB
            try:
                with memory(home / "postgres") as sampled, dg.DagsterInstance.get() as instance:
                    cycles = {
                        name: cycle(definitions, instance, settings, sampled, import_mb) for name in ("first", "second")
                    }
            finally:
                # Stop the server while its folder still exists.
                release_embedded_server(home / "postgres")
            # The kernel also counts peaks between the samples.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "import_mb": import_mb,
        "peak_mb": peak / MB - import_mb,
        "database_mb": sampled.database_mb,
        "cycles": cycles,
    }


def silent() -> dg.LoggerDefinition:
    """Return a logger without output, because standard output is for the figures."""

    def make(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.getLogger("aperture.sync_memory")
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        return logger

    return dg.LoggerDefinition(make)


class Memory:
    """Samples of the memory of this process and of the embedded database."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self.database_mb = 0.0

    def peak(self, since: float, until: float) -> float:
        """Return the peak memory of this process between two moments, in MB."""
        return max((held for moment, held in self.samples if since <= moment <= until), default=0.0)


@contextlib.contextmanager
def memory(database: Path) -> Iterator[Memory]:
    """Sample the memory of this process and of the database until the block ends."""
    found, over = Memory(), threading.Event()
    own = psutil.Process()

    def watch() -> None:
        while not over.is_set():
            for _ in range(50):
                found.samples.append((time.time(), own.memory_info().rss / MB))
                if over.wait(0.02):
                    break
            found.database_mb = max(found.database_mb, database_memory(database) / MB)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def database_memory(folder: Path) -> int:
    """Return the memory of the server and its workers in bytes, counting shared memory once."""
    held = 0
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        server = psutil.Process(int((folder / "postmaster.pid").read_text().splitlines()[0]))
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                info = process.memory_full_info()
                held += getattr(info, "pss", info.rss)
    return held


def cycle(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, sampled: Memory, import_mb: float
) -> dict[str, dict[str, float]]:
    """Run the jobs once; return seconds, rows, rows written and peak memory above the import of each step."""
    steps: dict[str, dict[str, float]] = {}
    for job in all_jobs(settings):
        name = job.name
        if name not in JOBS:
            continue
        request = job.run_request(instance, settings)
        result = definitions.resolve_job_def(name).execute_in_process(
            instance=instance,
            tags=request.tags if request is not None else None,
            run_config={"loggers": {"console": {}}},
        )
        if not result.success:
            raise OperatorError(f"{name} failed.")
        started: dict[str, float] = {}
        for record in instance.all_logs(result.run_id):
            step, event = record.step_key, record.dagster_event
            if step is None or event is None:
                continue
            if event.is_step_start:
                started[step] = record.timestamp
            elif event.is_step_materialization:
                figures = steps.setdefault(step, {"seconds": 0.0, "rows": 0, "written": 0, "peak_mb": 0.0})
                metadata = event.step_materialization_data.materialization.metadata
                for key, into in (("dagster/row_count", "rows"), ("rows_written", "written")):
                    figures[into] += int(getattr(metadata.get(key), "value", 0) or 0)
            elif event.is_step_success and step in steps:
                steps[step]["seconds"] = round(record.timestamp - started[step], 3)
                steps[step]["peak_mb"] = round(sampled.peak(started[step], record.timestamp) - import_mb, 1)
    return steps


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
