"""How close to a service's limit the product works, and that it never goes beyond it, by the service's own clock.

    python benchmarks/request_rates.py [--seconds 30] [--only NAME]

The real assets, in processes of their own, ask stand-ins in another one, whose answers take 20-300 ms, each by chance.
Prints for TMDb at 40 requests in a second and in ten, and for MDBList at 3 in a second: requests after the first
window as a ratio to what is allowed (at least 0.90 for ten seconds, 0.85 for one), and the most in any window. Then
one run after the other: one that is stopped while the next waits for its turn, one that is killed while the next
waits, and one that begins when another has ended: no window holds more than the limit across all of them. The
machine's load is printed with each.
"""

from __future__ import annotations

import argparse
import bisect
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from aperture_dagster.library.sources import Source
    from aperture_dagster.resources.providers import Database

ANSWER_SECONDS = (0.02, 0.3)
PROJECT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Limit:
    """What a service allows, and the asset that asks it; ``titles`` in one request."""

    service: str
    asset: str
    requests: int
    seconds: float
    titles: int = 1

    def __str__(self) -> str:
        """For a line of the report."""
        return f"{self.service} at {self.requests} in {self.seconds:g} s"

    @property
    def least_ratio(self) -> float:
        """The share of the allowed rate that is promised."""
        return 0.9 if self.seconds >= 10 else 0.85

    @property
    def environment(self) -> dict[str, str]:
        """The settings that say so."""
        name = f"APERTURE_{self.service.upper()}"
        return {f"{name}_REQUESTS": str(self.requests), f"{name}_PERIOD_SECONDS": f"{self.seconds:g}"}


LIMITS = (
    Limit("tmdb", "tmdb_metadata", 40, 1),
    Limit("tmdb", "tmdb_metadata", 40, 10),
    Limit("mdblist", "mdblist_scores", 3, 1, titles=100),
)


def main() -> int:
    """Run, print, and return 0 when everything that is promised was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="about so long each (windows of 10 s: twice that)")
    parser.add_argument("--only", default="", help="only what has this in its name; 'one after the other' is the last")
    parser.add_argument("--work", help="Run this asset, in this process.")
    options = parser.parse_args()
    if not any(options.only in name for name in [*map(str, LIMITS), "one after the other"]):
        parser.error(f"nothing is called {options.only!r}")
    if options.work:
        return work(options.work)
    from aperture_dagster.cli import demo
    from aperture_dagster.resources.providers import Database
    from aperture_dagster.storage.embedded import release_embedded_server

    seconds = {limit: options.seconds * (2 if limit.seconds > 1 else 1) for limit in LIMITS}
    # In the first window there may be as many again, and not every title is known to every service.
    titles = max(int((seconds[one] / one.seconds + 1) * one.requests) * one.titles for one in LIMITS)
    kept = []
    with tempfile.TemporaryDirectory(prefix="aperture-request-rates-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        world = f"generated:movies={titles * 5 // 4},series=0,episodes=0,users=1,plays=0"
        with demo.stand_ins(home, world, None) as environment:
            database = Database(demo.point_at(environment, home))
            stand_ins = StandIns(environment["APERTURE_TMDB_URL"].removesuffix("/tmdb/3"))
            try:
                run("movies").wait_until_over()
                for limit in LIMITS:
                    if options.only in str(limit):
                        kept.append(one_run(database, stand_ins, limit, seconds[limit]))
                if options.only in "one after the other":
                    kept.append(one_after_the_other(database, stand_ins, LIMITS[1]))
            finally:
                # Before its folder goes: a server that loses it would live on for a while.
                release_embedded_server(home / "postgres")
    print("PASS" if all(kept) else "FAIL")
    return 0 if all(kept) else 1


def work(asset: str) -> int:
    """Materialize an asset by a run of the real job that it belongs to."""
    import dagster as dg

    from aperture_dagster.build import build_definitions
    from aperture_dagster.settings import load_settings

    job = {"movies": "sync_movies", "tmdb_metadata": "enrich_metadata", "mdblist_scores": "enrich_mdblist"}[asset]
    definitions = build_definitions(load_settings())
    # Its own record of runs: Dagster's pools would let nobody follow one that was killed, until the daemon sees it.
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
        )
    return 0 if result.success else 1


class StandIns:
    """The stand-ins' record of what came, and when, by their clock."""

    def __init__(self, url: str) -> None:
        self._control = httpx.Client(base_url=f"{url}/_control", timeout=30)

    def begin(self, service: str) -> None:
        """Forget what came before, and answer slowly from now on."""
        least, most = ANSWER_SECONDS
        self._control.delete("/faults").raise_for_status()
        rule = {"service": service, "kind": "slow", "delay_seconds": least, "delay_up_to_seconds": most}
        self._control.post("/faults", json=rule).raise_for_status()
        self._control.post("/reset").raise_for_status()

    def arrivals(self, service: str) -> list[float]:
        """When each request to a service came, in seconds."""
        answer = self._control.get("/arrivals", params={"service": service}).json()
        return sorted(moment for _, moment in answer["arrivals"])


