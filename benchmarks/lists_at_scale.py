"""Measure what tastes and lists cost in a large home: the first run, an unchanged second one, and a newcomer's.

    python benchmarks/lists_at_scale.py [--films 50000]

A library of 5,000 and of 50,000 films, with four episodes and ten plays for each film and 50 users, is written directly
into a new embedded database. Then the real assets run, each step in a process of its own: the merged view, tastes and
lists of everybody, all of them again without a change, and the first list of a user who has just joined. The CPU of the
process counts, without that of importing the definitions and of the database; the peak of its memory counts in full.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
SMALL, LARGE = 5_000, 50_000
USERS, FILMS_PER_SERIES, EPISODES_PER_FILM, PLAYS_PER_FILM = 50, 20, 4, 10
DIMENSIONS, CLUSTERS = 256, 200
MODEL = "generated-256"
NOW = datetime(2026, 5, 1, 4, tzinfo=UTC)
GENRES = ("Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy", "History",
          "Horror", "Music", "Mystery", "Romance", "Science Fiction", "Thriller", "War", "Western")  # fmt: skip
NEWCOMER = "newcomer"
# What runs in a process of its own: a name, the job, its assets, and the users it is for.
STEPS = {
    "merge": ("enrich_metadata", ("enriched_metadata",), None),
    "merge again": ("enrich_metadata", ("enriched_metadata",), None),
    "first": ("generate_recommendations", ("taste_profiles", "recommendations"), "everybody"),
    "unchanged": ("generate_recommendations", ("taste_profiles", "recommendations"), "everybody"),
    "newcomer": ("generate_recommendations", ("taste_profiles", "recommendations"), NEWCOMER),
}
FIRST_CPU, FIRST_MB = 15.0, 700.0
UNCHANGED_CPU = 5.0
NEWCOMER_CPU, NEWCOMER_MB = 3.0, 400.0
# Ten times the films may take this much more CPU.
GROWTH = 11.0


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, help="Measure one size only.")
    parser.add_argument("--home", type=Path, help="Keep the database there, and use it again if it is.")
    parser.add_argument("--step", choices=STEPS, help="Run one step in this process, and print JSON.")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(run_step(options.home, options.step)))
        return 0
    sizes = (options.films,) if options.films else (SMALL, LARGE)
    with tempfile.TemporaryDirectory(prefix="aperture-lists-", ignore_cleanup_errors=True) as folder:
        figures = {films: measure(options.home or Path(folder) / str(films), films) for films in sizes}
    return judge(figures)


def judge(figures: dict[int, dict[str, dict[str, float]]]) -> int:
    """Compare the figures by size with the limits; the sizes are those of ``--films`` or the usual two."""
    verdict = Verdict()
    size = max(figures)
    large = figures[size]
    print(f"{size:,} films, {size * EPISODES_PER_FILM:,} episodes, {USERS} users, {size * PLAYS_PER_FILM:,} plays:")
    verdict.most("tastes and lists of everybody", large["first"]["cpu"], FIRST_CPU, " s of CPU")
    verdict.most("their memory", large["first"]["peak_mb"], FIRST_MB, " MB")
    verdict.most("the same without a change", large["unchanged"]["cpu"], UNCHANGED_CPU, " s of CPU")
    verdict.most("rows that it writes", large["unchanged"]["written"], 0)
    verdict.most("a newcomer's first list", large["newcomer"]["cpu"], NEWCOMER_CPU, " s of CPU")
    verdict.most("its memory", large["newcomer"]["peak_mb"], NEWCOMER_MB, " MB")
    if len(figures) > 1:
        small = figures[min(figures)]
        verdict.most("CPU at ten times the films", large["first"]["cpu"] / small["first"]["cpu"], GROWTH, " times")
    return verdict.close()


def measure(home: Path, films: int) -> dict[str, dict[str, float]]:
    """Make a library of this many films, and run every step in a new process."""
    from aperture_dagster.postgres.embedded import release_embedded_server

    found = {}
    try:
        started = time.monotonic()
        generate(home, films)
        print(f"{films:,} films: written in {time.monotonic() - started:.0f} s", flush=True)
        for step in STEPS:
            found[step] = in_a_new_process(home, step)
            shown = ", ".join(f"{name} {value:,.1f}" for name, value in found[step].items())
            print(f"  {step:<12} {shown}", flush=True)
    finally:
        release_embedded_server(home / "postgres")
    return found


def in_a_new_process(home: Path, step: str) -> dict[str, float]:
    """Run a step in a new process; return its figures."""
    command = [sys.executable, __file__, "--home", str(home), "--step", step]
    # As installed: modules that a step loads are compiled once, and not in each process.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # This file loads numpy before the product, which would set it.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def run_step(home: Path, step: str) -> dict[str, float]:
    """Run a step in this process; return CPU seconds, peak memory in MB and rows written."""
    import dagster as dg
    from load.assets import silent

    from aperture_dagster.build import build_definitions
    from aperture_dagster.model.clock import Clock
    from aperture_dagster.partitions import USERS as PARTITIONS
    from aperture_dagster.partitions import range_tags
    from aperture_dagster.settings import load_settings

    definitions = build_definitions(load_settings(home=home), clock=Clock(lambda: NOW), loggers={"console": silent()})
    job, assets, users = STEPS[step]
    keys = [NEWCOMER] if users == NEWCOMER else [partition(number) for number in range(USERS)]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS, [*(partition(number) for number in range(USERS)), NEWCOMER])
        selected = [dg.AssetKey(asset) for asset in assets]
        before = time.process_time()
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags=range_tags(keys[0], keys[-1]) if users else {},
            asset_selection=selected,
            run_config={"loggers": {"console": {}}},
        )
        cpu = time.process_time() - before
        assert result.success
        records = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        made = [record.asset_materialization for record in records if record.asset_materialization]
        written = [one.metadata["rows_written"].value for one in made if "rows_written" in one.metadata]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "cpu": round(cpu, 2),
        "peak_mb": round(peak / 1024 / 1024),
        "written": sum(int(str(rows)) for rows in written),
    }


def partition(number: int) -> str:
    """Return the partition of a user."""
    return f"user-{number:02}"


def generate(home: Path, films: int) -> None:
    """Write a library, its metadata and vectors, and the histories of the users, unless they are there."""
    from aperture_dagster.postgres.bulk import copy_rows
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.postgres.queries import execute, read_value
    from aperture_dagster.settings import load_settings

    chance = np.random.default_rng(1)
    series = films // FILMS_PER_SERIES
    works = films + series
    kinds = ["movie"] * films + ["series"] * series
    with Database(load_settings(home=home)).transaction() as connection:
        if read_value(connection, "SELECT count(*) FROM works"):
            return

        def fill(table: str, columns: str, rows: Iterator[Sequence[Any]]) -> None:
            copy_rows(connection, table, columns.split(), rows)

        fill("libraries", "library_id name collection_type", iter([("m", "Films", "movies"), ("s", "TV", "tvshows")]))
        fill("works", "work_id media_type tmdb_id", ((n + 1, kind, n + 1) for n, kind in enumerate(kinds)))
        fill(
            "titles",
            "item_id work_id media_type server_item_id library_id title year genres tags studios official_rating "
            "community_rating path tmdb_id",
            (
                (n + 1, n + 1, kind, f"t{n}", kind[0], f"Title {n}", 1950 + n % 75, ["Drama"], [], [],
                 ("PG", "R", "PG-13")[n % 3], 6.5, f"/media/{n}", n + 1)
                for n, kind in enumerate(kinds)
            ),
        )  # fmt: skip
        per_series = films * EPISODES_PER_FILM // series
        episodes = [(films + s + 1, number) for s in range(series) for number in range(per_series)]
        fill(
            "episodes",
            "item_id series_item_id work_id server_item_id library_id season number title",
            (
                (works + n + 1, work, work, f"e{n}", "s", 1 + number // 10, 1 + number % 10, f"Episode {number}")
                for n, (work, number) in enumerate(episodes)
            ),
        )
        fill("tmdb_metadata", TMDB_COLUMNS, tmdb_rows(chance, works, films))
        execute(
            connection,
            "INSERT INTO omdb_ratings (work_id, imdb_id, imdb_rating, imdb_votes, awards) "
            "SELECT work_id, 'tt' || work_id, 6.1, 1000 + work_id, '3 wins' FROM works",
        )
        execute(connection, "INSERT INTO embedding_models VALUES (:key, :size, now(), now())", key=MODEL,
                size=DIMENSIONS)  # fmt: skip
        write_vectors(connection, chance, works)
        fill(
            "users",
            "user_id partition_key name is_administrator is_hidden is_disabled max_parental_rating all_libraries "
            "library_ids blocked_tags allowed_tags open_library_ids excluded_folders",
            (
                (key, key, key.title(), False, False, False, 13 if key.endswith("9") else None,
                 not key.endswith("8"), ["m", "s"], [], [], [], [])
                for key in [*map(partition, range(USERS)), NEWCOMER]
            ),
        )  # fmt: skip
        fill("watch_state", STATE_COLUMNS, states(chance, films, works, episodes))
        fill(
            "ratings",
            "user_id source work_id item_id rating rated_at",
            (
                (partition(user), "own", int(work), 0, float(chance.integers(2, 11)), NOW)
                for user in range(USERS)
                for work in np.unique(chance.integers(1, films + 1, films // 250))
            ),
        )
        connection.exec_driver_sql("ANALYZE")


TMDB_COLUMNS = (
    "work_id tmdb_id title overview genres keywords cast directors creators writers composers cinematographers "
    "companies networks countries languages vote_average vote_count popularity recommended_tmdb_ids similar_tmdb_ids"
)
STATE_COLUMNS = "user_id item_id work_id is_episode played play_count position_share last_played_at favorite"


def tmdb_rows(chance: np.random.Generator, works: int, films: int) -> Iterator[Sequence[Any]]:
    """Yield what TMDb says of each title; names recur as often as real ones, a few on many titles."""

    def names(prefix: str, many: int, count: int) -> list[str]:
        found = dict.fromkeys(f"{prefix} {int(many * place**3)}" for place in chance.random(count))
        return list(found)

    genre_numbers = chance.integers(0, len(GENRES), (works, 3))
    near = chance.integers(-400, 400, (works, 20))
    votes, average = np.exp(chance.normal(5, 2, works)).astype(int), chance.normal(6.4, 1, works).clip(1, 10)
    for n in range(works):
        genres = [GENRES[one] for one in dict.fromkeys(genre_numbers[n].tolist())]
        cast = json.dumps([{"name": name, "character": ""} for name in names("Actor", works, 12)])
        companies = json.dumps([{"id": 1, "name": name, "logo_path": None} for name in names("Studio", works // 10, 2)])
        low, high = (0, films) if n < films else (films, works)
        others = [int(one) + 1 for one in (n + near[n]) if low <= one < high and one != n]
        yield (
            n + 1, n + 1, f"Title {n}", f"About {n}", genres, names("keyword", works // 4, 8), cast,
            names("Director", works // 3, 1), [], [], [], [], companies, "[]", ["US"], ["en"],
            round(float(average[n]), 1), int(votes[n]), float(votes[n]) / 100, others, [],
        )  # fmt: skip


def write_vectors(connection: Any, chance: np.random.Generator, works: int) -> None:
    """Write vectors in clusters, with a large common direction."""
    from aperture_dagster.taste.vectors import write_vectors as write

    centres = chance.normal(size=(CLUSTERS, DIMENSIONS)) + 1.5
    batch = 5_000
    for start in range(0, works, batch):
        ids = np.arange(start + 1, min(start + batch, works) + 1)
        vectors = centres[ids % CLUSTERS] + chance.normal(size=(len(ids), DIMENSIONS))
        write(connection, MODEL, ids.tolist(), [f"hash {one}" for one in ids], vectors.astype(np.float32))


def states(
    chance: np.random.Generator, films: int, works: int, episodes: Sequence[tuple[int, int]]
) -> Iterator[Sequence[Any]]:
    """Yield the states of all users, and five of the newcomer.

    Three of five are of episodes, one series after the other. A few users watch most, as in the stand-ins' worlds.
    """
    active = chance.pareto(1.2, USERS) + 1
    for user, plays in enumerate(chance.multinomial(films * PLAYS_PER_FILM, active / active.sum())):
        days = timedelta(days=int(chance.integers(0, 200)))
        # Of the films, half are like others of the user, and half are what everybody watches.
        like = chance.integers(0, films // CLUSTERS, plays // 5) * CLUSTERS + chance.integers(0, 10, plays // 5) * 7
        popular = (films * chance.random(plays // 5) ** 3).astype(int)
        seen = np.unique(np.concatenate([(like + user) % films, popular]))
        for n in seen.tolist():
            moment = NOW - days - timedelta(minutes=int(chance.exponential(200_000)))
            yield partition(user), n + 1, n + 1, False, True, 1, 1.0, moment, n % 97 == 0
        start = int(chance.integers(0, len(episodes)))
        for place in range(min(int(plays * 3 // 5), len(episodes))):
            n = (start + place) % len(episodes)
            moment = NOW - days - timedelta(minutes=int(place))
            yield partition(user), works + n + 1, episodes[n][0], True, True, 1, 1.0, moment, False
    for n in range(0, 50, 10):
        yield NEWCOMER, n + 1, n + 1, False, True, 1, 1.0, NOW - timedelta(days=n), False


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
