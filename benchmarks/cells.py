"""Cells of the judgement: the worlds that users have, each with its figures beside those of the last release.

The figures of the last release are in ``last_release.json``, for each cell those of each person, so that the difference
to today's has an interval of the same people. ``recommendation_quality.py --release VERSION`` writes it; nothing else
does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from protocol import (
    CONFIG,
    FILMS,
    HOMES,
    KNOWN_OF_USERS,
    LIBRARIES,
    LISTS,
    SMALL,
    Setting,
    TmdbLists,
    alone_together,
    difference,
    edges_of,
    embed,
    households_of,
    mean_result,
    paired,
    rank,
    read_folder,
    sameness,
    without_ratings,
)
from verdict import Verdict

from aperture_dagster.postgres.database import Database
from aperture_dagster.taste.ranking.evaluation import (
    LIKED,
    Lists,
    Result,
    World,
    by_votes,
    household_model,
    judge,
    lists_of,
    rank_household,
    world_of,
)
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.links import Links, links_of

LAST_RELEASE = Path(__file__).with_name("last_release.json")
DIGITS = 4
ROUNDED = 10.0**-DIGITS
FLOOR = 0.98
"""Least NDCG@10 of a cell, as a share of the last release's."""
SMALL_LISTS = ("no lists", "recommended only")
"""The lists of TMDb that small libraries are judged with."""


@dataclass(frozen=True)
class Cell:
    """A world that users have: who lives together, what is known of them, which lists TMDb has, and the crowd."""

    home: str
    known: str
    lists: str
    crowd: bool = False

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.home}, {self.known}, {self.lists}{', 1-200 as crowd' if self.crowd else ''}"


@dataclass(frozen=True)
class Judged:
    """The figures of a cell, and of the most voted films for the same people."""

    ours: Result
    votes: Result
    same: float
    """Share of all places among the first ten that 20 films take."""


Cells = dict[Cell, Judged]


def all_cells() -> list[Cell]:
    """Return every cell, in the order of the table."""
    lists = [Cell(home.name, known, name) for home, known, name in product(HOMES, KNOWN_OF_USERS, LISTS)]
    crowd = [Cell(home.name, known, LISTS[0], crowd=True) for home, known in product(HOMES, KNOWN_OF_USERS)]
    small = [Cell(SMALL.name, known, name) for known, name in product(KNOWN_OF_USERS, SMALL_LISTS)]
    return [*lists, *crowd, *small]


def read_release(path: Path = LAST_RELEASE) -> dict[str, np.ndarray]:
    """Return the NDCG@10 of each person by name of a cell, as they were in the last release."""
    return {name: np.array(each) for name, each in json.loads(path.read_text(encoding="utf-8"))["ndcg"].items()}


def write_release(version: str, cells: Mapping[Cell, Judged], path: Path = LAST_RELEASE) -> None:
    """Keep the figures of a release, for :func:`read_release`."""
    figures = {str(cell): np.round(judged.ours.ndcgs, DIGITS).tolist() for cell, judged in cells.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in figures.items())
    text = f'{{"version": {json.dumps(version)}, "ndcg": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding="utf-8")


def small_worlds(folder: Path, database: Database, lists: TmdbLists) -> list[tuple[World, pd.DataFrame]]:
    """Return the data as several small libraries, drawn in proportion to votes (seeded): each without lists of TMDb,
    and the links that the product takes from its recommended lists.
    """
    items, histories = read_folder(folder)
    votes = items["vote_count"].fillna(0.0).to_numpy(dtype=np.float64) + 1.0
    years = items["year"].to_numpy(dtype=np.float64)
    vectors, liked = embed(items), histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    worlds: list[tuple[World, pd.DataFrame]] = []
    for draw in range(LIBRARIES):
        random = np.random.default_rng(draw)
        rows = np.sort(random.choice(len(items), FILMS, replace=False, p=votes / votes.sum()))
        films, released = items.iloc[rows].reset_index(drop=True), years[rows]
        library = library_of(films, vectors[rows])
        small = world_of(films, library, histories, liked, lambda _user, _known, last, at=released: at > last.year)
        edges = edges_of(database, films["work_id"].tolist(), lists)
        worlds.append((small, edges["recommended only"]))
    return worlds


def rank_cells(
    world: World, home: Setting, edges: Mapping[str, pd.DataFrame], *, ratings: bool, draw: int = 0
) -> dict[str, Lists]:
    """Return the production lists of the users of a home in a world with each of some lists of TMDb.

    These differ in the links alone, so each household is learned once; and where the product uses nothing of lists,
    their world is that of the others.
    """
    known = replace(world if ratings else without_ratings(world), edges=None)
    links: dict[str, Links] = {}
    same: dict[str, str] = {}
    for name, table in edges.items():
        same[name] = next((other for other in links if edges[other].equals(table)), name)
        if same[name] == name:
            links[name] = links_of(table, world.library.index, len(world.library.work_ids))
    found: dict[str, Lists] = {name: {} for name in links}
    for members in households_of(home.users, home.household, draw):
        model = household_model(known, members, CONFIG)
        for name, own in links.items():
            found[name] |= lists_of(model.with_links(own))
    return {name: found[same[name]] for name in edges}


