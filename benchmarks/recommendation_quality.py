"""Measure how much better than popularity the recommendations are, on real histories and with the production code.

The protocol is that of ``aperture_dagster/taste/ranking/evaluation.py``; a hit is a held-out film rated 4 of 5 or more.
Films from after the user's last year of activity are no candidates, for the baseline as well.

The main table judges users 201-400 in 24 cells, the worlds that users have: a media server for all, households of ten,
and people alone; plays only and with ratings; and each with the lists of TMDb that there may be.

- Plays only: the household's ratings are removed from what is known, since few people rate on a media server.
- TMDb's lists: those of the folder (``recommended.jsonl.gz``, ``similar.jsonl.gz``). Without them, the 20 films that
  users 1-200 liked together with a film most stand for its recommended list, which is weaker than lists that millions
  of people shaped; and the 20 films that share most keywords stand for its similar list. They are written into a
  database, from which the product reads what it uses of them.
- Others cut: what other people did after the last known moment of a user is removed from what that user's list is made
  from. Without the cut, the crowd knows films that the user was yet to discover.
- Small libraries: 500 films, drawn in proportion to their votes; what the lists name beside them is outside.

    python benchmarks/recommendation_quality.py [--data ../shared/data] [--quick]

Fails when a figure falls below its floor, when the baseline differs from its documented figure, or when the lists are
nearly as popular as the baseline. Data: MovieLens ml-latest-small (Harper and Konstan 2015) with public TMDb facts; see
the data's own README.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from verdict import Verdict, not_applicable

from aperture_dagster.enrichment.queries import write_answers
from aperture_dagster.enrichment.tmdb_titles import parse_title
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.queries import array_of, execute
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.folder_world import ListName, load_folder_world, read_lists
from aperture_dagster.simulator.opinions import neighbours
from aperture_dagster.simulator.tmdb.titles import TitleIndex
from aperture_dagster.taste import recommendations
from aperture_dagster.taste.embedder import StaticEmbedder
from aperture_dagster.taste.lists import read_edges
from aperture_dagster.taste.movielens import read_films, read_ratings
from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.crowd import Crowd, neighbours_of
from aperture_dagster.taste.ranking.evaluation import (
    DEPTH,
    FIRST,
    LIKED,
    Lists,
    Result,
    World,
    by_votes,
    household_model,
    intervals,
    judge,
    lists_of,
    rank_household,
    world_of,
)
from aperture_dagster.taste.ranking.histories import as_utc, positions, rows_where
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.links import Links, links_of
from aperture_dagster.taste.ranking.text import title_text

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CONFIG = RankingConfig(limit=DEPTH)
OWNED = """
    WITH films AS (SELECT unnest(CAST(:films AS bigint[])) AS film),
    known AS (INSERT INTO works (work_id, media_type, tmdb_id) SELECT film, 'movie', film FROM films)
    INSERT INTO titles (item_id, work_id, media_type, server_item_id, library_id, title, genres, tags, studios)
    SELECT film, film, 'movie', film, '', '', '{}', '{}', '{}' FROM films"""
OTHERS = range(1, 201)
"""Who stands for the rest of the world, and is not judged where they do."""


@dataclass(frozen=True)
class Setting:
    """Who is ranked for, and with whom."""

    name: str
    users: range
    household: int
    """Number of people per household, drawn at random (seeded)."""
    draws: int = 1
    """How often; the figures are means."""
    crowd: bool = False
    """Whether users 1-200 are a crowd from outside."""


ALL = Setting("400 as one server", range(1, 401), 400)
SERVER = Setting("201-400 as one server", range(201, 401), 200)
HOUSEHOLDS = Setting("201-400 in households of 10", range(201, 401), 10, draws=3)
WITH_CROWD = replace(HOUSEHOLDS, name="the same, 1-200 as crowd", crowd=True)
ALONE = Setting("201-400 alone", range(201, 401), 1)
SMALL = replace(ALONE, name="201-400 alone, 500 films")
HOMES = (SERVER, HOUSEHOLDS, ALONE)
"""The homes of the 24 cells."""
SETTINGS = (ALL, WITH_CROWD)
"""What is judged beside the cells."""
LISTS = ("no lists", "similar only", "recommended only", "both lists")
FIELDS: Mapping[str, ListName] = {"recommendations": "recommended", "similar": "similar"}
NAMES: tuple[tuple[ListName, ...], ...] = ((), ("similar",), ("recommended",), ("recommended", "similar"))
"""Which lists TMDb has."""
KNOWN_OF_USERS = ("plays only", "ratings")
FILMS, LIBRARIES = 500, 3
LISTED = 20

CELLS = {
    ("plays only", SERVER.name): (0.1269, 0.1269, 0.1286, 0.1286),
    ("plays only", HOUSEHOLDS.name): (0.1109, 0.1109, 0.1262, 0.1262),
    ("plays only", ALONE.name): (0.1053, 0.1053, 0.1258, 0.1258),
    ("ratings", SERVER.name): (0.1455, 0.1455, 0.1463, 0.1463),
    ("ratings", HOUSEHOLDS.name): (0.1210, 0.1210, 0.1441, 0.1441),
    ("ratings", ALONE.name): (0.1118, 0.1118, 0.1382, 0.1382),
}
"""Least NDCG@10 of each cell, in the order of ``LISTS``: 98 % of the figures of docs/ranking.md."""
FLOORS = {
    "plays only": {ALL.name: 0.1200, WITH_CROWD.name: 0.1276},
    "ratings": {ALL.name: 0.1425, WITH_CROWD.name: 0.1507},
}
"""Least NDCG@10 beside the cells."""
VOTES = 0.0771
"""NDCG@10 of the baseline, all users."""
FIRST_TITLES = (1, 3, 5, 10, 20)
"""Numbers of titles that are known of newcomers."""
SMALLEST = 1.15
"""Least ratio to the votes in a library of 500 films."""
MOST_POPULAR = 0.8
"""Mean votes of our lists, as a share of the baseline's."""
MOST_SAME = 0.355
"""Share of all places among the first ten of users alone that the 20 most frequent films take."""
IDLE_USERS, IDLE_DAYS = 20, 56
LONGEST_STAY = 14
"""Days among the first ten of somebody who watches nothing."""
CHANGES = (0.2, 0.4)
"""Share of the first twenty of theirs that changes in a week."""


