"""Measure CPU and memory of every step of the reading jobs, beside the least that the same work takes.

    python benchmarks/performance.py [--full | --films 5000] [--only movies,tmdb_metadata]

A generated library with four episodes and ten plays for each film, one series for twenty, and 50 users is read from
stand-ins, enriched, embedded and ranked; then everything runs again without any change. Each asset has a process of its
own, and only the CPU of that process counts, not that of the database or the stand-ins. ``--full`` measures 5,000,
20,000 and 50,000 films, and how the CPU grows between them. Then one user alone gets a new list, as somebody who has
just joined, and the definitions are loaded, as each command and each run does. See docs/performance.md.

A generated library is described in a few hundred words, which a model knows by heart after a page. Before they are
embedded, titles therefore get the overviews and taglines of real films, if ``--data`` has them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from load import floors
from load.assets import materialize, silent
from load.figures import in_a_fork
from verdict import Verdict

from aperture_dagster.build import build_definitions
from aperture_dagster.cli import homes, stand_ins
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.postgres.queries import execute
from aperture_dagster.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"
SIZES = (5_000, 20_000, 50_000)
USERS, FILMS_PER_SERIES, EPISODES_PER_FILM, PLAYS_PER_FILM = 50, 20, 4, 10
# In the order of a new installation; the job by which each runs.
ASSETS = {
    "users": "sync_users",
    "movies": "sync_movies",
    "series": "sync_series",
    "episodes": "sync_series",
    "watch_history": "sync_watch_history",
    "tmdb_metadata": "enrich_metadata",
    "omdb_ratings": "enrich_metadata",
    "mdblist_scores": "enrich_mdblist",
    "enriched_metadata": "enrich_metadata",
    "embeddings": "generate_embeddings",
    "taste_profiles": "generate_recommendations",
    "recommendations": "generate_recommendations",
}
# Assets that are judged together, and the most that they may take, times their floor.
RATIOS = {
    "catalogue": (("movies", "series", "episodes"), 3.0),
    "history": (("watch_history",), 3.0),
    "TMDb": (("tmdb_metadata",), 2.0),
    "OMDb": (("omdb_ratings",), 2.0),
    "embeddings": (("embeddings",), 1.3),
}
ONE_USER = {"taste_profiles", "recommendations"}
PEAK_LIMIT_MB = 700
# One user's taste and list, two runs, at the largest size.
ONE_USER_SECONDS = 4.0
# Loading the definitions, times loading Dagster alone: with pandas, it would be more.
LOADING_LIMIT, LOADINGS = 2.0, 3
LOADING = """
import time
start = time.process_time()
import dagster
between = time.process_time()
import aperture_dagster.definitions
print(between - start, time.process_time() - between)
"""
# Ten times the films may take this much more CPU.
GROWTH_LIMIT = 11.0
# The first run and an unchanged second one at the largest size, times all floors together. An earlier version took
# 6.9 and 1.9: the limits are 40 % and 18 % of that.
FIRST_RUN_LIMIT, SECOND_RUN_LIMIT = 2.8, 0.35


@dataclass(slots=True)
class Figures:
    """CPU seconds of a first and an unchanged second run by asset, peak memory in MB, and floors in CPU seconds."""

    films: int
    first: dict[str, dict[str, float]] = field(default_factory=dict)
    second: dict[str, dict[str, float]] = field(default_factory=dict)
    one_user: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    overhead: float = 0.0
    """CPU seconds of a run with next to nothing to do."""

    def ratio(self, assets: Collection[str], *, without: float = 0.0) -> float | None:
        """Return the CPU of assets, times their floors; None if one of them was not measured.

        ``without``: CPU seconds of each run to leave out.
        """
        if not all(asset in self.first and asset in self.floors for asset in assets):
            return None
        cpu = sum(max(self.first[one]["cpu"] - without, 0.0) for one in assets)
        return cpu / sum(self.floors[one] for one in assets)

    def cpu(self, cycle: str) -> float:
        """Return the CPU seconds of a cycle: ``first``, ``second`` or ``one_user``."""
        return sum(of["cpu"] for of in getattr(self, cycle).values())

    def peak(self) -> float:
        """Return the largest peak memory of a process, in MB."""
        return max(of["peak_mb"] for cycle in (self.first, self.second) for of in cycle.values())


def main() -> int:
    """Measure each size, print the tables, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--films", type=int, default=SIZES[0], help="measure a library of this size only")
    size.add_argument("--full", action="store_true", help="measure all sizes")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz")
    parser.add_argument("--only", default=",".join(ASSETS), help="judge these assets only; those before them run, too")
    options = parser.parse_args()
    only = options.only.split(",")
    if unknown := set(only) - ASSETS.keys():
        parser.error(f"unknown assets: {', '.join(sorted(unknown))}")
    sizes = SIZES if options.full else (options.films,)
    verdict = Verdict()
    measured: list[Figures] = []
    for films in sizes:
        measured.append(measure(films, only, options.data))
        show(measured[-1])
        judge(verdict, measured[-1], complete=len(only) == len(ASSETS))
    if len(sizes) > 1:
        grown(verdict, measured)
    loading(verdict)
    return verdict.close()