class Run:
    """A process that works at an asset."""

    def __init__(self, asset: str, environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--work", asset]
        # One that is killed leaves its temporary files: they lie in the home, which goes with all that is in it.
        environment = {**os.environ, "TMPDIR": os.environ["APERTURE_HOME"], **environment}
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._asset = asset

    def wait_until_over(self) -> None:
        """Wait for its end, which has to be a good one."""
        said = self._process.communicate(timeout=MOST_SECONDS)[1]
        if self._process.returncode != 0:
            sys.stderr.buffer.write(said)
            raise SystemExit(f"{self._asset} failed")

    def end(self, how: signal.Signals) -> None:
        """End it, and see that it has ended."""
        self._process.send_signal(how)
        self._process.communicate(timeout=60)


def run(asset: str, **environment: str) -> Run:
    """Start working at an asset in a process of its own."""
    return Run(asset, environment)


def one_run(database: Database, stand_ins: StandIns, limit: Limit, seconds: float) -> bool:
    """Measure a run that has enough to do for so long; says whether the limit was used and kept."""
    put_on_the_list(database, limit, int((seconds / limit.seconds + 1) * limit.requests) * limit.titles)
    stand_ins.begin(limit.service)
    run(limit.asset, **limit.environment).wait_until_over()
    arrivals = stand_ins.arrivals(limit.service)
    ratio, most = used(arrivals, limit), most_in_window(arrivals, limit.seconds)
    good = ratio >= limit.least_ratio and most <= limit.requests
    print(
        f"{limit}: {ratio:.3f} of the allowed rate (at least {limit.least_ratio}), at most {most} of "
        f"{limit.requests} in {limit.seconds:g} s, tightest {tightest(arrivals, limit):.3f} s; "
        f"{len(arrivals):,} requests in {arrivals[-1] - arrivals[0]:.0f} s, {said_load()}: "
        f"{'PASS' if good else 'FAIL'}",
        flush=True,
    )
    return good


def one_after_the_other(database: Database, stand_ins: StandIns, limit: Limit) -> bool:
    """Measure four runs: stopped, killed on its way, run to its end, begun after that; says whether the limit was
    kept across them.
    """
    full = limit.requests
    stand_ins.begin(limit.service)
    put_on_the_list(database, limit, 6 * full)
    stopped = run(limit.asset, **limit.environment)
    wait_for(lambda: len(stand_ins.arrivals(limit.service)) > full // 2)
    killed = run(limit.asset, **limit.environment)
    wait_for(lambda: len(stand_ins.arrivals(limit.service)) > full * 3 // 2)
    stopped.end(signal.SIGINT)
    first = len(stand_ins.arrivals(limit.service))
    wait_for(lambda: len(stand_ins.arrivals(limit.service)) > first)
    third = run(limit.asset, **limit.environment)
    wait_for(lambda: len(stand_ins.arrivals(limit.service)) > first + full * 3 // 2)
    killed.end(signal.SIGKILL)
    second = len(stand_ins.arrivals(limit.service)) - first
    third.wait_until_over()
    put_on_the_list(database, limit, full * 3 // 2)
    run(limit.asset, **limit.environment).wait_until_over()
    arrivals = stand_ins.arrivals(limit.service)
    most = most_in_window(arrivals, limit.seconds)
    good = most <= limit.requests
    print(
        f"one after the other ({limit}): at most {most} of {limit.requests} in {limit.seconds:g} s, tightest "
        f"{tightest(arrivals, limit):.3f} s; {first} of one that was stopped, {second} of one that was killed, "
        f"{len(arrivals) - first - second} of two more, {said_load()}: {'PASS' if good else 'FAIL'}",
        flush=True,
    )
    return good


def put_on_the_list(database: Database, limit: Limit, titles: int) -> None:
    """Make so many titles due with a service, and no others."""
    from sqlalchemy import text

    from aperture_dagster.library.sources import SOURCES
    from aperture_dagster.storage.work_list import enrol

    source: Source = next(source for source in SOURCES if source.name == limit.service)
    with database.transaction() as connection:
        from datetime import UTC, datetime

        enrol(connection, source, now=datetime.now(UTC))
        connection.execute(
            text("UPDATE fetches SET outcome = 'ok', due_at = now() + interval '1 year' WHERE source = :source"),
            {"source": source.name},
        )
        due = connection.execute(
            text(
                "UPDATE fetches SET outcome = 'waiting' WHERE source = :source AND item IN (SELECT item FROM fetches "
                "WHERE source = :source AND kind = 'movie' ORDER BY item LIMIT :titles)"
            ),
            {"source": source.name, "titles": titles},
        ).rowcount
        assert due == titles, f"the library holds {due} titles for {limit.service}, not {titles}"


def wait_for(come: Callable[[], bool]) -> None:
    """Look again and again until it has come."""
    deadline = time.monotonic() + MOST_SECONDS
    while not come():
        if time.monotonic() > deadline:
            raise SystemExit("what was waited for did not come")
        time.sleep(0.01)


def used(arrivals: list[float], limit: Limit) -> float:
    """The rate after the first window, as a ratio to the allowed one: how long whole windows took from each of the
    requests that end it to those that are as many windows later.
    """
    full = limit.requests
    windows = (len(arrivals) - full) // full
    first, last = arrivals[full : 2 * full], arrivals[windows * full : (windows + 1) * full]
    return (windows - 1) * limit.seconds * full / (sum(last) - sum(first))


def most_in_window(arrivals: list[float], seconds: float) -> int:
    """The most in any window of this length."""
    return max(bisect.bisect_left(arrivals, arrival + seconds) - at for at, arrival in enumerate(arrivals))


def tightest(arrivals: list[float], limit: Limit) -> float:
    """The least time between a request and the one that is one more than the limit after it."""
    return min(later - earlier for earlier, later in zip(arrivals, arrivals[limit.requests :], strict=False))


def said_load() -> str:
    """The machine's load, which the figures depend on."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