def load(folder: Path, vectors: NDArray[np.float32] | None = None) -> World:
    """Read the data, embed the titles unless given their vectors, and split the histories."""
    items, histories = read_folder(folder)
    library = library_of(items, embed(items) if vectors is None else vectors)
    liked = histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    # A film of unknown year compares as released.
    years = items["year"].to_numpy(dtype=np.float64)
    return world_of(items, library, histories, liked, lambda _user, _known, last: years > last.year)


def read_folder(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the item table of a folder, and the histories."""
    items = read_films(folder)
    return items, read_ratings(folder, items["work_id"].to_numpy()).histories


def embed(items: pd.DataFrame) -> NDArray[np.float32]:
    """Return the vectors of the product's text of each title, from the default embedder."""
    return StaticEmbedder().embed([title_text(row) for row in items.to_dict("records")]).vectors


def households_of(users: Sequence[Any], size: int, draw: int = 0) -> Iterator[list[Any]]:
    """Divide users into households of ``size`` at random; ``draw`` is the seed. The last one may be smaller."""
    order = np.random.default_rng(draw).permutation(len(users))
    for start in range(0, len(order), size):
        yield [users[place] for place in order[start : start + size]]


def without_ratings(world: World) -> World:
    """Return the world as if nobody had rated anything that is known, as on most media servers."""
    return replace(world, training=world.training.assign(rating=np.nan))


def mean_result(results: Sequence[Result]) -> Result:
    """Return the mean of several draws of the same users."""
    return Result(**{one.name: np.mean([getattr(r, one.name) for r in results], axis=0) for one in fields(Result)})


def rank(
    world: World, setting: Setting, draw: int = 0, *, ratings: bool, cut: bool = False, config: RankingConfig = CONFIG
) -> Lists:
    """Return the production lists of a setting's qualifying users.

    Args:
        world: The data.
        setting: Who is ranked for.
        draw: Seed of the households.
        ratings: Whether ratings are known, or plays only; those of a crowd always are, as in published data.
        cut: Whether what others did after a user's last known moment is unknown.
        config: Parameters of the ranking.
    """
    known = world if ratings else without_ratings(world)
    if setting.users.start in OTHERS:
        known = replace(known, edges=None)
    crowd = crowd_of(world) if setting.crowd else None
    lists: Lists = {}
    for members in households_of(setting.users, setting.household, draw):
        if not cut:
            lists |= rank_household(known, members, config, crowd=crowd)
            continue
        for user in (user for user in members if user in world.hits):
            outside = None if crowd is None else earlier_crowd_of(world, user)
            past = replace(known, training=before(known.training, world.last_known[user]))
            lists |= rank_household(past, members, config, asked=[user], crowd=outside)
    return lists


TmdbLists = Mapping[ListName, Mapping[int, Sequence[int]]]
"""By name of a list what it has for each film, the best first."""


def tmdb_lists(folder: Path) -> TmdbLists:
    """Return TMDb's lists of the films of a folder, or what stands for them."""
    films = load_folder_world(folder, now=datetime.now(UTC), users=0).titles
    number = {title.key: int(title.key.removeprefix("movie:")) for title in films}
    known = set(number.values())
    recommended, similar = read_lists(folder, "recommended", known), read_lists(folder, "similar", known)
    if not recommended:
        _, histories = read_folder(folder)
        liked = rows_where(histories, histories["user_id"].isin(OTHERS) & (histories["rating"] >= LIKED))
        together = neighbours(group["work_id"].tolist() for _, group in liked.groupby("user_id"))
        recommended = {int(film): [int(other) for other in others] for film, others in together.items()}
    if not similar:
        films = [replace(title, similar_tmdb_ids=None) for title in films]
        index = TitleIndex(films, date(2026, 1, 1))
        similar = {number[title.key]: [number[near.key] for near in index.similar(title)] for title in films}
    return {
        "recommended": {film: others[:LISTED] for film, others in recommended.items()},
        "similar": {film: others[:LISTED] for film, others in similar.items()},
    }


@contextlib.contextmanager
def product_database() -> Iterator[Database]:
    """Start a database of the product, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="aperture-quality-", ignore_cleanup_errors=True) as folder:
        settings = load_settings(home=Path(folder) / "home")
        try:
            yield Database(settings)
        finally:
            release_embedded_server(settings.home_path / "postgres")


def edges_of(database: Database, films: Sequence[int], lists: TmdbLists) -> dict[str, pd.DataFrame]:
    """Return what the product uses of TMDb's lists in a library of some films, for each of ``LISTS``.

    The films have their own numbers as ids at TMDb. Nothing stays in the database.
    """
    found: dict[str, pd.DataFrame] = {}
    with database.connection() as connection, connection.begin() as everything:
        execute(connection, OWNED, films=array_of(films))
        for name, which in zip(LISTS, NAMES, strict=True):
            rows: list[dict[str, Any]] = []
            for film in films:
                answer: dict[str, Any] = {"id": film, "title": str(film)}
                for field, one in FIELDS.items():
                    listed = lists[one].get(film, ()) if one in which else ()
                    answer[field] = {"results": [{"id": other} for other in listed]}
                rows.append({"work_id": film} | parse_title(answer, "movie"))
            write_answers(connection, "tmdb", rows)
            edges = read_edges(connection)
            found[name] = edges.sort_values(["work_id", "recommended_work_id"]).reset_index(drop=True)
        everything.rollback()
    return found


def small_worlds(folder: Path, database: Database, lists: TmdbLists) -> list[World]:
    """Return the data as several small libraries, drawn in proportion to votes (seeded), with recommended lists."""
    items, histories = read_folder(folder)
    votes = items["vote_count"].fillna(0.0).to_numpy(dtype=np.float64) + 1.0
    years = items["year"].to_numpy(dtype=np.float64)
    vectors, liked = embed(items), histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    worlds: list[World] = []
    for draw in range(LIBRARIES):
        random = np.random.default_rng(draw)
        rows = np.sort(random.choice(len(items), FILMS, replace=False, p=votes / votes.sum()))
        films, released = items.iloc[rows].reset_index(drop=True), years[rows]
        library = library_of(films, vectors[rows])
        small = world_of(films, library, histories, liked, lambda _user, _known, last, at=released: at > last.year)
        edges = edges_of(database, films["work_id"].tolist(), lists)
        worlds.append(replace(small, edges=edges["recommended only"]))
    return worlds


def compare_small(worlds: Sequence[World]) -> dict[str, float]:
    """Print how lists of small libraries compare with the votes, and return the ratios."""
    found: dict[str, float] = {}
    for label in KNOWN_OF_USERS:
        pairs: list[tuple[Result, Result]] = []
        for world in worlds:
            users = [user for user in world.users if user in SMALL.users]
            known = world if label == "ratings" else without_ratings(world)
            lists = rank_household(known, users, alone_together(CONFIG))
            pairs.append((judge(world, lists, users), judge(world, by_votes(world), users)))
        ours, votes = (
            replace(side[0], ndcgs=np.concatenate([one.ndcgs for one in side])) for side in zip(*pairs, strict=True)
        )
        (_, _), (least, most) = intervals(ours, votes)
        found[label] = ours.ndcg / votes.ndcg
        print(
            f"{SMALL.name}, {label}: {ours.ndcg:.4f} / {votes.ndcg:.4f} = {found[label]:.2f}x [{least:.2f}, {most:.2f}]"
        )
    return found


def before(histories: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Return what had happened by a moment."""
    return rows_where(histories, histories["last_played_at"] <= moment)


def crowd_of(world: World, moment: pd.Timestamp | None = None) -> Crowd:
    """Return what users 1-200 watched together, up to a moment if one is given."""
    histories = rows_where(world.training, world.training["user_id"] <= 200)
    histories = histories if moment is None else before(histories, moment)
    table = neighbours_of(histories, as_of=as_utc(str(world.training["last_played_at"].max())))
    return table.on(table.titles)


@functools.cache
def earlier_crowd_of(world: World, user: int) -> Crowd:
    """Return what concerns one user's titles of what users 1-200 had watched by that user's last known moment."""
    crowd = crowd_of(world, world.last_known[user])
    known = np.isin(crowd.sources, world.library.work_ids[world.seen[user]])
    return Crowd(crowd.sources[known], crowd.targets[known], crowd.strengths[known], crowd.people)


def measure(
    world: World, setting: Setting, *, ratings: bool, cut: bool = False, config: RankingConfig = CONFIG
) -> Result:
    """Return the figures of a setting, the mean of its draws (arguments as for :func:`rank`)."""
    users = [user for user in world.users if user in setting.users]
    lists = (rank(world, setting, draw, ratings=ratings, cut=cut, config=config) for draw in range(setting.draws))
    return mean_result([judge(world, one, users) for one in lists])


@dataclass(frozen=True)
class Cell:
    """A world that users have: who lives together, what is known of them, and which lists TMDb has."""

    home: str
    known: str
    lists: str

    @property
    def floor(self) -> float:
        """Least NDCG@10."""
        return CELLS[self.known, self.home][LISTS.index(self.lists)]

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.home}, {self.known}, {self.lists}"


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
            found[name] |= lists_of(world, model.with_links(own))
    return {name: found[same[name]] for name in edges}


