"""Measure how close the product gets to a service's rate limit without exceeding it, by the service's clock.

    python benchmarks/request_rates.py [--seconds 30] [--only NAME]

The real assets run in separate processes against stand-ins in another process, which answer after random delays of
20-300 ms. For TMDb with 400 and with 40 requests in ten seconds, and MDBList with 3 per second, this prints requests
after the first window as a ratio to the limit (at least 0.90 for ten seconds, 0.85 for one), and the most requests in
any window. Then it starts several runs in sequence: one is interrupted while the next waits, one is killed while the
next waits, and one starts after another has ended. No window may exceed the limit across all of them.
"""

from __future__ import annotations

import argparse
import bisect
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import httpx
from idle import PROJECT, wait_for
from sqlalchemy import text
from verdict import Verdict

from aperture_dagster.build import build_definitions
from aperture_dagster.cli import homes
from aperture_dagster.cli.stand_ins import StandIns as AllServices
from aperture_dagster.enrichment.sources import SERVICES
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import load_settings
from aperture_dagster.worklist.fetches import enrol

ANSWER_SECONDS = (0.02, 0.3)
MOST_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of a service, the asset that uses it, and ``titles`` per request."""

    service: str
    asset: str
    requests: int
    seconds: float
    titles: int = 1

    def __str__(self) -> str:
        """Return the name for a line of the report."""
        return f"{self.service} at {self.requests} in {self.seconds:g} s"

    @property
    def least_ratio(self) -> float:
        """Return the smallest acceptable share of the allowed rate."""
        return 0.9 if self.seconds >= 10 else 0.85

    @property
    def environment(self) -> dict[str, str]:
        """Return the setting of this limit; that of MDBList has none."""
        return {"APERTURE_TMDB_REQUESTS": str(self.requests)} if self.service == "tmdb" else {}


LIMITS = (
    Limit("tmdb", "tmdb_metadata", 400, 10),
    Limit("tmdb", "tmdb_metadata", 40, 10),
    Limit("mdblist", "mdblist_scores", 3, 1, titles=100),
)


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        help="approximate duration of each measurement (twice as long for windows of 10 s)",
    )
    parser.add_argument(
        "--only", default="", help="only measurements with this in their name, such as 'tmdb' or 'in sequence'"
    )
    parser.add_argument("--work", help="Run this asset, in this process.")
    options = parser.parse_args()
    if not any(options.only in name for name in [*map(str, LIMITS), "in sequence"]):
        parser.error(f"there is no measurement with {options.only!r} in its name")
    if options.work:
        return work(options.work)
    seconds = {limit: options.seconds * (2 if limit.seconds > 1 else 1) for limit in LIMITS}
    # The first window may take as many again, and not every title is known to every service.
    titles = max(int((seconds[one] / one.seconds + 1) * one.requests) * one.titles for one in LIMITS)
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="aperture-request-rates-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        world = f"generated:movies={titles * 5 // 4},series=0,episodes=0,users=1,plays=0"
        with AllServices(world).running() as (_, environment):
            database = Database(homes.point_at(environment, home))
            stand_ins = StandIns(environment["APERTURE_TMDB_URL"].removesuffix("/tmdb/3"))
            try:
                Run("movies").wait_until_over()
                for limit in LIMITS:
                    if options.only in str(limit):
                        one_run(database, stand_ins, limit, seconds[limit], verdict)
                if options.only in "in sequence":
                    in_sequence(database, stand_ins, LIMITS[1], verdict)
            finally:
                # Stop the server before its folder is removed; otherwise it would stay alive for a while.
                release_embedded_server(home / "postgres")
    return verdict.close()


def work(asset: str) -> int:
    """Materialize an asset with a run of the job that it belongs to."""
    job = {"movies": "sync_movies", "tmdb_metadata": "enrich_metadata", "mdblist_scores": "enrich_mdblist"}[asset]
    definitions = build_definitions(load_settings())
    # An ephemeral instance: in a shared one, the pool slot of a killed run would stay taken without a daemon.
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
        )
    return 0 if result.success else 1


class StandIns:
    """Control interface of the stand-ins, which record when each request arrives, by their clock."""

    def __init__(self, url: str) -> None:
        self._control = httpx.Client(base_url=f"{url}/_control", timeout=30)

    def begin(self, service: str) -> None:
        """Reset the records, and answer slowly from now on."""
        least, most = ANSWER_SECONDS
        self._post("clear_faults")
        self._post("add_fault", service=service, kind="slow", delay_seconds=least, delay_up_to_seconds=most)
        self._post("reset_counters")

    def arrivals(self, service: str) -> list[float]:
        """Return the times at which requests to a service arrived, in seconds."""
        return sorted(moment for _, moment in self._post("arrivals", service=service))

    def _post(self, operation: str, **arguments: object) -> list[tuple[str, float]]:
        return self._control.post(f"/{operation}", json=arguments).raise_for_status().json()["result"]


class Run:
    """A process that materializes an asset."""

    def __init__(self, asset: str, **environment: str) -> None:
        command = [sys.executable, __file__, "--work", asset]
        # A killed process leaves temporary files; put them into the home, which is removed at the end.
        whole = {**os.environ, "TMPDIR": os.environ["APERTURE_HOME"], **environment}
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env=whole, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._asset = asset

    def wait_until_over(self) -> None:
        """Wait until the process has ended; it must succeed."""
        errors = self._process.communicate(timeout=MOST_SECONDS)[1]
        if self._process.returncode != 0:
            sys.stderr.buffer.write(errors)
            raise SystemExit(f"{self._asset} failed")

    def end(self, how: signal.Signals) -> None:
        """Send a signal, and wait until the process has ended."""
        self._process.send_signal(how)
        self._process.communicate(timeout=60)


def one_run(database: Database, stand_ins: StandIns, limit: Limit, seconds: float, verdict: Verdict) -> None:
    """Measure a run that lasts this long: the limit must be used, and kept."""
    put_on_the_list(database, limit, int((seconds / limit.seconds + 1) * limit.requests) * limit.titles)
    stand_ins.begin(limit.service)
    Run(limit.asset, **limit.environment).wait_until_over()
    arrivals = stand_ins.arrivals(limit.service)
    ratio, most = used(arrivals, limit), most_in_window(arrivals, limit.seconds)
    print(f"{limit}: {len(arrivals):,} requests in {arrivals[-1] - arrivals[0]:.0f} s", flush=True)
    verdict.least(f"{limit}, share of the allowed rate", ratio, limit.least_ratio)
    verdict.most(f"{limit}, requests in any window", most, limit.requests)


def in_sequence(database: Database, stand_ins: StandIns, limit: Limit, verdict: Verdict) -> None:
    """Measure four runs: interrupted, killed, completed, and started after that; the limit holds across all of them."""
    full = limit.requests
    stand_ins.begin(limit.service)
    put_on_the_list(database, limit, 6 * full)
    stopped = Run(limit.asset, **limit.environment)
    wait_for_requests(stand_ins, limit, full // 2)
    killed = Run(limit.asset, **limit.environment)
    wait_for_requests(stand_ins, limit, full * 3 // 2)
    stopped.end(signal.SIGINT)
    first = len(stand_ins.arrivals(limit.service))
    wait_for_requests(stand_ins, limit, first)
    third = Run(limit.asset, **limit.environment)
    wait_for_requests(stand_ins, limit, first + full * 3 // 2)
    killed.end(signal.SIGKILL)
    second = len(stand_ins.arrivals(limit.service)) - first
    third.wait_until_over()
    put_on_the_list(database, limit, full * 3 // 2)
    Run(limit.asset, **limit.environment).wait_until_over()
    arrivals = stand_ins.arrivals(limit.service)
    most = most_in_window(arrivals, limit.seconds)
    print(
        f"in sequence ({limit}): {first} requests of an interrupted run, {second} of a killed one, "
        f"{len(arrivals) - first - second} of two more",
        flush=True,
    )
    verdict.most(f"in sequence ({limit}), requests in any window", most, limit.requests)


def put_on_the_list(database: Database, limit: Limit, titles: int) -> None:
    """Make exactly this many titles due for a service."""
    source = next(service for service in SERVICES if service.name == limit.service)
    with database.transaction() as connection:
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


def wait_for_requests(stand_ins: StandIns, limit: Limit, more_than: int) -> None:
    """Wait until more requests than this have arrived."""
    wait_for(lambda: len(stand_ins.arrivals(limit.service)) > more_than, "requests", every=0.01)


def used(arrivals: list[float], limit: Limit) -> float:
    """Return the rate after the first window, as a ratio to the limit.

    It compares the requests of the second window with those a whole number of windows later.
    """
    full = limit.requests
    windows = (len(arrivals) - full) // full
    first, last = arrivals[full : 2 * full], arrivals[windows * full : (windows + 1) * full]
    return (windows - 1) * limit.seconds * full / (sum(last) - sum(first))


def most_in_window(arrivals: list[float], seconds: float) -> int:
    """Return the largest number of requests in any window of this length."""
    return max(bisect.bisect_left(arrivals, arrival + seconds) - at for at, arrival in enumerate(arrivals))


if __name__ == "__main__":
    sys.exit(main())
