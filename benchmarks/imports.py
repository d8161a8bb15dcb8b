"""Measure what imported histories are worth to somebody who is new, and what a hostile file costs.

Users 201-400 are new to their media server: their first five titles are known there. Each of them brings what they
watched and rated before as a file, which is read and matched by the product. Lists with and without it are judged by
what was held out, as in ``recommendation_quality.py``.

First each of them lives alone and brings an export of Letterboxd, which names titles and years and no ids; in the
second library, every other film is missing. Then they live in households of four, whose histories come as four kinds
of file out of five: a ZIP file of Letterboxd, a table of IMDb, one of Netflix, which has names alone, and JSON of Simkl
and of Trakt. Members answer what the product asks. The lists of one household are printed.

Memory is that of a process which reads a ZIP file of 3 MB with the longest texts that a record may have.

    python benchmarks/imports.py [--data ../shared/data]

Fails when lists with an import are not clearly better for a household, or not better for those who bring one kind of
file, when fewer than nine of ten rows name their title, when a list holds what its user has seen, or when reading takes
more than 200 MB.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from protocol import CONFIG, DATA, SERVER, embed, households_of, paired, read_folder
from verdict import Verdict, not_applicable

from aperture_dagster.catalogue.history_import.columns import Reading
from aperture_dagster.catalogue.history_import.files import read_history_file, survey_file
from aperture_dagster.catalogue.history_import.matching import Titles, Unclear
from aperture_dagster.catalogue.history_import.rows import PastRow
from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.taste.ranking.evaluation import (
    FIRST,
    LIKED,
    Lists,
    World,
    intervals,
    judge,
    rank_household,
    world_of,
)
from aperture_dagster.taste.ranking.histories import rows_where
from aperture_dagster.taste.ranking.library import library_of

FIRST_TITLES = 5
MOST_MEGABYTES = 200.0
LEAST_RATIO, LEAST_MATCHED = 1.05, 0.9
LEAST_GAIN = 0.01
"""Of NDCG@10, at the lower end of its interval."""
MOST_SEEN = 0.05
"""Titles among the first ten of a list that its user has seen: a title may have a namesake of the same year."""
MEMBERS, SHOWN = 4, 5
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


# Files, from what a user watched: one row a film, with its ids, its title and year, the day and a rating from 1 to 10.


def export_letterboxd(seen: pd.DataFrame, path: Path) -> None:
    """Write an export of Letterboxd: names and years without ids, ratings in half stars."""
    headings = ("Date", "Name", "Year", "Letterboxd URI", "Rating", "Watched Date")
    rows = [(film.day, film.title, film.year, "", film.rating / 2, film.day) for film in _rows(seen)]
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("diary.csv", _table(headings, rows))


def export_imdb(seen: pd.DataFrame, path: Path) -> None:
    """Write the ratings of IMDb: its own ids, and the day of the rating."""
    headings = ("Const", "Your Rating", "Date Rated", "Title", "Title Type", "Year")
    rows = [(film.imdb, film.rating, film.day, film.title, "Movie", film.year) for film in _rows(seen)]
    path.with_suffix(".csv").write_text(_table(headings, rows), encoding="utf-8")


def export_netflix(seen: pd.DataFrame, path: Path) -> None:
    """Write the viewing activity of Netflix: names without years, days as in the United States, and no ratings."""
    days = [date.fromisoformat(film.day) for film in _rows(seen)]
    rows = [(film.title, f"{day.month}/{day.day}/{day:%y}") for film, day in zip(_rows(seen), days, strict=True)]
    path.with_suffix(".csv").write_text(_table(("Title", "Date"), rows), encoding="utf-8")


def export_simkl(seen: pd.DataFrame, path: Path) -> None:
    """Write a backup of Simkl."""
    films = [
        {"last_watched_at": f"{film.day}T20:00:00Z", "user_rating": film.rating, "status": "completed",
         "movie": {"title": film.title, "year": film.year or None, "ids": _ids(film)}}
        for film in _rows(seen)
    ]  # fmt: skip
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SimklBackup.json", json.dumps({"movies": films, "shows": []}))


def export_trakt(seen: pd.DataFrame, path: Path) -> None:
    """Write an export of Trakt: plays and ratings are files of their own."""
    titles = [{"title": film.title, "year": film.year or None, "ids": _ids(film)} for film in _rows(seen)]
    films = [(film, {"type": "movie", "movie": title}) for film, title in zip(_rows(seen), titles, strict=True)]
    plays = [{"watched_at": f"{film.day}T20:00:00.000Z", **title} for film, title in films]
    ratings = [{"rated_at": f"{film.day}T20:00:00.000Z", "rating": film.rating, **title} for film, title in films]
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("watched-history-1.json", json.dumps(plays))
        archive.writestr("ratings-movies.json", json.dumps(ratings))


EXPORTS: Mapping[str, Callable[[pd.DataFrame, Path], None]] = {
    "Letterboxd": export_letterboxd, "IMDb": export_imdb, "Netflix": export_netflix, "Simkl": export_simkl,
    "Trakt": export_trakt,
}  # fmt: skip


def _rows(seen: pd.DataFrame) -> list[Any]:
    return list(seen.itertuples(index=False))


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    content = io.StringIO()
    csv.writer(content).writerows([headings, *rows])
    return content.getvalue()


def _ids(film: Any) -> dict[str, Any]:
    return {name: value for name, value in (("imdb", film.imdb), ("tmdb", film.tmdb)) if value}


def export(kind: str, films: pd.DataFrame, history: pd.DataFrame, folder: Path) -> Path:
    """Write what a user watched as a file of a kind, and return its path."""
    known = films.loc[history["work_id"]]
    seen = pd.DataFrame(
        {
            "title": known["title"].to_numpy(),
            "year": ["" if pd.isna(year) else int(year) for year in known["year"]],
            "imdb": known["imdbId"].to_numpy(),
            "tmdb": [None if pd.isna(number) else int(number) for number in known["tmdbId"]],
            "day": [day.date().isoformat() for day in history["last_played_at"]],
            # Those of the data are even.
            "rating": np.maximum(np.ceil(history["rating"].to_numpy()), 1).astype(int),
        }
    )
    folder.mkdir()
    EXPORTS[kind](seen, folder / "export")
    return next(folder.iterdir())


def titles_of(items: pd.DataFrame) -> Titles:
    """Return the titles of a library, as the product looks them up."""
    known = [
        KnownTitle(
            int(row["work_id"]), "movie", row["title"], None,
            ProviderIds(None if pd.isna(row["tmdbId"]) else int(row["tmdbId"]), row["imdbId"]), True,
            frozenset({row["title"]}), frozenset() if pd.isna(row["year"]) else frozenset({int(row["year"])}),
        )
        for row in items.to_dict("records")
    ]  # fmt: skip
    return Titles(known, {}, lambda _: (), {})


@dataclass
class Imported:
    """What the files of some users said.

    Attributes:
        rows: rows of a history.
        files: how many rows the files have.
        asked: names that were shown to a member to decide.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    files: int = 0
    asked: int = 0

    def read(self, path: Path, titles: Titles, user: Any, seen: Collection[int]) -> int:
        """Read a user's file, and return how many of the titles in it were found; they know what they have ``seen``."""
        found: dict[int, dict[str, Any]] = {}
        # Where no day is above the 12th, a member is asked about the dates, too.
        reading = Reading(dates=survey_file(path).dates or "mdy")
        for row in read_history_file(path, ZONE, reading):
            self.files += 1
            match = titles.match(row, {}) if isinstance(row, PastRow) else None
            if isinstance(match, Unclear):
                self.asked += 1
                match = next((title for title in match.candidates if title.work_id in seen), None)
            if isinstance(row, PastRow) and isinstance(match, KnownTitle):
                known = found.setdefault(match.work_id, {"rating": None, "last_played_at": row.at})
                known["rating"] = row.rating or known["rating"]
        self.rows += [{"user_id": user, "work_id": work, **said} for work, said in found.items()]
        return len(found)

    def together_with(self, first: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as a history, after the titles that were known before."""
        brought = pd.DataFrame(self.rows).assign(plays=1.0, completion=1.0)
        brought["last_played_at"] = pd.to_datetime(brought["last_played_at"], utc=True)
        brought["rating"] = brought["rating"].astype(float)
        return pd.concat([first, brought], ignore_index=True).drop_duplicates(["user_id", "work_id"], keep="last")


def first_titles(world: World) -> pd.DataFrame:
    """Return the first titles of everybody's history."""
    ordered = world.training.sort_values("last_played_at", kind="stable")
    return rows_where(ordered, np.asarray(ordered.groupby("user_id", sort=False).cumcount()) < FIRST_TITLES)


def compare(name: str, world: World, films: pd.DataFrame, earlier: pd.DataFrame, verdict: Verdict) -> None:
    """Judge lists of newcomers with and without imports; ``earlier``: all that they watched before."""
    users = [user for user in world.users if user in SERVER.users]
    first, titles, brought, began = first_titles(world), titles_of(world.items), Imported(), time.monotonic()
    here = set(world.items["work_id"])
    named = found = 0
    with tempfile.TemporaryDirectory() as folder:
        for user in users:
            own = rows_where(earlier, earlier["user_id"] == user)
            named += len(here.intersection(own["work_id"]))
            path = export("Letterboxd", films, own, Path(folder) / str(user))
            found += brought.read(path, titles, user, set(own["work_id"]))
    seconds = time.monotonic() - began
    results = {}
    for what, known in (("without", first), ("with", brought.together_with(first))):
        some = replace(world, edges=None, training=known)
        lists = {user: rank_household(some, [user], CONFIG)[user] for user in users}
        results[what] = judge(some, lists, users)
    (low, high), (least, most) = intervals(results["with"], results["without"])
    ratio = results["with"].ndcg / results["without"].ndcg
    print(
        f"{name}: {len(users)} users, {brought.files:,} rows read in {seconds:.1f} s; "
        f"NDCG@10 without {results['without'].ndcg:.4f}, "
        f"with {results['with'].ndcg:.4f} [{low:.4f}, {high:.4f}], {ratio:.2f}x [{least:.2f}, {most:.2f}]",
        flush=True,
    )
    verdict.least(f"{name}: rows that name their title", found / max(named, 1), LEAST_MATCHED)
    verdict.least(f"{name}: NDCG@10 with imports to without", ratio, LEAST_RATIO)


def compare_households(world: World, films: pd.DataFrame, earlier: pd.DataFrame, verdict: Verdict) -> None:
    """Judge lists of households of four with and without imports; each member brings another kind of file."""
    households = list(households_of(list(SERVER.users), MEMBERS))
    kinds = {
        user: list(EXPORTS)[(number + place) % len(EXPORTS)]
        for number, members in enumerate(households)
        for place, user in enumerate(members)
    }
    seen = {user: set(group["work_id"]) for user, group in earlier.groupby("user_id")}
    first, titles, brought, found = first_titles(world), titles_of(world.items), Imported(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for user, kind in kinds.items():
            own = rows_where(earlier, earlier["user_id"] == user)
            path = export(kind, films, own, Path(folder) / str(user))
            found[kind] += brought.read(path, titles, user, seen[user])
    lists: dict[str, Lists] = {}
    for what, known in (("before", first), ("after", brought.together_with(first))):
        some = replace(world, edges=None, training=known)
        lists[what] = {
            user: rows for members in households for user, rows in rank_household(some, members, CONFIG).items()
        }
    _show(world, next(members for members in households if set(members) <= set(lists["after"])), kinds, lists, seen)
    print(f"{brought.asked:,} names were shown to decide")
    print("| file | members | NDCG@10 before | after | difference, 95 % | seen among the first ten before |")
    print("|---|---|---|---|---|---|")
    for kind in ("all four", *EXPORTS):
        users = [user for user in lists["after"] if kind in ("all four", kinds[user])]
        before, after = (judge(world, lists[what], users) for what in ("before", "after"))
        mean, margin = paired(after.ndcgs, before.ndcgs)
        known = {what: _seen_among(world, lists[what], users, seen) for what in lists}
        print(
            f"| {kind} | {len(users)} | {before.ndcg:.3f} | {after.ndcg:.3f} "
            f"| {mean:+.3f} [{mean - margin:+.3f}, {mean + margin:+.3f}] | {known['before']:.1f} |",
            flush=True,
        )
        if kind != "all four":
            named = sum(len(seen[user]) for user in kinds if kinds[user] == kind)
            verdict.least(f"{kind}: rows that name their title", found[kind] / named, LEAST_MATCHED)
            verdict.least(f"{kind}: NDCG@10 with imports to without", after.ndcg / before.ndcg, LEAST_RATIO)
            continue
        # Members of a household are drawn together.
        whole = [[user for user in members if user in lists["after"]] for members in households]
        both = np.array(
            [
                [np.mean(judge(world, lists[what], members).ndcgs) for what in ("after", "before")]
                for members in whole
                if members
            ],
            dtype=np.float64,
        )
        mean, margin = paired(both[:, 0], both[:, 1])
        verdict.least("households of four: least difference of NDCG@10 (95 %, by household)", mean - margin, LEAST_GAIN)
        verdict.most("households of four: titles among the first ten after that were seen", known["after"], MOST_SEEN)


def _seen_among(world: World, lists: Lists, users: Sequence[Any], seen: Mapping[Any, Collection[int]]) -> float:
    """Return how many of the first ten titles of a list its user has seen, on average."""
    works = world.library.work_ids
    return float(np.mean([sum(int(works[row]) in seen[user] for row in lists[user][:FIRST]) for user in users]))


def _show(
    world: World, members: Sequence[Any], kinds: Mapping[Any, str], lists: Mapping[str, Lists],
    seen: Mapping[Any, Collection[int]],
) -> None:  # fmt: skip
    """Print the lists of a household before and after, with a cross behind what the member has seen."""
    print("| file | films in it | before | after |\n|---|---|---|---|")
    for user in members:
        shown = []
        for what in ("before", "after"):
            films = world.items.iloc[lists[what][user][:SHOWN]]
            crosses = [" ✗" if work in seen[user] else "" for work in films["work_id"]]
            shown.append(", ".join(f"{title}{cross}" for title, cross in zip(films["title"], crosses, strict=True)))
        print(f"| {kinds[user]} | {len(seen[user])} | {shown[0]} | {shown[1]} |", flush=True)


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
        earlier = rows_where(histories, histories["last_played_at"] <= last)
        compare(name, world, films, earlier, verdict)
        if keep.all():
            compare_households(world, films, earlier, verdict)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
