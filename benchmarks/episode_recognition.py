"""Measure how long it takes to recognise episodes after the server has given new ids to all of them.

    python benchmarks/episode_recognition.py [--sizes 20000 40000 200000]

Syncs series of a hundred episodes on an embedded database, then the same episodes with new ids, and measures the second
merge. Limits are ratios in the same run: to the first merge, which stores them as new, and to a plain COPY of as many
rows; ten times the episodes in at most 12 times the time; and all episodes recognised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from verdict import Verdict

from aperture_dagster.catalogue.sync import (
    CatalogueResult,
    Coverage,
    EpisodeSync,
    RemovalRules,
    TitleSync,
    write_libraries,
)
from aperture_dagster.media_server.records import ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.postgres.bulk import copy_rows
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import load_settings

FIRST_LIMIT, COPY_LIMIT = 3.0, 100.0
GROWTH_LIMIT = 12.0
IN_A_SERIES = 100
PAGE = 500
RULES = RemovalRules(accepted=True)


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 40_000, 200_000])
    sizes = sorted(parser.parse_args().sizes)
    taken: dict[int, float] = {}
    first = copied = 0.0
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="aperture-bench-", ignore_cleanup_errors=True) as home:
        database = Database(load_settings(home=home))
        try:
            for number, size in enumerate(sizes):
                library = ServerLibrary(f"shows-{number}", f"Shows {number}", "tvshows")
                first, _ = sync(database, library, size, "old")
                taken[size], result = sync(database, library, size, "new")
                verdict.holds(
                    f"{size:,} episodes with new ids are recognised: {result.recognised:,} in {taken[size]:.1f} s",
                    result.recognised == size and result.counts.inserted == result.removed == 0,
                )
            copied = copy_seconds(database, sizes[-1])
        finally:
            release_embedded_server(Path(home) / "postgres")
    longest, name = taken[sizes[-1]], f"{sizes[-1]:,} episodes"
    verdict.most(f"{name}, ratio to storing them as new in {first:.1f} s", longest / first, FIRST_LIMIT)
    verdict.most(f"{name}, ratio to a plain COPY in {copied:.2f} s", longest / copied, COPY_LIMIT)
    least, most = sizes[0], sizes[-1]
    if least < most:
        times = most / least
        verdict.most(f"time of {times:g} times the episodes", taken[most] / taken[least], GROWTH_LIMIT * times / 10)
    return verdict.close()


def sync(database: Database, library: ServerLibrary, size: int, ids: str) -> tuple[float, CatalogueResult]:
    """Sync the library's series and episodes; return the seconds that the merge of the episodes took."""
    coverage = Coverage(complete={library.library_id})
    with database.connection() as connection:
        with connection.begin():
            write_libraries(connection, [library])
        series = TitleSync(connection, "series")
        for page in pages(range(0, size, IN_A_SERIES)):
            series.add(library, [show(library, number) for number in page])
        series.merge(coverage, RULES)
    with database.connection() as connection:
        episodes = EpisodeSync(connection)
        for page in pages(range(size)):
            episodes.add(library, [episode(library, number, ids) for number in page])
        started = time.monotonic()
        result = episodes.merge(coverage, RULES)
        return time.monotonic() - started, result


def copy_seconds(database: Database, size: int) -> float:
    """Return the seconds of a plain COPY of as many rows into a table with an index."""
    columns = ("id", "series", "season", "number", "path")
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE plain (id text PRIMARY KEY, series text, season int, number int, path text)"
        )
        rows = [[f"id-{n}", f"series-{n // IN_A_SERIES}", n % 10, n % 100, f"/media/{n}.mkv"] for n in range(size)]
        started = time.monotonic()
        copy_rows(connection, "plain", columns, rows)
        return time.monotonic() - started


def pages(numbers: range) -> Iterator[range]:
    """Split numbers into pages."""
    for start in range(0, len(numbers), PAGE):
        yield numbers[start : start + PAGE]


def show(library: ServerLibrary, number: int) -> ServerTitle:
    """Return a series, which keeps its id."""
    name = f"{library.library_id}-{number // IN_A_SERIES}"
    return ServerTitle(name, f"Show {name}", imdb_id=f"tt-{name}", path=f"/{name}")


def episode(library: ServerLibrary, number: int, ids: str) -> ServerEpisode:
    """Return an episode with a new path each time, so that only season and number identify it."""
    name = f"{library.library_id}-{number // IN_A_SERIES}"
    within = number % IN_A_SERIES
    return ServerEpisode(
        f"{ids}-{library.library_id}-{number}",
        name,
        f"Episode {number}",
        season=within // 10 + 1,
        number=within % 10 + 1,
        path=f"/{name}/{ids}-{number}.mkv",
    )


if __name__ == "__main__":
    os.environ["APERTURE_CONFIG"] = os.devnull
    sys.exit(main())
