"""A library of plain films that every source knows, and runs of single sources at a simulated time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.media_server.records import ServerTitle
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of
from aperture_dagster_tests.shelf import Shelf, film

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
ASSETS = {source.name: source.table for source in SOURCES}
JOBS = {source.name: source.job for source in SOURCES}


def imdb(number: int) -> str:
    """Return the IMDb id of a title of :func:`title`."""
    return f"tt{number:07}"


def title(number: int, **fields: Any) -> WorldTitle:
    """Return an old film with this number; ``fields`` override its attributes."""
    usual: dict[str, Any] = {
        "title": f"Film {number}", "year": 2000, "release_date": "2000-01-01", "vote_average": 7.0, "vote_count": 100,
        "tmdb_id": number, "imdb_id": imdb(number),
    }  # fmt: skip
    media_type = fields.pop("media_type", "movie")
    return WorldTitle(f"{media_type}:{number}", media_type, **usual | fields)


def titles(first: int, last: int, **fields: Any) -> list[WorldTitle]:
    """Return titles with these numbers, both included."""
    return [title(number, **fields) for number in range(first, last + 1)]


class Library:
    """A library for tests: fill it, run a source, move the clock, and read the results."""

    def __init__(self, simulator: RunningSimulator, home: Household, clock: SetClock) -> None:
        self.simulator, self.home, self.clock = simulator, home, clock
        self.shelf = Shelf(home.database)

    @property
    def state(self) -> SimulatorState:
        """State of the stand-ins: requests so far, faults and quotas."""
        return self.simulator.state

    def shelve(self, *chosen: WorldTitle) -> None:
        """Replace the titles of the library."""
        shelved = [(one.media_type, _on_server(one)) for one in chosen]
        self.shelf.films(*(one for media_type, one in shelved if media_type == "movie"))
        if any(media_type == "series" for media_type, _ in shelved):
            self.shelf.series(*(one for media_type, one in shelved if media_type == "series"))

    # Runs

    def run(self, source: str, *, refetch: Sequence[str] = (), **how: Any) -> dg.ExecuteInProcessResult:
        """Run a source's step, which is to ask again about the titles in ``refetch``."""
        if refetch:
            how["config"] = {ASSETS[source]: {"refetch": list(refetch)}}
        return self.home.run(JOBS[source], assets=[ASSETS[source]], **how)

    def use(self, **changed: Any) -> None:
        """Go on with other settings."""
        given = self.home.settings.model_dump(exclude_unset=True) | changed
        self.home = Household(load_settings(**given), self.home.instance, clock=self.clock)

    def ask(self, source: str, **how: Any) -> dict[str, Any]:
        """Run a source's step, which must succeed; return its metadata. ``how``: as for :meth:`run`."""
        result = self.run(source, **how)
        assert result.success, failures(result)
        return metadata_of(result, ASSETS[source])

    def log(self, result: dg.ExecuteInProcessResult) -> str:
        """Return the log of a run."""
        return "\n".join(record.user_message for record in self.home.instance.all_logs(result.run_id))

    def move(self, **time_passed: float) -> None:
        """Move the clock."""
        self.clock.moment += timedelta(**time_passed)

    def next_day(self) -> None:
        """Move the clock and the stand-ins to the next day."""
        self.move(days=1)
        self.state.start_day()

    # Results

    def count(self, source: str) -> Counter[str]:
        """Return the number of titles by the outcome of the last attempt."""
        rows = self.home.rows(
            "SELECT f.outcome FROM fetches f JOIN titles t ON t.work_id = f.item "
            "WHERE f.source = :source AND f.kind IN ('movie', 'series')",
            source=source,
        )
        return Counter(row["outcome"] for row in rows)

    def why(self, source: str) -> dict[str, str]:
        """Return the recorded reason of unsuccessful attempts by title."""
        rows = self.home.rows(
            "SELECT t.title, f.detail FROM fetches f JOIN titles t ON t.work_id = f.item "
            "WHERE f.source = :source AND f.kind IN ('movie', 'series') AND f.detail IS NOT NULL",
            source=source,
        )
        return {row["title"]: row["detail"] for row in rows}

    def used(self, source: str) -> int:
        """Return the requests used on all days according to the quota table."""
        return self.home.value("SELECT coalesce(sum(used), 0) FROM quota WHERE service = :source", source=source)


def _on_server(one: WorldTitle) -> ServerTitle:
    number = int(one.key.partition(":")[2])
    ids = {"tmdb_id": one.tmdb_id, "imdb_id": one.imdb_id, "tvdb_id": one.tvdb_id}
    return film(number, **{"title": one.title, "year": one.year, "path": f"/{one.key}"} | ids)
