"""What a crowd of any size costs: once, when its table is made, and in every run after that.

A synthetic crowd of 20,000 people (about 2.4 million ratings, generated in seconds, always the same) is used for the
lists of ten people with a library of 5,000 of its films. Each part runs in a process of its own, which is given the
same library and histories:

- none: the lists are made without a crowd;
- build: the folder is read, the table fitted and written;
- use: the table is read, the lists are made.

    python benchmarks/crowd.py [--people 20000]

Figures are CPU seconds and peak memory (RSS). What a run costs more than one without a crowd has a limit.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
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
LIMITS = {"CPU": 60.0, "memory": 1_000.0, "later CPU": 2.0, "later memory": 500.0, "file": 2.5}
TABLE = "crowd.npz"


def write_crowd(folder: Path, people: int) -> int:
    """Write a folder in MovieLens format, and return the number of ratings.

    People have a taste, one of forty regions of the films; well-known films are watched by everybody.
    """
    random = np.random.default_rng(7)
    sizes = np.clip(random.lognormal(4.3, 0.9, people), 20, 2_000).astype(int)
    user = np.repeat(np.arange(1, people + 1), sizes)
    taste = np.repeat(random.integers(0, 40, people), sizes)
    # Zipf: the film at place k is watched about 1 / k as often; tastes start counting elsewhere.
    place = np.minimum(np.exp(random.random(len(user)) * np.log(FILMS)).astype(int), FILMS - 1)
    own = random.random(len(user)) < 0.6
    film = np.where(own, (place + taste * (FILMS // 40)) % FILMS, place) + 1
    rating = np.clip(np.round(random.normal(3.5 + 0.5 * own, 1.0) * 2) / 2, 0.5, 5.0)
    table = pd.DataFrame({"userId": user, "movieId": film, "rating": rating, "timestamp": 1_500_000_000})
    table = table.drop_duplicates(["userId", "movieId"])
    table.to_csv(folder / "ratings.csv", index=False)
    ids = np.arange(1, FILMS + 1)
    pd.DataFrame({"movieId": ids, "imdbId": ids + 100_000, "tmdbId": ids}).to_csv(folder / "links.csv", index=False)
    return len(table)


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
            write_table(folder / TABLE, build_table(folder))
        else:
            assert make_lists(None if part == "none" else folder / TABLE)
    return used.cpu, used.peak_mb


def main() -> int:
    """Run the benchmark, print its figures, and return 0 if all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20_000, help="size of the crowd")
    options = parser.parse_args()
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def apart(part: str) -> tuple[float, float]:
            return in_a_fork(functools.partial(measure, part, folder))

        # Apart as well, or its memory would count as that of the others.
        ratings = in_a_fork(functools.partial(write_crowd, folder, options.people))
        print(f"{options.people:,} people, {ratings:,} ratings of {FILMS:,} films; a library of {OWNED:,}", flush=True)
        built, built_memory = apart("build")
        size = (folder / TABLE).stat().st_size / 1e6
        # The smallest of three, since other programs run here, too.
        used, used_memory = min(apart("use") for _ in range(3))
        none, none_memory = min(apart("none") for _ in range(3))
    verdict.most("making the table, CPU", built, LIMITS["CPU"], " s")
    verdict.most("making the table, peak memory", built_memory, LIMITS["memory"], " MB")
    verdict.most("a run, more CPU than with no crowd", used - none, LIMITS["later CPU"], " s")
    verdict.most("a run, peak memory", used_memory, LIMITS["later memory"], " MB")
    verdict.most("size of the table", size, LIMITS["file"], " MB")
    print(f"no crowd: {none:.2f} s, {none_memory:.0f} MB; with a crowd {used:.2f} s, {used / none:.2f} times as much")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
