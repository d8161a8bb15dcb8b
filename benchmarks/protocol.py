"""Protocol of the benchmarks of the ranking: the data, who lives together, and what is known of them.

Data: MovieLens ml-latest-small (Harper and Konstan 2015) with public TMDb facts; see the data's own README.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.queries import array_of, execute
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.folder_world import ListName, load_folder_world, read_lists
from aperture_dagster.simulator.opinions import neighbours
from aperture_dagster.simulator.tmdb.titles import TitleIndex
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
    rank_household,
    world_of,
)
from aperture_dagster.taste.ranking.histories import as_utc, positions, rows_where
from aperture_dagster.taste.ranking.library import library_of
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


def first_known(world: World, histories: pd.DataFrame, liked: NDArray[np.bool_], k: int) -> World:
    """Return the world as if only the first ``k`` titles of each user were known; all that they liked later are hits.

    ``histories`` and ``liked`` cover the whole folder.
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


def paired(ours: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean difference of figures of the same users, and half of its 95 % interval (normal)."""
    each = ours - other
    return float(each.mean()), float(1.96 * each.std(ddof=1) / np.sqrt(len(each)))


def difference(ours: Result, other: Result) -> str:
    """Return the mean difference of the NDCG@10 of the same users, with its 95 % interval."""
    mean, margin = paired(ours.ndcgs, other.ndcgs)
    return f"{mean:+.4f} [{mean - margin:+.4f}, {mean + margin:+.4f}]"


def alone_together(config: RankingConfig) -> RankingConfig:
    """Return parameters with which many people are ranked for at once as if each lived alone."""
    return replace(config, weights=replace(config.weights, co_watch=0.0), fade=0.0)


def sameness(lists: Lists) -> float:
    """Return the share of all places among the first ten that the 20 most frequent films take."""
    places = Counter(int(row) for rows in lists.values() for row in rows[:FIRST])
    return sum(count for _, count in places.most_common(20)) / sum(places.values())
