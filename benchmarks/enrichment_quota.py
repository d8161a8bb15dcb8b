"""Enrich 5,000 films with free keys: OMDb in five days of 1,000 requests, MDBList in 50 requests.

    python benchmarks/enrichment_quota.py [--titles 5000] [--seed N]

Runs the real jobs on the embedded database, against stand-ins that count requests. The five days are simulated with a
clock. On the second day a run is interrupted and another one continues; on the third, two runs of one process start at
the same time; on the fourth, two processes do. Every film must be requested exactly once, and each day must use exactly
its quota.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from verdict import Verdict

from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster.storage.embedded import release_embedded_server

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from aperture_dagster_tests.e2e.library import (  # noqa: E402
    NOON,
    Library,
    result_of,
    titles,
    wait_until_asked,
)
from aperture_dagster_tests.household import Household, SetClock  # noqa: E402

DAYS = 5
BATCH = 100
# Slow enough that a run can be interrupted before the quota is used up, however busy the machine is.
SLOWED_SECONDS = 0.05


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    if options.titles % DAYS or options.titles % BATCH or options.titles < DAYS * BATCH:
        parser.error(f"the number of titles must be a multiple of {DAYS} and of {BATCH}")

    daily = options.titles // DAYS
    films = titles(1, options.titles)
    stand_ins = SimulatorSettings(omdb_daily_limit=daily, mdblist_largest_batch=BATCH)
    print(f"{options.titles:,} films, {daily:,} requests a day to OMDb; seed {options.seed}", flush=True)
    with (
        # Hide Dagster's log, which has a line for every event of every run.
        contextlib.redirect_stderr(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="aperture-quota-", ignore_cleanup_errors=True) as folder,
        running_simulator(World("a library", films), stand_ins) as simulator,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        settings = load_settings(
            home=Path(folder) / "home",
            timezone="UTC",
            omdb_url=simulator.omdb_url,
            omdb_api_key=stand_ins.omdb_key,
            omdb_daily_limit=daily,
            mdblist_url=simulator.mdblist_url,
            mdblist_api_key=stand_ins.mdblist_key,
            http_retry_wait_seconds=0.01,
        )
        clock = SetClock(NOON)
        library = Library(simulator, Household(settings, instance, clock=clock), clock)
        try:
            library.shelve(*films)
            verdict = Verdict()
            verdict.holds(
                f"OMDb: {DAYS} days use exactly their quotas, and every film is requested once",
                five_days(library, daily, random.Random(options.seed)),
            )
            verdict.holds(
                f"MDBList: every film is requested once, {BATCH} per request",
                one_day_of_batches(library, options.titles),
            )
        finally:
            release_embedded_server(settings.home_path / "postgres")
    return verdict.close()


def five_days(library: Any, daily: int, chance: random.Random) -> bool:
    """Run OMDb day by day; return whether each day used its quota and each film was requested once."""
    scenarios: dict[int, tuple[str, Callable[[], object]]] = {
        2: ("a run is interrupted, another one continues", lambda: interrupted(library, chance.randrange(daily // 10))),
        3: ("two runs of one process at once", lambda: library.ask_twice_at_once("omdb")),
        4: ("two processes at once", lambda: two_processes(library)),
    }
    print("OMDb  requests that day   used   films left   continues at           seconds")
    good = True
    for day in range(1, DAYS + 1):
        if day > 1:
            library.next_day()
        started, before = time.monotonic(), library.state.requests("omdb")
        name, scenario = scenarios.get(day, ("one run", lambda: None))
        scenario()
        metadata = library.ask("omdb")
        requests = library.state.requests("omdb") - before
        good &= requests == daily == metadata["quota_used"] and metadata["still_due"] == daily * (DAYS - day)
        good &= ("resumes_at" in metadata) is (day < DAYS)
        print(
            f"day {day} {requests:18,} {metadata['quota_used']:6,} {metadata['still_due']:12,}   "
            f"{metadata.get('resumes_at', 'complete'):<22} {time.monotonic() - started:6.1f}  {name}",
            flush=True,
        )
    asked = library.state.asked("omdb")
    outcomes = library.count("omdb")
    print(
        f"{asked.total():,} requests for {len(asked):,} films, at most {max(asked.values())} per film; "
        f"outcomes {dict(outcomes)}; the quota table has {library.used('omdb'):,}"
    )
    good &= asked.total() == len(asked) == DAYS * daily == outcomes.total() == library.used("omdb")
    return good and outcomes["waiting"] == outcomes["error"] == 0


def interrupted(library: Any, requests: int) -> None:
    """Start a run in another process, and interrupt it after this many requests."""
    slow = library.state.add_fault(FaultRule("omdb", kind="slow", delay_seconds=SLOWED_SECONDS))
    process = library.start("omdb")
    wait_until_asked(library, "omdb", library.state.requests("omdb") + 1 + requests, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    library.state.remove_fault(slow)


def two_processes(library: Any) -> None:
    """Start two runs in two processes at the same time, and wait for them."""
    for result in [result_of(process) for process in [library.start("omdb") for _ in range(2)]]:
        if not result["success"]:
            raise SystemExit(f"a run failed: {result['failures']}")


def one_day_of_batches(library: Any, films: int) -> bool:
    """Run MDBList; return whether every film was requested once, a hundred per request."""
    started = time.monotonic()
    metadata = library.ask("mdblist")
    asked = library.state.asked("mdblist")
    requests = library.state.requests("mdblist")
    print(
        f"MDBList: {requests:,} requests for {len(asked):,} films in {time.monotonic() - started:.1f} s, at most "
        f"{max(asked.values())} per film; {metadata['fetched']:,} known, {metadata['not_found']:,} unknown; "
        f"MDBList counted {metadata['quota_used']:,}"
    )
    good = requests == metadata["quota_used"] == films // BATCH and asked.total() == len(asked) == films
    return good and metadata["errors"] == metadata["still_due"] == 0


if __name__ == "__main__":
    sys.exit(main())
