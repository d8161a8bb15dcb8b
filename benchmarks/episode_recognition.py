"""Measure how long it takes to recognise episodes after the server has given new ids to all of them.

    python benchmarks/episode_recognition.py [--sizes 20000 40000 200000]

Syncs series of a hundred episodes on an embedded database, then the same episodes with new ids, and measures the second
merge. Limits: 40,000 episodes in under 5 s on two cores, ten times the episodes in at most 12 times the time, and all
episodes recognised.
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

from aperture_dagster.resources.database import Database
from aperture_dagster.resources.media_server.records import ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.settings import load_settings
from aperture_dagster.storage.catalogue_sync import (
    CatalogueResult,
    Coverage,
    EpisodeSync,
    RemovalRules,
    TitleSync,
    write_libraries,
)
from aperture_dagster.storage.embedded import release_embedded_server

SECONDS_FOR_40_000 = 5.0
GROWTH_LIMIT = 12.0
IN_A_SERIES = 100
PAGE = 500
RULES = RemovalRules(limit=0.2, accepted=True)


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 40_000, 200_000])
    sizes = sorted(parser.parse_args().sizes)
    taken: dict[int, float] = {}
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="aperture-bench-", ignore_cleanup_errors=True) as home:
        database = Database(load_settings(home=home))
        try:
            for number, size in enumerate(sizes):
                library = ServerLibrary(f"shows-{number}", f"Shows {number}", "tvshows")
                sync(database, library, size, "old")
                taken[size], result = sync(database, library, size, "new")
                verdict.holds(
                    f"{size:,} episodes with new ids are recognised: {result.recognised:,} in {taken[size]:.1f} s",
                    result.recognised == size and result.counts.inserted == result.removed == 0,
                )
        finally:
            release_embedded_server(Path(home) / "postgres")
    if 40_000 in taken:
        verdict.most("40,000 episodes", taken[40_000], SECONDS_FOR_40_000, " s")
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
