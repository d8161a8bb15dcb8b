"""Measure queries on the work list of a library of 50,000 titles.

    python benchmarks/work_list.py [--titles 50000]

Uses a separate database. Prints the median and the maximum in milliseconds, and judges the median by the time of one
plain look at every row of the list in the same state: for the next batch of every source while all titles are new, all
are stale, both are mixed, nearly all are done, and half of the library is gone; and for the queries that run once per
run. What working through the list and merging cost is in ``performance.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup import EPISODES_PER_SERIES, fill
from sqlalchemy import Connection, text
from verdict import Verdict

from aperture_dagster.enrichment.sources import SERVICES
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import load_settings
from aperture_dagster.worklist.fetches import count_due, due_items, enrol
from aperture_dagster.worklist.summary import outcome_summary

# Ratios to a plain look at every row of the list.
BATCH_LIMIT, RUN_LIMIT, FIRST_LIMIT = 5.0, 20.0, 150.0
BATCHES = 15
NOW = datetime.now(UTC)
VERDICT = Verdict()


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=50_000)
    titles = parser.parse_args().titles
    with (
        tempfile.TemporaryDirectory(prefix="aperture-work-list-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as in_the_end,
    ):
        settings = load_settings(home=Path(folder) / "home")
        # Stop the server before its folder is removed; otherwise it would stay alive for a while.
        in_the_end.callback(release_embedded_server, settings.home_path / "postgres")
        database = Database(settings)
        with database.transaction() as connection:
            fill(connection, titles * 9 // 10, titles * EPISODES_PER_SERIES // 10, 1)
            for statement in LIBRARY:
                connection.exec_driver_sql(statement.replace("%", "%%"))
        print(f"{titles:,} titles, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        look_at_the_list(database)
    return VERDICT.close()


@dataclass
class Timing:
    """Durations of a repeated query in milliseconds, and of a plain look at every row of the list after each."""

    name: str
    limit: float
    took: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self, database: Database) -> Iterator[Connection]:
        """Measure a transaction."""
        started = time.perf_counter()
        with database.transaction() as connection:
            yield connection
        ended = time.perf_counter()
        with database.transaction() as connection:
            connection.exec_driver_sql("SELECT sum(item), count(outcome), count(due_at) FROM fetches").all()
        self.took.append((ended - started) * 1000)
        self.plain.append((time.perf_counter() - ended) * 1000)

    def report(self) -> None:
        """Print and judge the median; the maximum also depends on the machine."""
        median, plain = statistics.median(self.took), statistics.median(self.plain)
        what = f"{self.name}, median {median:.1f} ms, at most {max(self.took):.1f} ms, ratio to {plain:.1f} ms"
        VERDICT.most(what, median / plain, self.limit)


def look_at_the_list(database: Database) -> None:
    """Measure the queries of every source in every state of the list."""
    first = Timing("first enrolment of a source", FIRST_LIMIT)
    for source in SERVICES:
        with first.measured(database) as connection:
            enrol(connection, source, now=NOW)
    first.report()
    for state, statement in STATES.items():
        with database.transaction() as connection:
            for one in statement:
                connection.execute(text(one))
            connection.exec_driver_sql("ANALYZE fetches, titles")
        for source in SERVICES:
            with database.transaction() as connection:
                enrol(connection, source, now=NOW)
        for source in SERVICES:
            batches = Timing(f"{state}: {source.label} ({', '.join(source.kinds)})", BATCH_LIMIT)
            for _ in range(BATCHES):
                with batches.measured(database) as connection:
                    due_items(connection, source, now=NOW + timedelta(minutes=5), limit=200)
            batches.report()
        for name, once in (
            ("count of due items", lambda connection, source: count_due(connection, source, now=NOW)),
            ("enrolment", lambda connection, source: enrol(connection, source, now=NOW)),
            ("outcomes", outcome_summary),
        ):
            timing = Timing(f"{state}: {name}", RUN_LIMIT)
            for source in SERVICES:
                with timing.measured(database) as connection:
                    once(connection, source)
            timing.report()


# States of the list, one after the other.
_DONE = "outcome = 'ok', attempts = 0, fetched_at = now(), attempted_at = now()"
_LEFT = (
    "UPDATE titles SET removed_at = now() "
    "WHERE added_at > (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY added_at) FROM titles)"
)
STATES = {
    "all new": (),
    "newest half gone, all stale": (
        _LEFT,
        f"UPDATE fetches SET {_DONE}, due_at = now() - interval '1 day' * (1 + item % 30)",
    ),
    "all stale": ("UPDATE titles SET removed_at = NULL",),
    "nearly all done": (
        f"UPDATE fetches SET {_DONE}, due_at = now() + interval '1 day' * (1 + item % 30)",
        "UPDATE fetches SET due_at = now() - interval '1 day' WHERE item % 1000 = 7",
        "UPDATE fetches SET outcome = 'waiting' WHERE item % 1000 = 11",
    ),
    "all new again": ("UPDATE fetches SET outcome = 'waiting'",),
}


# Titles without some of their ids, and studios that have no logo yet.
LIBRARY = (
    "UPDATE titles SET tmdb_id = NULL WHERE item_id % 20 = 0",
    "UPDATE works SET tmdb_id = NULL WHERE work_id % 20 = 0",
    "UPDATE works SET imdb_id = NULL WHERE work_id % 40 = 0 OR work_id % 500 = 1",
    "DELETE FROM fetches",
    "INSERT INTO studio_logos (kind, studio_id, name, logo_path, titles) "
    "SELECT 'company', n, 'Studio ' || n, '/logo.png', 1 FROM generate_series(1, (SELECT count(*) / 12 FROM works)) n",
)


if __name__ == "__main__":
    sys.exit(main())