def measure_cells(
    world: World, edges: Mapping[str, pd.DataFrame], homes: Sequence[Setting] = HOMES
) -> tuple[dict[Cell, Result], dict[Cell, float]]:
    """Print the table of the cells, and return their figures, and what share of all places 20 films take."""
    popular, nothing = by_votes(world), LISTS[0]
    found: dict[Cell, Result] = {}
    same: dict[Cell, float] = {}
    print(f"\n{'NDCG@10':53} {'votes':>6} {'ours':>6} {'ratio':>6} {'ours - votes, 95 %':>26} ", end="")
    print(f"{'ours - no lists, 95 %':>26} {'mean votes':>14} {'HR@10':>6} {'rec@20':>6} {'same':>5}", flush=True)
    for home, known in itertools.product(homes, KNOWN_OF_USERS):
        users = [user for user in world.users if user in home.users]
        votes = judge(world, popular, users)
        draws = [rank_cells(world, home, edges, ratings=known == "ratings", draw=draw) for draw in range(home.draws)]
        for name in edges:
            cell = Cell(home.name, known, name)
            ours = found[cell] = mean_result([judge(world, lists[name], users) for lists in draws])
            same[cell] = float(np.mean([sameness(lists[name]) for lists in draws]))
            without = found[replace(cell, lists=nothing)]
            print(f"{cell!s:53} {votes.ndcg:>6.4f} {ours.ndcg:>6.4f} {ours.ndcg / votes.ndcg:>5.2f}x ", end="")
            print(
                f"{difference(ours, votes):>26} {difference(ours, without) if ours is not without else '-':>26} ",
                end="",
            )
            print(f"{ours.votes:>6.0f} /{votes.votes:>6.0f} {ours.hit_rate:>6.3f} {ours.recall:>6.3f} ", end="")
            print(f"{same[cell]:>5.2f}", flush=True)
    return found, same


