"""Measure how long the whole graph takes on real histories, and check that a second run has nothing to do.

    python benchmarks/whole_run.py [--data FOLDER] [--users 50]

Runs ``aperture demo`` twice on the same home (9,742 films, 50 users by default), and prints seconds, rows written and
requests sent for each. Then it checks against the data set that every user has a full list of films that they have not
watched. The limit is three minutes of processor time of the demo: what somebody with a large library waits for on a
machine that does nothing else, and the same on one that is busy.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from verdict import Verdict, not_applicable

LIMIT_SECONDS = 180
PROJECT = Path(__file__).resolve().parents[1]
LISTED = 50


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    with tempfile.TemporaryDirectory(prefix="aperture-whole-run-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        first, *first_seconds = run(options, home, Path(folder) / "first.json")
        second, *second_seconds = run(options, home, Path(folder) / "second.json")
    for name, summary, (seconds, busy) in (("first", first, first_seconds), ("second", second, second_seconds)):
        print(
            f"{name} run: {seconds:.0f} s, {busy:.0f} s of processor time; "
            f"{sum(summary['rows_written'].values()):,} rows written; requests {summary['requests']}"
        )
        print("  " + ", ".join(f"{asset} {spent:.1f} s" for asset, spent in summary["seconds"].items()))
    full, watched = check_lists(options.data, first["recommendations"])
    verdict = Verdict()
    verdict.most("processor time of the first run", first_seconds[1], LIMIT_SECONDS, " s")
    verdict.most("rows that the second run writes", sum(second["rows_written"].values()), 0)
    verdict.most("requests that it sends to TMDb", second["requests"]["tmdb"], 0)
    verdict.least(f"users with {LISTED} films", full, options.users)
    verdict.most("films in the lists that their users had watched", watched, 0)
    return verdict.close()


def run(options: argparse.Namespace, home: Path, summary: Path) -> tuple[dict[str, Any], float, float]:
    """Run ``aperture demo``; return its summary, the elapsed seconds, and those of processor time."""
    command = [sys.executable, "-m", "aperture_dagster.cli.main", "demo", "--world", str(options.data)]
    command += ["--users", str(options.users), "--home", str(home), "--summary", str(summary)]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=PROJECT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(summary.read_text(encoding="utf-8")), time.monotonic() - started, busy


def check_lists(data: Path, lists: dict[str, list[dict[str, Any]]]) -> tuple[int, int]:
    """Return how many users have a full list of films, and how many listed films their users have watched."""
    with gzip.open(data / "movies.jsonl.gz", "rt", encoding="utf-8") as file:
        imdb = {film["movieId"]: film["imdbId"] for film in map(json.loads, file)}
    seen: dict[str, set[str]] = {}
    with gzip.open(data / "ratings.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seen.setdefault(row["userId"], set()).add(imdb[int(row["movieId"])])
    films = {user: [row["imdb_id"] for row in rows if row["media_type"] == "movie"] for user, rows in lists.items()}
    full = sum(len(set(listed)) == LISTED for listed in films.values())
    watched = sum(len(seen[user].intersection(listed)) for user, listed in films.items())
    return full, watched


if __name__ == "__main__":
    sys.exit(main())
