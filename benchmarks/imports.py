"""Measure what an imported history is worth to somebody who is new, and what a hostile file costs.

Users 201-400 are new to their media server: their first five titles are known there. Each of them brings what they
watched and rated before as an export of Letterboxd, which names titles and years and no ids; it is read and matched by
the product. Lists with and without it are judged by what was held out, as in ``recommendation_quality.py``. In the
second library, every other film is missing.

Memory is that of a process which reads a ZIP file of 3 MB with the longest texts that a record may have.

    python benchmarks/imports.py [--data ../shared/data]

Fails when lists with an import are not clearly better, when fewer than nine of ten rows name their title, or when
reading takes more than 200 MB.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from protocol import CONFIG, DATA, SERVER, embed, read_folder
from verdict import Verdict, not_applicable

from aperture_dagster.catalogue.history_import.files import read_history_file
from aperture_dagster.catalogue.history_import.matching import Titles
from aperture_dagster.catalogue.history_import.rows import PastRow
from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.taste.ranking.evaluation import LIKED, World, intervals, judge, rank_household, world_of
from aperture_dagster.taste.ranking.histories import rows_where
from aperture_dagster.taste.ranking.library import library_of

FIRST_TITLES = 5
MOST_MEGABYTES = 200.0
LEAST_RATIO, LEAST_MATCHED = 1.05, 0.9
HEADINGS = ("Date", "Name", "Year", "Letterboxd URI", "Rating", "Watched Date")
ZONE = ZoneInfo("UTC")
CHILD = """
import sys
from pathlib import Path
from zoneinfo import ZoneInfo
from aperture_dagster.catalogue.history_import.files import read_history_file
from aperture_dagster.model.errors import OperatorError
from verdict import peak_memory
batch = []
try:
    for row in read_history_file(Path(sys.argv[1]), ZoneInfo("UTC")):
        batch = [*batch[-1_000:], row]
except OperatorError:
    pass
print(peak_memory())
"""


def export_of(films: pd.DataFrame, history: pd.DataFrame, folder: Path) -> Path:
    """Write what a user watched as an export of Letterboxd."""
    content = io.StringIO()
    table = csv.writer(content)
    table.writerow(HEADINGS)
    for work_id, played_at, rating in history[["work_id", "last_played_at", "rating"]].itertuples(
        index=False, name=None
    ):
        film, day = films.loc[work_id], pd.Timestamp(str(played_at)).date().isoformat()
        year = "" if pd.isna(film["year"]) else int(film["year"])
        table.writerow([day, film["title"], year, "", np.ceil(float(str(rating))) / 2, day])
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("diary.csv", content.getvalue())
    return path


def titles_of(items: pd.DataFrame) -> Titles:
    """Return the titles of a library, as the product looks them up."""
    known = [
        KnownTitle(
            int(row["work_id"]), "movie", row["title"], None, ProviderIds(), True, frozenset({row["title"]}),
            frozenset() if pd.isna(row["year"]) else frozenset({int(row["year"])}),
        )
        for row in items.to_dict("records")
    ]  # fmt: skip
    return Titles(known, {}, lambda _: (), {})


def imported(path: Path, titles: Titles, user: Any) -> tuple[list[dict[str, Any]], int]:
    """Return a user's file as rows of a history, and how many rows it has."""
    found, count = [], 0
    for row in read_history_file(path, ZONE):
        count += 1
        if isinstance(row, PastRow) and isinstance(title := titles.match(row, {}), KnownTitle):
            found.append({"user_id": user, "work_id": title.work_id, "rating": row.rating, "last_played_at": row.at})
    return found, count


def compare(name: str, world: World, films: pd.DataFrame, earlier: pd.DataFrame, verdict: Verdict) -> None:
    """Judge lists of newcomers with and without imports; ``earlier``: all that they watched before."""
    users = [user for user in world.users if user in SERVER.users]
    place = np.asarray(world.training.sort_values("last_played_at").groupby("user_id", sort=False).cumcount())
    first = rows_where(world.training.sort_values("last_played_at"), place < FIRST_TITLES)
    titles, rows, count, began = titles_of(world.items), list[dict[str, Any]](), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for user in users:
            own = rows_where(earlier, earlier["user_id"] == user)
            more, read = imported(export_of(films, own, Path(folder)), titles, user)
            rows, count = rows + more, count + read
    seconds = time.monotonic() - began
    brought = pd.DataFrame(rows).assign(plays=1.0, completion=1.0)
    brought["last_played_at"] = pd.to_datetime(brought["last_played_at"], utc=True)
    together = pd.concat([first, brought], ignore_index=True).drop_duplicates(["user_id", "work_id"], keep="last")
    alone = replace(CONFIG)
    results = {}
    for what, known in (("without", first), ("with", together)):
        some = replace(world, edges=None, training=known)
        lists = {user: rank_household(some, [user], alone)[user] for user in users}
        results[what] = judge(some, lists, users)
    (low, high), (least, most) = intervals(results["with"], results["without"])
    ratio = results["with"].ndcg / results["without"].ndcg
    print(
        f"{name}: {len(users)} users, {count:,} rows read in {seconds:.1f} s; "
        f"NDCG@10 without {results['without'].ndcg:.4f}, "
        f"with {results['with'].ndcg:.4f} [{low:.4f}, {high:.4f}], {ratio:.2f}x [{least:.2f}, {most:.2f}]",
        flush=True,
    )
    here = set(world.items["work_id"])
    named = sum(earlier["user_id"].isin(users) & earlier["work_id"].isin(list(here)))
    verdict.least(f"{name}: rows that name their title", len(rows) / max(named, 1), LEAST_MATCHED)
    verdict.least(f"{name}: NDCG@10 with imports to without", ratio, LEAST_RATIO)


def hostile(folder: Path) -> Path:
    """Write a small ZIP file whose texts are as long as they may be."""
    path = folder / "history.zip"
    title = "\U0001d538" * 45_000
    record = '{"watched_at":"2024-03-06T20:00:00Z","movie":{"title":"%s","ids":{}}},' % title  # noqa: UP031 - braces
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("history-1.json", "w") as file:
        file.write(b"[")
        for _ in range(1_400):
            file.write(record.encode())
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return 0 if everything holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        return not_applicable(f"there is no data in {options.data}")
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CHILD, str(hostile(Path(folder)))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
        verdict.most("peak memory of reading a hostile file", float(done.stdout), MOST_MEGABYTES, " MB")
    items, histories = read_folder(options.data)
    vectors = embed(items)
    films = items.set_index("work_id")
    for name, keep in (
        ("whole library", np.ones(len(items), bool)),
        ("every other film", np.arange(len(items)) % 2 == 0),
    ):
        some = rows_where(items, keep).reset_index(drop=True)
        liked = histories["rating"].to_numpy(dtype=np.float64) >= LIKED
        years = some["year"].to_numpy(dtype=np.float64)
        library = library_of(some, vectors[keep])
        world = world_of(some, library, histories, liked, lambda _user, _known, last, years=years: years > last.year)
        last = pd.Series([world.last_known.get(user, pd.NaT) for user in histories["user_id"]], index=histories.index)
        compare(name, world, films, rows_where(histories, histories["last_played_at"] <= last), verdict)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