def measure(films: int, only: Collection[str], data: Path) -> Figures:
    """Run all assets, up to the last of ``only``, twice on a library of this size, and measure the floors.

    ``data`` has the films whose descriptions the titles get.
    """
    stand_ins.START_SECONDS = 900
    last = max(map(list(ASSETS).index, only))
    chosen = dict(list(ASSETS.items())[: last + 1])
    figures = Figures(films)
    world = {
        "movies": films,
        "series": films // FILMS_PER_SERIES,
        "episodes": films * EPISODES_PER_FILM,
        "users": USERS,
        "plays": films * PLAYS_PER_FILM,
    }
    with (
        tempfile.TemporaryDirectory(prefix="aperture-performance-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as in_the_end,
    ):
        home = Path(folder) / "home"
        generated = "generated:" + ",".join(f"{name}={count}" for name, count in world.items())
        settings = homes.point_at(in_the_end.enter_context(stand_ins.StandIns(generated).running())[1], home)
        # Used from here until the end, so that no step starts or stops the database's server.
        in_the_end.callback(release_embedded_server, settings.home_path / "postgres")
        start_embedded_server(settings.home_path / "postgres")
        definitions = build_definitions(settings, loggers={"console": silent()})
        # As where the definitions of the product are loaded.
        gc.freeze()
        for cycle in (figures.first, figures.second):
            for asset, job in chosen.items():
                if asset == "embeddings" and cycle is figures.first:
                    # In a process of its own, since pandas would count as memory of the others.
                    in_a_fork(functools.partial(describe, settings, data))
                cycle[asset] = in_a_fork(functools.partial(materialize, definitions, settings, job, asset))
                progress(asset, cycle[asset]["cpu"])
                if cycle is figures.first and asset in only and any(asset in assets for assets, _ in RATIOS.values()):
                    figures.floors[asset] = in_a_fork(functools.partial(floors.measure, settings, asset))
                    progress(f"floor of {asset}", figures.floors[asset])
        for asset in ONE_USER & chosen.keys():
            work = functools.partial(materialize, definitions, settings, chosen[asset], asset, alone=True)
            figures.one_user[asset] = in_a_fork(work)
            progress(f"{asset} of one user", figures.one_user[asset]["cpu"])
    # 50 rows.
    figures.overhead = figures.first["users"]["cpu"]
    for cycle in (figures.first, figures.second):
        for asset in [asset for asset in cycle if asset not in only]:
            del cycle[asset]
    return figures


def describe(settings: Settings, data: Path) -> None:
    """Give the titles the overviews and taglines of the films in a folder, if there are any, one after the other."""
    if not (data / "movies.jsonl.gz").exists():
        print("  no real descriptions: embeddings are faster than in a real library", file=sys.stderr)
        return
    from aperture_dagster.taste.movielens import read_films

    films = read_films(data).reindex(columns=["overview", "tagline"]).dropna(subset=["overview"])
    texts = films.reset_index(drop=True).assign(place=lambda one: one.index).to_json(orient="records")
    engine = open_engine(settings)
    with engine.begin() as connection:
        statement = """
            UPDATE enriched_metadata e SET overview = t.overview, tagline = t.tagline
            FROM jsonb_to_recordset(CAST(:texts AS jsonb)) AS t (place int, overview text, tagline text)
            WHERE t.place = e.work_id % :count"""
        execute(connection, statement, texts=texts, count=len(films))
    engine.dispose()


def progress(what: str, cpu: float) -> None:
    """Say on standard error how far the benchmark is."""
    print(f"  {what}: {cpu:.2f} s", file=sys.stderr, flush=True)


def show(figures: Figures) -> None:
    """Print the table of a size."""
    print(
        f"\n{figures.films:,} films, {figures.films * EPISODES_PER_FILM:,} episodes, {USERS} users, "
        f"{figures.films * PLAYS_PER_FILM:,} plays"
    )
    print(f"{'':<20}{'CPU s':>9}{'floor s':>9}{'ratio':>7}{'peak MB':>9}{'rows':>11}{'requests':>10}{'again s':>9}")
    for asset, of in figures.first.items():
        floor, ratio = figures.floors.get(asset), figures.ratio([asset])
        print(
            f"{asset:<20}{of['cpu']:9.2f}{f'{floor:.2f}' if floor else '-':>9}{f'{ratio:.1f}' if ratio else '-':>7}"
            f"{max(of['peak_mb'], figures.second[asset]['peak_mb']):9.0f}{of['rows_written']:11,}{of['requests']:10,}"
            f"{figures.second[asset]['cpu']:9.2f}"
        )
    print(
        f"{'whole':<20}{figures.cpu('first'):9.1f}{'':>9}{'':>7}{figures.peak():9.0f}{'':>21}"
        f"{figures.cpu('second'):9.1f}",
        flush=True,
    )


def judge(verdict: Verdict, figures: Figures, *, complete: bool) -> None:
    """Compare the figures of a size with the limits; ``complete``: all assets were measured.

    A run of 50 rows takes a third of a second. In a small library that is more than the work, and is left out.
    """
    is_largest = figures.films >= SIZES[-1]
    overhead = 0.0 if is_largest else figures.overhead
    name = f"{figures.films:,} films"
    for group, (assets, limit) in RATIOS.items():
        ratio = figures.ratio(assets, without=overhead)
        if ratio is not None:
            verdict.most(f"{name}: {group}, times its floor", ratio, limit)
    verdict.most(f"{name}: peak memory", figures.peak(), PEAK_LIMIT_MB, " MB")
    verdict.most(f"{name}: rows written a second time", sum(of["rows_written"] for of in figures.second.values()), 0)
    if complete and is_largest:
        floor = sum(figures.floors.values())
        verdict.most(f"{name}: first run, times all floors", figures.cpu("first") / floor, FIRST_RUN_LIMIT)
        verdict.most(f"{name}: unchanged second run, times all floors", figures.cpu("second") / floor, SECOND_RUN_LIMIT)
        verdict.most(f"{name}: taste and list of one user", figures.cpu("one_user"), ONE_USER_SECONDS, " s of CPU")


def grown(verdict: Verdict, measured: list[Figures]) -> None:
    """Judge how all assets together grow from the smallest size to each larger one."""
    smallest = measured[0]
    for one in measured[1:]:
        times, limit = one.cpu("first") / smallest.cpu("first"), GROWTH_LIMIT * one.films / measured[-1].films
        verdict.most(f"CPU at {one.films:,} films, times that at {smallest.films:,}", times, limit)


def loading(verdict: Verdict) -> None:
    """Judge what loading the definitions costs; both are loaded in one process, and the least of several counts."""
    command = [sys.executable, "-c", LOADING]
    runs = [
        tuple(map(float, subprocess.run(command, check=True, capture_output=True, cwd=PROJECT).stdout.split()))
        for _ in range(LOADINGS)
    ]
    dagster, ours = (min(run[part] for run in runs) for part in (0, 1))
    verdict.most("loading the definitions, times loading Dagster", ours / dagster, LOADING_LIMIT)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