def measure_cells(world: World, edges: Mapping[str, pd.DataFrame], homes: Sequence[Setting] = HOMES) -> Cells:
    """Return the figures of the cells with each of some lists of TMDb."""
    popular = by_votes(world)
    cells: Cells = {}
    for home, known in product(homes, KNOWN_OF_USERS):
        users = [user for user in world.users if user in home.users]
        votes = judge(world, popular, users)
        draws = [rank_cells(world, home, edges, ratings=known == "ratings", draw=draw) for draw in range(home.draws)]
        for name in edges:
            results = [judge(world, lists[name], users) for lists in draws]
            same = float(np.mean([sameness(lists[name]) for lists in draws]))
            cells[Cell(home.name, known, name)] = Judged(mean_result(results), votes, same)
    return cells


def measure_with_crowd(world: World, homes: Sequence[Setting] = HOMES) -> Cells:
    """Return the figures of the cells in which users 1-200 are the crowd, without lists of TMDb."""
    popular, plain = by_votes(world), replace(world, edges=None)
    cells: Cells = {}
    for home, known in product(homes, KNOWN_OF_USERS):
        users = [user for user in world.users if user in home.users]
        setting = replace(home, crowd=True)
        draws = [rank(plain, setting, draw, ratings=known == "ratings") for draw in range(home.draws)]
        same = float(np.mean([sameness(lists) for lists in draws]))
        ours = mean_result([judge(world, lists, users) for lists in draws])
        cells[Cell(home.name, known, LISTS[0], crowd=True)] = Judged(ours, judge(world, popular, users), same)
    return cells


def measure_small(worlds: Sequence[tuple[World, pd.DataFrame]]) -> Cells:
    """Return the figures of the cells of small libraries, of the people of all of them together."""
    cells: Cells = {}
    for known, name in product(KNOWN_OF_USERS, SMALL_LISTS):
        ours: list[Result] = []
        votes: list[Result] = []
        same: list[float] = []
        for small, edges in worlds:
            users = [user for user in small.users if user in SMALL.users]
            world = replace(small, edges=None if name == LISTS[0] else edges)
            lists = rank_household(
                world if known == "ratings" else without_ratings(world), users, alone_together(CONFIG)
            )
            ours.append(judge(world, lists, users))
            votes.append(judge(world, by_votes(world), users))
            same.append(sameness(lists))
        cells[Cell(SMALL.name, known, name)] = Judged(_together(ours), _together(votes), float(np.mean(same)))
    return cells


def _together(results: Sequence[Result]) -> Result:
    """Return the figures of the people of several libraries as one."""
    means = (
        float(np.mean([getattr(result, name) for result in results]))
        for name in ("hit_rate", "recall", "votes", "coverage")
    )
    return Result(np.concatenate([result.ndcgs for result in results]), *means)


def show_cells(cells: Mapping[Cell, Judged], released: Mapping[str, np.ndarray]) -> None:
    """Print the table of the cells, beside the votes, the same world without lists, and the last release."""
    print(f"\n{'NDCG@10':64} {'votes':>6} {'ours':>6} {'ratio':>6} {'ours - votes, 95 %':>26} ", end="")
    print(f"{'ours - no lists, 95 %':>26} {'ours - last release, 95 %':>26} {'mean votes':>14} ", end="")
    print(f"{'HR@10':>6} {'rec@20':>6} {'same':>5}")
    for cell, judged in cells.items():
        ours, votes = judged.ours, judged.votes
        without = cells.get(replace(cell, lists=LISTS[0]))
        beside = "-" if without is None or without is judged else difference(ours, without.ours)
        before = released.get(str(cell))
        changed = "-" if before is None or len(before) != ours.users else difference(ours, replace(ours, ndcgs=before))
        print(f"{cell!s:64} {votes.ndcg:>6.4f} {ours.ndcg:>6.4f} {ours.ndcg / votes.ndcg:>5.2f}x ", end="")
        print(f"{difference(ours, votes):>26} {beside:>26} {changed:>26} ", end="")
        print(f"{ours.votes:>6.0f} /{votes.votes:>6.0f} {ours.hit_rate:>6.3f} {ours.recall:>6.3f} ", end="")
        print(f"{judged.same:>5.2f}", flush=True)


def judge_cells(verdict: Verdict, cells: Mapping[Cell, Judged], released: Mapping[str, np.ndarray]) -> None:
    """Judge each cell by its floor, and by the last release: it may not be worse by more than the noise.

    Of other data than the release's, there is nothing to judge by.
    """
    for cell, judged in cells.items():
        before = released.get(str(cell))
        if before is None:
            verdict.holds(f"the last release has figures of {cell}", False)
            continue
        verdict.least(f"NDCG@10, {cell}", judged.ours.ndcg, round(FLOOR * float(before.mean()), 4))
        if len(before) == judged.ours.users:
            mean, margin = paired(judged.ours.ndcgs, before)
            # The release's figures are rounded.
            verdict.least(f"beside the last release, {cell}: difference and its margin", mean + margin, -ROUNDED)