def difference(ours: Result, other: Result) -> str:
    """Return the mean difference of the NDCG@10 of the same users, with its 95 % interval (normal, paired)."""
    each = ours.ndcgs - other.ndcgs
    mean, margin = each.mean(), 1.96 * each.std(ddof=1) / np.sqrt(len(each))
    return f"{mean:+.4f} [{mean - margin:+.4f}, {mean + margin:+.4f}]"


def judge_cells(found: Verdict, cells: Mapping[Cell, Result]) -> None:
    """Judge each cell by its floor."""
    for cell, ours in cells.items():
        found.least(f"NDCG@10, {cell}", ours.ndcg, cell.floor)


def compare(world: World, *, ratings: bool, cut: bool = True) -> dict[Setting, Result]:
    """Print the table of the settings beside the cells, and return our figures."""
    print(f"\n{'plays and ratings' if ratings else 'plays only'}; films that are released")
    print(f"{'NDCG@10':28}{'users':>5} {'votes':>6} {'ours':>6} {'95 %':>11} {'ratio':>6} {'95 %':>10}", end="")
    print(f" {'others cut':>13} {'mean votes':>14} {'HR@10':>6} {'rec@20':>6} {'cover':>6}", flush=True)
    popular = by_votes(world)
    found: dict[Setting, Result] = {}
    for setting in SETTINGS:
        votes = judge(world, popular, [user for user in world.users if user in setting.users])
        ours = found[setting] = measure(world, setting, ratings=ratings)
        (low, high), (least, most) = intervals(ours, votes)
        print(f"{setting.name:28}{ours.users:>5} {votes.ndcg:>6.4f} {ours.ndcg:>6.4f} ", end="")
        print(f"[{low:.3f}, {high:.3f}]".replace("0.", ".").rjust(11), end=" ")
        print(f"{ours.ndcg / votes.ndcg:>5.2f}x [{least:.2f}, {most:.2f}]", end=" ")
        earlier = measure(world, setting, ratings=ratings, cut=True) if cut else None
        print(f"{earlier.ndcg:>6.4f} {earlier.ndcg / votes.ndcg:>5.2f}x" if earlier else f"{'-':>13}", end=" ")
        print(f"{ours.votes:>6.0f} /{votes.votes:>6.0f} {ours.hit_rate:>6.3f} {ours.recall:>6.3f}", end=" ")
        print(f"{ours.coverage:>6.3f}", flush=True)
    return found


