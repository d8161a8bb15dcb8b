"""How quickly the work list of a library of 50,000 titles says what to ask next, and that memory stays constant.

    python benchmarks/work_list.py [--titles 50000]

On a database of its own. Prints in milliseconds, the median and the worst, and as a ratio to the limit: the next batch
of every source, where all wait for their first turn, all are stale, both are mixed, nearly
everything is done, and half of the library has left; then what is asked once a run. Last, the whole list is worked
through with answers that come at once, and all works are merged: seconds, and how much more memory that took.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import MediaType, ServerTitle
    from aperture_dagster.resources.providers import Database
    from aperture_dagster.resources.tmdb import TmdbTitle
    from aperture_dagster.settings import Settings
    from aperture_dagster.storage.work_list import DueItem
    from aperture_dagster.worklist.engine import Attempt

BATCH_LIMIT_MS = 50
# Of what is asked once a run.
RUN_LIMIT_MS = 1_000
MEMORY_LIMIT_MB = 50
# Four times the titles may take this much more than four times as long.
GROWTH_LIMIT = 1.5
BATCHES = 15
# Nothing changed since all was merged.
UNCHANGED_LIMIT_S = 2
MB = 1024 * 1024
NOW = datetime.now(UTC)
KEPT: list[bool] = []


def main() -> int:
    """Run, print, and return 0 when everything that is promised was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=50_000)
    titles = parser.parse_args().titles
    os.environ["APERTURE_CONFIG"] = os.devnull
    from aperture_dagster.resources.providers import Database
    from aperture_dagster.settings import load_settings
    from aperture_dagster.storage.embedded import release_embedded_server

    with (
        tempfile.TemporaryDirectory(prefix="aperture-work-list-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as in_the_end,
    ):
        settings = load_settings(home=Path(folder) / "home")
        # Before its folder goes: a server that loses it would live on for a while.
        in_the_end.callback(release_embedded_server, settings.home_path / "postgres")
        database = Database(settings)
        fill(database, titles)
        answer(database, titles // 2)
        print(f"{titles:,} titles, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        look_at_the_list(database)
        with memory(f"working through {titles:,} titles"):
            work_through_everything(settings, database)
        with memory(f"merging {titles:,} titles"):
            merge(database)
        unchanged = merge(database)
        judge(
            f"merging nothing new took {unchanged:.2f} s (limit {UNCHANGED_LIMIT_S:g})", unchanged < UNCHANGED_LIMIT_S
        )
        forget_merges(database)
        with memory(f"merging {titles:,} titles again"):
            whole = merge(database)
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "DELETE FROM titles WHERE work_id > (SELECT percentile_disc(0.25) WITHIN GROUP (ORDER BY work_id) "
                "FROM titles)"
            )
        forget_merges(database)
        growth = whole / merge(database) / 4
        judge(
            f"merging takes {growth:.2f} as long a title as with a quarter of them (limit {GROWTH_LIMIT})",
            growth <= GROWTH_LIMIT,
        )
    print("PASS" if all(KEPT) else "FAIL")
    return 0 if all(KEPT) else 1


def judge(told: str, good: bool) -> None:
    """Print a line of the report, and remember how it ended."""
    KEPT.append(good)
    print(f"{told}: {'PASS' if good else 'FAIL'}", flush=True)


# --- the library ------------------------------------------------------------------------------------------------------


def fill(database: Database, titles: int) -> None:
    """Put so many titles into the catalogue, one in ten a series, and of half of them what TMDb says."""
    from aperture_dagster.resources.media_server.records import ServerLibrary
    from aperture_dagster.storage.catalogue_sync import Coverage, RemovalRules, TitleSync, write_libraries

    kinds: list[tuple[MediaType, ServerLibrary, Sequence[int]]] = [
        ("movie", ServerLibrary("films", "Films", "movies"), [n for n in range(titles) if n % 10]),
        ("series", ServerLibrary("shows", "Shows", "tvshows"), range(0, titles, 10)),
    ]
    for kind, library, numbers in kinds:
        with database.connection() as connection:
            with connection.begin():
                write_libraries(connection, [library])
            sync = TitleSync(connection, kind)
            for start in range(0, len(numbers), 1000):
                sync.add(library, [title(n) for n in numbers[start : start + 1000]])
            sync.merge(Coverage(complete={library.library_id}), RemovalRules(limit=0.2, accepted=True))


def title(number: int) -> ServerTitle:
    """A title: one in twenty has only IMDb's id or none, and one in five hundred only TMDb's."""
    from aperture_dagster.resources.media_server.records import ServerTitle

    of_its_kind = number // 10
    return ServerTitle(
        f"title-{number}",
        f"Title {number}",
        overview="What happens in it, in a sentence or two. " * 5,
        year=1960 + number % 60,
        genres=("Drama", "Comedy"),
        path=f"/media/{number}.mkv",
        tmdb_id=number + 1 if of_its_kind % 20 else None,
        imdb_id=f"tt{number:07}" if of_its_kind % 40 and of_its_kind % 500 != 1 else None,
        added_at=NOW - timedelta(minutes=number),
    )


# --- what is asked of the list ----------------------------------------------------------------------------------------


@dataclass
class Timing:
    """How long it took to ask the same again and again, in milliseconds."""

    name: str
    limit_ms: float
    took: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block."""
        started = time.perf_counter()
        yield
        self.took.append((time.perf_counter() - started) * 1000)

    def tell(self) -> None:
        """Print it, and judge the median: the worst is the machine's as well."""
        median, worst = statistics.median(self.took), max(self.took)
        judge(
            f"{self.name:<62} {median:6.1f} ms, worst {worst:6.1f} ms, {median / self.limit_ms:.2f} of the limit",
            median <= self.limit_ms,
        )


def look_at_the_list(database: Database) -> None:
    """Measure every source in every state of the list."""
    from sqlalchemy import text

    from aperture_dagster.library.sources import MDBLIST, OMDB, TMDB, TMDB_COLLECTIONS, TMDB_IMAGES
    from aperture_dagster.storage.work_list import count_due, due_items, enrol, standing

    sources = (TMDB, OMDB, MDBLIST, TMDB_COLLECTIONS, TMDB_IMAGES)
    first = Timing("a source's first list", 10 * RUN_LIMIT_MS)
    for source in sources:
        with first.measured(), database.transaction() as connection:
            enrol(connection, source, now=NOW)
    first.tell()
    for state, statement in STATES.items():
        with database.transaction() as connection:
            for one in statement:
                connection.execute(text(one))
            connection.exec_driver_sql("ANALYZE fetches, titles")
        for source in sources:
            with database.transaction() as connection:
                enrol(connection, source, now=NOW)
        for source in sources:
            batches = Timing(f"{state}: {source.label} ({', '.join(source.kinds)})", BATCH_LIMIT_MS)
            for _ in range(BATCHES):
                with batches.measured(), database.transaction() as connection:
                    due_items(connection, source, now=NOW + timedelta(minutes=5), limit=200)
            batches.tell()
        for name, once in (
            ("how many are due", lambda connection, source: count_due(connection, source, now=NOW)),
            ("what is new", lambda connection, source: enrol(connection, source, now=NOW)),
            ("how all stands", standing),
        ):
            timing = Timing(f"{state}: {name}", RUN_LIMIT_MS)
            for source in sources:
                with timing.measured(), database.transaction() as connection:
                    once(connection, source)
            timing.tell()


# What the list looks like, one after the other.
_DONE = "outcome = 'ok', attempts = 0, fetched_at = now(), attempted_at = now()"
_LEFT = (
    "UPDATE titles SET removed_at = now() "
    "WHERE added_at > (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY added_at) FROM titles)"
)
STATES = {
    "all wait": (),
    "the newest half has left, all wait": (_LEFT,),
    "it has left, all are stale": (f"UPDATE fetches SET {_DONE}, due_at = now() - interval '1 day' * (1 + item % 30)",),
    "all stale": ("UPDATE titles SET removed_at = NULL",),
    "a third waits, a third is stale": (
        "UPDATE fetches SET outcome = 'waiting' WHERE item % 3 = 0",
        "UPDATE fetches SET due_at = now() + interval '1 day' * (1 + item % 30) WHERE item % 3 = 1",
    ),
    "nearly all done": (
        f"UPDATE fetches SET {_DONE}, due_at = now() + interval '1 day' * (1 + item % 30)",
        "UPDATE fetches SET due_at = now() - interval '1 day' WHERE item % 1000 = 7",
        "UPDATE fetches SET outcome = 'waiting' WHERE item % 1000 = 11",
    ),
    "all wait again": ("UPDATE fetches SET outcome = 'waiting'",),
}


def answer(database: Database, titles: int) -> None:
    """Write what TMDb says of so many titles: a collection for one in five, and their studios."""
    from aperture_dagster.storage.enrichment import write_answers

    with database.transaction() as connection:
        works = connection.exec_driver_sql(
            f"SELECT work_id, tmdb_id FROM works WHERE tmdb_id IS NOT NULL ORDER BY work_id LIMIT {titles}"
        ).all()
        for start in range(0, len(works), 1000):
            write_answers(connection, "tmdb", (read(n).as_row(work) for work, n in works[start : start + 1000]))
        connection.exec_driver_sql(
            "INSERT INTO studio_logos (kind, studio_id, name, logo_path, titles) SELECT DISTINCT ON (s->>'id') "
            "'company', (s->>'id')::bigint, s->>'name', '/logo.png', 1 FROM tmdb_metadata m "
            "CROSS JOIN LATERAL jsonb_array_elements(m.companies) s ON CONFLICT DO NOTHING"
        )


def read(tmdb_id: int) -> TmdbTitle:
    """TMDb's answer about a film, of the usual size."""
    from aperture_dagster.resources.tmdb import parse_title

    people = [{"name": f"Person {(tmdb_id + n) % 9000}", "character": f"Role {n}"} for n in range(15)]
    return parse_title(
        {
            "id": tmdb_id,
            "title": f"Title {tmdb_id}",
            "overview": "What happens in it, in a sentence or two. " * 5,
            "genres": [{"name": "Drama"}],
            "keywords": {"keywords": [{"name": f"keyword {(tmdb_id + n) % 5000}"} for n in range(12)]},
            "credits": {"cast": people, "crew": [{"job": "Director", "name": "Somebody"}]},
            "production_companies": [{"id": tmdb_id % 4000, "name": f"Studio {tmdb_id % 4000}", "logo_path": "/l.png"}],
            "vote_average": 7.1,
            "vote_count": 1234,
            "release_date": "1999-03-31",
            "belongs_to_collection": {"id": tmdb_id // 10, "name": f"Collection {tmdb_id // 10}"}
            if tmdb_id % 10 < 2
            else None,
        },
        "movie",
    )


# --- all of it --------------------------------------------------------------------------------------------------------


def work_through_everything(settings: Settings, database: Database) -> None:
    """Work through TMDb's list as a run does, with answers that come at once."""
    import dagster as dg

    from aperture_dagster.library.sources import TMDB
    from aperture_dagster.resources.providers import Clock
    from aperture_dagster.worklist.engine import Attempt, WorkList, keep_answers, work_through

    def at_once(unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        for item in unit:
            yield [Attempt(item, "ok", answer=read(item.tmdb_id or 0))]

    ttl = timedelta(days=settings.tmdb_ttl_days)
    work = WorkList(
        TMDB, ask=at_once, keep=keep_answers(TMDB), ttl=lambda attempt, now: ttl, concurrency=8, cancel=lambda: None
    )
    started = time.monotonic()
    tally = work_through(dg.build_asset_context(), database, Clock(), work)
    seconds = time.monotonic() - started
    judge(
        f"{tally.ok:,} titles asked about and kept in {seconds:.0f} s, {tally.ok / seconds:,.0f} a second; "
        f"{tally.still_due} are still due",
        tally.still_due == 0 and tally.error == 0,
    )


def forget_merges(database: Database) -> None:
    """Let everything be merged again."""
    with database.transaction() as connection:
        connection.exec_driver_sql("TRUNCATE merges")


def merge(database: Database) -> float:
    """Merge what all sources say of all works; returns how many seconds that took."""
    from aperture_dagster.storage.enrichment import write_enriched

    started = time.monotonic()
    with database.transaction() as connection:
        counts = write_enriched(connection)
    seconds = time.monotonic() - started
    print(f"  merged in {seconds:.1f} s, {counts.written:,} rows written")
    return seconds


@contextmanager
def memory(name: str) -> Iterator[None]:
    """Say by how much the memory that this process holds has grown in the block, at its most."""
    own, over = psutil.Process(), threading.Event()
    gc.collect()
    before = most = own.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, own.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    grown = (most - before) / MB
    judge(f"{name}: {grown:.0f} MB more memory, {grown / MEMORY_LIMIT_MB:.2f} of the limit", grown <= MEMORY_LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
