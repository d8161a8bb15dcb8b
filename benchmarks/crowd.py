"""What a crowd of any size costs: once, when its table is made, and in every run after that.

The published data cannot be shipped, so crowds of several sizes are generated, always the same: archives as GroupLens
publishes them, as skewed as theirs (half of the people rated fewer than 75 films, and a film at place k is rated about
1 / k as often as the first). The table is used for the lists of ten people with a library of 5,000 of the films. Each
part runs in a process of its own, which is given the same library and histories:

- none: the lists are made without a crowd;
- build: the archive is read, the table fitted and written;
- use: the table is read, the lists are made.

    python benchmarks/crowd.py [--people 5000 20000 200000]

Figures are CPU seconds and peak memory (RSS). What a run costs more than one without a crowd has a limit.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from load.figures import in_a_fork, measured
from verdict import Verdict

from aperture_dagster.taste.crowd_table import build_table, read_table, write_table
from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.recommend import prepare

FILMS, OWNED, DIMENSIONS, HOUSEHOLD = 20_000, 5_000, 256, 10
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = {"CPU": 300.0, "memory": 700.0, "later CPU": 2.0, "later memory": 500.0, "file": 2.5}
ARCHIVE = "crowd.zip"
TABLE = "crowd.npz"


def write_crowd(folder: Path, people: int) -> int:
    """Write an archive in MovieLens format, and return the number of ratings.

    People have a taste, one of forty regions of the films; well-known films are watched by everybody.
    """
    random = np.random.default_rng(7)
    count = 0
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("ml/ratings.csv", "w") as file:
            for first in range(0, people, 5_000):
                some = ratings_of(random, first, min(5_000, people - first))
                file.write(some.to_csv(index=False, header=first == 0).encode())
                count += len(some)
        ids = np.arange(1, FILMS + 1)
        links = pd.DataFrame({"movieId": ids, "imdbId": ids + 100_000, "tmdbId": ids}).to_csv(index=False)
        archive.writestr("ml/links.csv", links)
    return count


def ratings_of(random: np.random.Generator, first: int, people: int) -> pd.DataFrame:
    """Return the ratings of some people, whose userIds follow ``first``."""
    sizes = np.clip(random.lognormal(4.25, 1.2, people), 20, 5_000).astype(int)
    user = np.repeat(np.arange(1, people + 1) + first, sizes)
    taste = np.repeat(random.integers(0, 40, people), sizes)
    # Zipf: the film at place k is watched about 1 / k as often; tastes start counting elsewhere.
    place = np.minimum(np.exp(random.random(len(user)) * np.log(FILMS)).astype(int), FILMS - 1)
    own = random.random(len(user)) < 0.6
    film = np.where(own, (place + taste * (FILMS // 40)) % FILMS, place) + 1
    rating = np.clip(np.round(random.normal(3.5 + 0.5 * own, 1.0) * 2) / 2, 0.5, 5.0)
    second = np.repeat(random.integers(800_000_000, 1_700_000_000, people), sizes)
    table = pd.DataFrame({"userId": user, "movieId": film, "rating": rating, "timestamp": second})
    return table.drop_duplicates(["userId", "movieId"])


def make_lists(table: Path | None) -> int:
    """Make the lists of the household, with a crowd's table if there is one; return the number of titles."""
    random = np.random.default_rng(3)
    owned = np.sort(random.permutation(FILMS)[:OWNED]) + 1
    items = pd.DataFrame(
        {
            "work_id": owned, "tmdb_id": owned.astype(float), "imdb_id": None, "media_type": "movie",
            "year": random.integers(1950, 2026, OWNED), "vote_count": random.integers(10, 9_000, OWNED),
            "vote_average": random.normal(6.5, 1.0, OWNED),
        }
    )  # fmt: skip
    works = random.choice(owned, (HOUSEHOLD, 120))
    histories = pd.DataFrame(
        {"user_id": np.repeat(np.arange(HOUSEHOLD), 120), "work_id": works.ravel(), "plays": 1, "completion": 1.0}
    )
    vectors = random.normal(size=(OWNED, DIMENSIONS)).astype(np.float32)
    crowd = read_table(table).on(items) if table else None
    inputs = RankingInputs(items=items, histories=histories, as_of=NOW, vectors=vectors, crowd=crowd)
    model = prepare(inputs, RankingConfig())
    return sum(len(model.for_user(user)) for user in model.people.users)


def measure(part: str, folder: Path) -> tuple[float, float]:
    """Do one part in this process; return its CPU seconds and its peak memory (MB)."""
    with measured() as used:
        if part == "build":
            write_table(folder / TABLE, build_table(folder / ARCHIVE))
        else:
            assert make_lists(None if part == "none" else folder / TABLE)
    return used.cpu, used.peak_mb


def measure_crowd(verdict: Verdict, people: int) -> None:
    """Print the figures of a crowd, and judge them."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def apart(part: str) -> tuple[float, float]:
            return in_a_fork(functools.partial(measure, part, folder))

        # Apart as well, or its memory would count as that of the others.
        ratings = in_a_fork(functools.partial(write_crowd, folder, people))
        print(f"\n{people:,} people, {ratings:,} ratings of {FILMS:,} films; a library of {OWNED:,}", flush=True)
        built, built_memory = apart("build")
        size = (folder / TABLE).stat().st_size / 1e6
        header = read_table(folder / TABLE).header
        # The smallest of three, since other programs run here, too.
        used, used_memory = min(apart("use") for _ in range(3))
        none, _ = min(apart("none") for _ in range(3))
    name = f"{people:,} people"
    print(f"the table is made from {header.people:,} of {header.people_read:,} people")
    verdict.most(f"{name}: making the table, CPU", built, LIMITS["CPU"], " s")
    verdict.most(f"{name}: making the table, peak memory", built_memory, LIMITS["memory"], " MB")
    verdict.most(f"{name}: a run, more CPU than with no crowd", used - none, LIMITS["later CPU"], " s")
    verdict.most(f"{name}: a run, peak memory", used_memory, LIMITS["later memory"], " MB")
    verdict.most(f"{name}: size of the table", size, LIMITS["file"], " MB")


def main() -> int:
    """Run the benchmark, print its figures, and return 0 if all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[5_000, 20_000, 200_000], help="sizes of the crowds")
    options = parser.parse_args()
    verdict = Verdict()
    for people in options.people:
        measure_crowd(verdict, people)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