def alone_together(config: RankingConfig) -> RankingConfig:
    """Return parameters with which many people are ranked for at once as if each lived alone."""
    return replace(config, weights=replace(config.weights, co_watch=0.0), fade=0.0)


def first_known(world: World, histories: pd.DataFrame, liked: NDArray[np.bool_], k: int) -> World:
    """Return the world as if only the first ``k`` titles of each user were known; all that they liked later are hits.

    ``histories`` and ``liked`` are those of the whole folder.
    """
    row = world.library.index
    ordered = histories.assign(row=positions(histories["work_id"], row), liked=liked)
    ordered = rows_where(ordered, ordered["row"] >= 0).sort_values("last_played_at", kind="stable", na_position="first")
    place = np.asarray(ordered.groupby("user_id", sort=False).cumcount())
    training, later = rows_where(ordered, place < k), rows_where(ordered, (place >= k) & ordered["liked"])
    return replace(
        world,
        edges=None,
        training=training.drop(columns=["row", "liked"]),
        hits={user: set(group["row"]) for user, group in later.groupby("user_id") if user in world.hits},
        seen={user: group["row"].to_numpy(dtype=np.int64) for user, group in training.groupby("user_id")},
    )


def compare_newcomers(world: World, histories: pd.DataFrame) -> dict[str, float]:
    """Print what lists are worth that know only the first titles of users 201-400, and return the ratios to "most
    voted". All that a user liked later are hits.
    """
    liked = (histories["rating"] >= LIKED).to_numpy()
    users = [user for user in world.users if user > 200]
    print(f"\nnewcomers, users 201-400 alone; ratio of NDCG@10 to the votes\n{'known titles':28}", end="")
    print(*(f"{k:>6}" for k in FIRST_TITLES), flush=True)
    ratios: dict[str, float] = {}
    for label in KNOWN_OF_USERS:
        print(f"{label:28}", end="", flush=True)
        for k in FIRST_TITLES:
            some = first_known(world, histories, liked, k)
            votes = judge(some, by_votes(some), users)
            known = some if label == "ratings" else without_ratings(some)
            ours = judge(some, rank_household(known, users, alone_together(CONFIG)), users)
            ratios[f"{label}, {k} known"] = ours.ndcg / votes.ndcg
            print(f" {ours.ndcg / votes.ndcg:>6.2f}", end="", flush=True)
        print()
    return ratios


