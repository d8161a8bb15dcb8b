"""Measure the page of jobs: how soon it answers after three months of runs.

    python benchmarks/jobs_page.py [--days 90]

The web server of the product runs on a new home with an embedded database, as in a demo, whose pages need no sign-in.
Runs of every job, as many as a busy household has, are written into Dagster's own table. The first look, which waits
for the code server and begins the examination, is shown and has no limit.

A page on which nothing runs does not load itself again; one on which a job runs does every few seconds. What that costs
a minute, and what the web server and its database cost in a minute without any look, is shown as processor time.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
from verdict import Verdict

from aperture_dagster.front_door.jobs_page import REFRESH_SECONDS

PROJECT = Path(__file__).resolve().parents[1]
DAYS, LOOKS, PAGE_MS, PATIENCE_SECONDS = 90, 50, 100.0, 180.0
QUIET_SECONDS = 30
RUNS = """
    INSERT INTO runs (run_id, pipeline_name, mode, status, run_body, create_timestamp, update_timestamp, start_time,
      end_time)
    SELECT gen_random_uuid(), :job, 'default', CASE WHEN n % 20 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, '{}',
      at, at, extract(epoch FROM at), extract(epoch FROM at) + 60
    FROM generate_series(1, :days * :a_day) n,
      LATERAL (SELECT (now() AT TIME ZONE 'UTC') - make_interval(mins => CAST(n * 1440 / :a_day AS int)) AS at) t"""
OFTEN = {"follow_plays": 30, "sync_users": 20, "sync_watch_history": 12, "sync_library_access": 10}
"""Runs a day; other jobs have one."""


def main() -> int:
    """Run the benchmark, print the figures, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args()
    from aperture_dagster.postgres.embedded import release_embedded_server

    with tempfile.TemporaryDirectory(prefix="aperture-jobs-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        os.environ["APERTURE_HOME"] = folder
        try:
            print(f"{fill_home(home, options.days):,} runs of {options.days} days")
            return measure(home)
        finally:
            release_embedded_server(home / "postgres")


def fill_home(home: Path, days: int) -> int:
    """Create both databases, and write the runs; return how many."""
    import dagster as dg

    from aperture_dagster.build import all_jobs
    from aperture_dagster.instance.purge import on_postgres
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.postgres.queries import execute
    from aperture_dagster.settings import load_settings

    settings, written = load_settings(home=home), 0
    with Database(settings).transaction():
        pass
    with dg.DagsterInstance.get() as instance:
        storage = on_postgres(instance)
        assert storage is not None
        with storage.index_connection() as connection:
            for job in all_jobs(settings):
                values = {"job": job.name, "days": days, "a_day": OFTEN.get(job.name, 1)}
                written += execute(connection, RUNS, **values).rowcount
            execute(connection, "ANALYZE runs")
    return written


def measure(home: Path) -> int:
    """Look at the page many times, and judge the median."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "aperture_dagster.front_door", "--demo", "--port", str(port)]
    command += ["--workspace", str(PROJECT / "workspace.yaml")]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as served:
        try:
            deadline, page = time.monotonic() + PATIENCE_SECONDS, f"http://127.0.0.1:{port}/jobs"
            first = look(page, deadline)
            print(f"first look: {first[0]:.0f} ms")
            while b"data-seconds" in look(page, deadline)[1]:
                time.sleep(1)
            watched = [psutil.Process(served.pid), *postgres_of(home)]
            before = spent(watched)
            time.sleep(QUIET_SECONDS)
            quiet = (spent(watched) - before) * 60 / QUIET_SECONDS
            before = spent(watched)
            times = [look(page, deadline) for _ in range(LOOKS)]
            a_look = (spent(watched) - before) / LOOKS
            print(f"processor time without a look: {quiet:.2f} s a minute")
            print(
                f"processor time of a look: {a_look * 1e3:.0f} ms, of an open page on which a job runs: "
                f"{a_look * 60 / REFRESH_SECONDS:.2f} s a minute"
            )
        finally:
            served.terminate()
    assert b'id="database_backup"' in times[-1][1], "the page shows no jobs"
    verdict = Verdict()
    verdict.most("the page of jobs, median", statistics.median(one[0] for one in times), PAGE_MS, " ms")
    return verdict.close()


def postgres_of(home: Path) -> list[psutil.Process]:
    """Return the processes of the embedded database."""
    server = psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))
    return [server, *server.children(recursive=True)]


def spent(processes: list[psutil.Process]) -> float:
    """Return the processor time of processes so far, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def look(page: str, deadline: float) -> tuple[float, bytes]:
    """Return how many milliseconds the page takes, and the page; until the deadline, wait for the server."""
    while True:
        began = time.perf_counter()
        with suppress(OSError), urllib.request.urlopen(page, timeout=60) as answer:
            return (time.perf_counter() - began) * 1e3, answer.read()
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.5)


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
