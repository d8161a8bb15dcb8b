"""A library of plain films that every source knows, and runs of single sources at the time that a clock is set to."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.resources.media_server.records import ServerTitle
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.e2e import one_run
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of
from aperture_dagster_tests.storage.conftest import Shelf, film

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
ASSETS = {"tmdb": "tmdb_metadata", "omdb": "omdb_ratings", "mdblist": "mdblist_scores"}
JOBS = {"tmdb": "enrich_metadata", "omdb": "enrich_metadata", "mdblist": "enrich_mdblist"}


def imdb(number: int) -> str:
    """The IMDb id of a title of :func:`title`."""
    return f"tt{number:07}"


def title(number: int, **facts: Any) -> WorldTitle:
    """A film from long ago, or whatever ``facts`` make of it."""
    usual: dict[str, Any] = {
        "title": f"Film {number}",
        "year": 2000,
        "release_date": "2000-01-01",
        "vote_average": 7.0,
        "vote_count": 100,
        "tmdb_id": number,
        "imdb_id": imdb(number),
    }
    kind = facts.pop("media_type", "movie")
    return WorldTitle(f"{kind}:{number}", kind, **usual | facts)


def titles(first: int, last: int, **facts: Any) -> list[WorldTitle]:
    """Titles of these numbers, both included."""
    return [title(number, **facts) for number in range(first, last + 1)]


class Library:
    """What a test does with its library: fill it, ask a source, move the clock, and look at what came of it."""

    def __init__(self, simulator: RunningSimulator, home: Household, clock: SetClock) -> None:
        self.simulator, self.home, self.clock = simulator, home, clock
        self.shelf = Shelf(home.database)

    @property
    def state(self) -> SimulatorState:
        """What the stand-ins saw, and may be told to do."""
        return self.simulator.state

    def shelve(self, *chosen: WorldTitle, **facts: Any) -> None:
        """The library holds these titles from now on; ``facts`` replace what the server says of each."""
        shelved = [(one.media_type, _on_server(one, facts)) for one in chosen]
        self.shelf.films(*(one for kind, one in shelved if kind == "movie"))
        if any(kind == "series" for kind, _ in shelved):
            self.shelf.series(*(one for kind, one in shelved if kind == "series"))

    # Runs

    def run(self, source: str) -> dg.ExecuteInProcessResult:
        """Run a source's step."""
        return self.home.run(JOBS[source], assets=[ASSETS[source]])

    def ask(self, source: str) -> dict[str, Any]:
        """Run a source's step, which has to succeed; returns its metadata."""
        result = self.run(source)
        assert result.success, failures(result)
        return metadata_of(result, ASSETS[source])

    def fail(self, source: str) -> str:
        """Run a source's step, which has to fail; returns what the operator is told."""
        result = self.run(source)
        assert not result.success
        return failures(result)[ASSETS[source]]

    def ask_twice_at_once(self, source: str) -> None:
        """Run a source's step in two threads, as two runs of one process would."""

        def once(_: int) -> dg.ExecuteInProcessResult:
            # An instance each: one in memory serves one thread.
            with dg.DagsterInstance.ephemeral() as instance:
                home = Household(self.home.settings, instance, clock=self.clock)
                return home.run(JOBS[source], assets=[ASSETS[source]])

        with ThreadPoolExecutor(2) as pool:
            for result in pool.map(once, range(2)):
                assert result.success, failures(result)

    def start(self, source: str) -> subprocess.Popen[str]:
        """Run a source's step in a process of its own."""
        return one_run.start(self.home.settings, JOBS[source], ASSETS[source], now=self.clock.moment)

    def log(self, result: dg.ExecuteInProcessResult) -> str:
        """What a run said."""
        return "\n".join(record.user_message for record in self.home.instance.all_logs(result.run_id))

    def move(self, **time_passed: float) -> None:
        """Move the clock."""
        self.clock.moment += timedelta(**time_passed)

    def next_day(self) -> None:
        """It is the next day, for us and for the stand-ins."""
        self.move(days=1)
        self.state.start_day()

    # What came of it

    def outcomes(self, source: str) -> dict[str, str]:
        """How the last attempts went, by title."""
        rows = self.home.rows(
            "SELECT t.title, f.outcome FROM fetches f JOIN titles t ON t.work_id = f.item "
            "WHERE f.source = :source AND f.kind IN ('movie', 'series') ORDER BY t.item_id",
            source=source,
        )
        return {row["title"]: row["outcome"] for row in rows}

    def count(self, source: str) -> Counter[str]:
        """Titles by outcome."""
        return Counter(self.outcomes(source).values())

    def why(self, source: str) -> dict[str, str]:
        """What is noted of attempts that brought nothing, by title."""
        rows = self.home.rows(
            "SELECT t.title, f.detail FROM fetches f JOIN titles t ON t.work_id = f.item "
            "WHERE f.source = :source AND f.kind IN ('movie', 'series') AND f.detail IS NOT NULL",
            source=source,
        )
        return {row["title"]: row["detail"] for row in rows}

    def used(self, source: str) -> int:
        """Requests that the ledger says were used, all days together."""
        return self.home.value("SELECT coalesce(sum(used), 0) FROM quota WHERE service = :source", source=source)


def _on_server(one: WorldTitle, facts: dict[str, Any]) -> ServerTitle:
    number = int(one.key.partition(":")[2])
    ids = {"tmdb_id": one.tmdb_id, "imdb_id": one.imdb_id, "tvdb_id": one.tvdb_id}
    return film(number, **{"title": one.title, "year": one.year, "path": f"/{one.key}"} | ids | facts)


def wait_until_asked(library: Library, source: str, requests: int, process: subprocess.Popen[str]) -> None:
    """Wait until a source has got so many requests from a process, which still runs then."""
    deadline = time.monotonic() + 60
    while library.state.requests(source) < requests:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def came_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process of :meth:`Library.start` says when it is done."""
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return json.loads(said.splitlines()[-1])


def names(numbers: Sequence[int]) -> list[str]:
    """The titles of these numbers."""
    return [f"Film {number}" for number in numbers]