def sameness(lists: Lists) -> float:
    """Return the share of all places among the first ten that the 20 most frequent films take."""
    places = Counter(int(row) for rows in lists.values() for row in rows[:FIRST])
    return sum(count for _, count in places.most_common(20)) / sum(places.values())


def while_nothing_is_watched(world: World) -> tuple[int, float, float]:
    """Make the lists of some users who watch nothing day by day.

    Returns:
        The longest time that a film is among the first ten, in days, and the least and largest share of the first
        twenty that changes in a week.
    """
    users = [user for user in world.users if user > 200][:IDLE_USERS]
    model = household_model(world, users, alone_together(replace(CONFIG, limit=50)))
    longest, changes = 0, list[float]()
    for user in users:
        places: list[recommendations.Place] = []
        stays, days = Counter[int](), list[set[int]]()
        for number in range(IDLE_DAYS):
            today = date(2026, 1, 1) + timedelta(days=number)
            rest = recommendations.resting(places, today)
            rows = replace(model, resting={user: rest}).for_user(user).to_dict("records")
            ranks = {row["work_id"]: row["rank"] for row in rows}
            top = recommendations.next_places(places, rest, rows, today)
            places = [replace(place, rank=ranks.get(place.work_id)) for place in top]
            stays = Counter({work: stays[work] + 1 for work, rank in ranks.items() if rank <= FIRST})
            longest = max(longest, *stays.values())
            days.append({work for work, rank in ranks.items() if rank <= 2 * FIRST})
        changes += [len(one - week) / len(one) for one, week in zip(days, days[7:], strict=False)]
    print(
        f"\n{len(users)} users who watch nothing for {IDLE_DAYS} days: at most {longest} days among the first ten; "
        f"{min(changes):.0%} to {max(changes):.0%} of the first twenty change in a week"
    )
    return longest, min(changes), max(changes)


def explain(world: World, households: int = 3) -> float:
    """Return how many of all reasons name only liked titles among the three that contribute most."""
    liked = rows_where(world.training, world.training["rating"] > 5.0).groupby("user_id")["work_id"].apply(set)
    named = right = 0
    for members in list(households_of(HOUSEHOLDS.users, HOUSEHOLDS.household))[:households]:
        model = household_model(world, members, CONFIG)
        for user in model.people.users:
            found = model.for_user(user).head(FIRST)
            adds = model.contributions(user, found["work_id"].to_numpy())
            for because, total in zip(found["because"], adds.total, strict=True):
                largest = set(model.library.work_ids[adds.liked[np.argsort(-total, kind="stable")[:3]]].tolist())
                named += len(because)
                right += sum(work in largest and work in liked[user] for work in because)
    return right / max(named, 1)


def verdict(world: World, plays: Mapping[Setting, Result], rated: Mapping[Setting, Result]) -> Verdict:
    """Judge every figure by its floor."""
    found = Verdict()
    for known, results in (("plays only", plays), ("ratings", rated)):
        for setting, ours in results.items():
            found.least(f"NDCG@10, {known}, {setting.name}", ours.ndcg, FLOORS[known][setting.name])
    votes = judge(world, by_votes(world))
    found.holds(f"the baseline's NDCG@10 is {VOTES}, as documented: {votes.ndcg:.4f}", abs(votes.ndcg - VOTES) < 0.0005)
    found.most("mean votes, share of the baseline's", plays[ALL].votes / votes.votes, MOST_POPULAR)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables, and return 0 if all figures keep their floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--quick", action="store_true", help="only the figures that have a floor")
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    start = time.perf_counter()
    with product_database() as database:
        lists = tmdb_lists(options.data)
        world = load(options.data)
        edges = edges_of(database, world.library.work_ids.tolist(), lists)
        libraries = small_worlds(options.data, database, lists)
    world = replace(world, edges=edges["recommended only"])
    print(f"{len(world.items)} films, {len(world.seen)} people, {len(world.users)} of whom qualify; votes: most voted")
    cells, same = measure_cells(world, edges)
    plays = compare(world, ratings=False, cut=not options.quick)
    rated = compare(world, ratings=True, cut=not options.quick)
    found = verdict(world, plays, rated)
    judge_cells(found, cells)
    for known in KNOWN_OF_USERS:
        alone = Cell(ALONE.name, known, "recommended only")
        found.most(f"places that 20 films take, {alone}", same[alone], MOST_SAME)
    for label, ratio in compare_small(libraries).items():
        found.least(f"{SMALL.name}, {label}, ratio to the votes", ratio, SMALLEST)
    if not options.quick:
        for name, ratio in compare_newcomers(world, read_folder(options.data)[1]).items():
            found.least(f"newcomers, {name}, ratio to the votes", ratio, 1.0)
        longest, least, most = while_nothing_is_watched(world)
        found.most("longest stay among the first ten while nothing is watched", longest, LONGEST_STAY, " days")
        found.least("what changes of the first twenty in a week", least, CHANGES[0])
        found.most("what changes of the first twenty in a week", most, CHANGES[1])
        found.least("reasons that name liked titles which contribute most", explain(world), 0.8)
    print(f"{time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of processor time")
    return found.close()


if __name__ == "__main__":
    sys.exit(main())
