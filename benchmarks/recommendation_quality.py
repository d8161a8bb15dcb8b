"""Measure how much better than popularity the recommendations are, on real histories and with the production code.

Per user, the last 20 % of the ratings by time are held out (rounded up). A hit is a held-out film rated at least 4 of
5; films that the user had rated before are no candidates. Users without hits to find, or who liked nothing before, do
not qualify. Nothing that is held out reaches the ranking: no ratings, counts or dates.

- Released (the headline): films from after the user's last year of activity are no candidates, for the baseline as
  well. Otherwise (naive) "most voted" spends its places on films that the user could not have watched.
- Plays only (the headline): the household's ratings are removed from what is known, since few people rate on a media
  server.
- Others cut: what other people did after the last known moment of a user is removed from what that user's list is made
  from. Without the cut, the crowd knows films that the user was yet to discover.

    python benchmarks/recommendation_quality.py [--data ../shared/data] [--quick]

Fails when a figure falls below its floor, when the baseline differs from its documented figure, or when the lists are
nearly as popular as the baseline. Data: MovieLens ml-latest-small (Harper and Konstan 2015) with public TMDb facts; see
the data's own README.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.config import RankingConfig, RankingInputs, TasteMix
from aperture_dagster.ranking.histories import as_utc, positions, rows_where
from aperture_dagster.ranking.library import Library, library_of
from aperture_dagster.ranking.popularity import bayesian_average
from aperture_dagster.ranking.recommend import RankingModel, prepare
from aperture_dagster.ranking.text import title_text
from aperture_dagster.resources.embedder import StaticEmbedder

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
LIKED = 8.0
"""4 of 5 stars, on the product's scale of 0 to 10."""
DEPTH = 20
CONFIG = RankingConfig(limit=DEPTH)
RESAMPLES = 10_000

Lists = dict[int, NDArray[np.int64]]
"""Rows of the item table per user, best first."""


@dataclass(frozen=True, eq=False)
class World:
    """The films, the known part of each user's history, and the hits to find."""

    items: pd.DataFrame
    library: Library
    training: pd.DataFrame
    hits: dict[int, set[int]]
    """Per qualifying user, the rows of the films to find."""
    seen: dict[int, NDArray[np.int64]]
    votes: NDArray[np.float64]
    unreleased: dict[int, NDArray[np.bool_]]
    """Per qualifying user, which films are from after their last year of activity."""
    last_known: dict[int, pd.Timestamp]
    """Per user, the moment of the last rating that is known."""

    @property
    def users(self) -> list[int]:
        """The users who qualify."""
        return list(self.hits)


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
HOUSEHOLDS = Setting("201-400 in households of 10", range(201, 401), 10, draws=3)
WITH_CROWD = replace(HOUSEHOLDS, name="the same, 1-200 as crowd", crowd=True)
ALONE = Setting("201-400 alone", range(201, 401), 1)
SETTINGS = (ALL, HOUSEHOLDS, WITH_CROWD, ALONE)


@dataclass(frozen=True)
class Result:
    """The figures of one way to rank: NDCG@10 of each user, and means over all."""

    ndcgs: NDArray[np.float64]
    hit_rate: float
    recall: float
    votes: float
    coverage: float
    diversity: float

    @property
    def users(self) -> int:
        """Number of users with a list."""
        return len(self.ndcgs)

    @property
    def ndcg(self) -> float:
        """Mean NDCG@10."""
        return float(self.ndcgs.mean())


FLOORS = {
    "plays only": {ALL.name: 0.1140, HOUSEHOLDS.name: 0.1073, WITH_CROWD.name: 0.1258, ALONE.name: 0.1052},
    "ratings": {ALL.name: 0.1393, HOUSEHOLDS.name: 0.1155, WITH_CROWD.name: 0.1456, ALONE.name: 0.1089},
}
"""Least NDCG@10 under the released protocol: about 99 % of the figures of docs/ranking.md."""
VOTES = 0.0771
"""NDCG@10 of the baseline, all users."""
MOST_POPULAR = 0.8
"""Mean votes of our lists, as a share of the baseline's."""


def read_items(folder: Path) -> pd.DataFrame:
    """Return the item table of the data set, one row per film."""
    with gzip.open(folder / "movies.jsonl.gz", "rt", encoding="utf-8") as lines:
        films = [json.loads(line) for line in lines]
    for film in films:
        film["directors"] = [film["director"]] if film.get("director") else []
    return pd.DataFrame(films).rename(columns={"movieId": "work_id"}).assign(media_type="movie")


def read_histories(folder: Path) -> pd.DataFrame:
    """Return every rating as one complete play with its rating and date."""
    ratings = pd.read_csv(folder / "ratings.csv.gz")
    return pd.DataFrame(
        {
            "user_id": ratings["userId"],
            "work_id": ratings["movieId"],
            "plays": 1,
            "completion": 1.0,
            "favorite": False,
            "rating": ratings["rating"] * 2.0,
            "last_played_at": pd.to_datetime(ratings["timestamp"], unit="s", utc=True),
        }
    )


def embed(items: pd.DataFrame) -> NDArray[np.float32]:
    """Return the vectors of the product's text of each title, from the default embedder."""
    return StaticEmbedder().embed([title_text(row) for row in items.to_dict("records")]).vectors


def load(folder: Path, vectors: NDArray[np.float32] | None = None) -> World:
    """Read the data, embed the titles and split the histories."""
    items, histories = read_items(folder), read_histories(folder)
    row = {work: place for place, work in enumerate(items["work_id"])}
    training, held_out = leave_last_out(histories, share=0.2)
    liked_before = set(training.loc[training["rating"] >= LIKED, "user_id"])
    found = held_out[held_out["rating"] >= LIKED]
    hits = {
        int(str(user)): {row[w] for w in g["work_id"]} for user, g in found.groupby("user_id") if user in liked_before
    }
    last, last_known = last_moments(histories), last_moments(training)
    # A film of unknown year compares as released.
    years = items["year"].to_numpy(dtype=np.float64)
    return World(
        items=items,
        library=library_of(items, embed(items) if vectors is None else vectors),
        training=training,
        hits=hits,
        seen={int(str(user)): positions(g["work_id"], row) for user, g in training.groupby("user_id")},
        votes=items["vote_count"].fillna(0.0).to_numpy(dtype=np.float64),
        unreleased={user: years > last[user].year for user in hits},
        last_known=last_known,
    )


def last_moments(histories: pd.DataFrame) -> dict[int, pd.Timestamp]:
    """Return the moment of each user's last rating."""
    latest = histories.sort_values("last_played_at").drop_duplicates("user_id", keep="last")
    return dict(zip(latest["user_id"], latest["last_played_at"], strict=True))


def leave_last_out(
    histories: pd.DataFrame, *, share: float = 0.2, time: str = "last_played_at"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split every user's history by time, holding out the last ``share`` of the rows (rounded up).

    Rows with equal times keep their order; missing dates count as earliest.

    Returns:
        The rows that may be known, and those held out.
    """
    ordered = histories.sort_values(time, kind="stable", na_position="first")
    by_user = ordered.groupby("user_id", sort=False)
    size = np.asarray(by_user["user_id"].transform("size"), dtype=np.float64)
    from_the_end = size - np.asarray(by_user.cumcount(), dtype=np.float64)
    held = from_the_end <= np.ceil(size * share - 1e-9)
    return rows_where(ordered, ~held), rows_where(ordered, held)


def ndcg_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 10) -> float:
    """Return the normalised discounted cumulative gain of the first k, 0-1 (a hit gains 1/log2(rank + 1)).

    NaN when nothing is relevant.
    """
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    gain = sum(1.0 / np.log2(rank + 2) for rank, work in enumerate(recommended[:k]) if work in wanted)
    best = sum(1.0 / np.log2(rank + 2) for rank in range(min(k, len(wanted))))
    return float(gain / best)


def hit_rate_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 10) -> float:
    """Return 1.0 when any of the first k is relevant, else 0.0; NaN when nothing is relevant."""
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    return float(any(work in wanted for work in recommended[:k]))


def recall_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 20) -> float:
    """Return the share of the relevant titles among the first k, 0-1; NaN when nothing is relevant."""
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    return len(wanted & set(recommended[:k])) / len(wanted)


def mean_popularity(lists: Iterable[NDArray[np.int64]], votes: NDArray[Any], k: int = 10) -> float:
    """Return the mean of ``votes[row]`` over the first k of all lists; NaN without lists."""
    rows = [np.asarray(entry[:k], dtype=np.int64) for entry in lists]
    together = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    return float(np.nanmean(np.asarray(votes, dtype=np.float64)[together])) if len(together) else float("nan")


def coverage(lists: Iterable[NDArray[np.int64]], n: int, k: int = 10) -> float:
    """Return the share of the n titles that appear among the first k of any list, 0-1."""
    shown = {int(row) for entry in lists for row in entry[:k]}
    return len(shown) / n if n else float("nan")


def intra_list_diversity(vectors: NDArray[Any], rows: NDArray[np.int64], k: int = 10) -> float:
    """Return 1 minus the mean cosine of all pairs among the first k, about 0-1; NaN with fewer than two vectors."""
    matrix = np.asarray(vectors, dtype=np.float64)[np.asarray(rows[:k], dtype=np.int64)]
    matrix = matrix[np.linalg.norm(matrix, axis=1) > 1e-6]
    m = len(matrix)
    if m < 2:
        return float("nan")
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    total = float((matrix @ matrix.T).sum()) - m
    return 1.0 - total / (m * (m - 1))


def by_score(world: World, score: Callable[[int], NDArray[Any]], *, released: bool = False) -> Lists:
    """Return lists sorted by a score of all films, without the films that each user has seen."""
    lists: Lists = {}
    for user in world.users:
        values = np.asarray(score(user), dtype=np.float64).copy()
        values[world.seen[user]] = -np.inf
        if released:
            values[world.unreleased[user]] = -np.inf
        lists[user] = np.argsort(-values, kind="stable")[:DEPTH]
    return lists


def household_model(
    world: World, members: Sequence[int], asked: Sequence[int], config: RankingConfig = CONFIG, **inputs: Any
) -> RankingModel:
    """Prepare the production ranking for a household of ``members``."""
    histories = inputs.pop("histories", world.training)
    library = inputs.pop("library", world.library)
    return prepare(
        RankingInputs(
            items=world.items,
            histories=histories[histories["user_id"].isin(members)],
            as_of=as_utc(str(world.training["last_played_at"].max())),
            users=list(asked),
            **inputs,
        ),
        config,
        library=library,
    )


def lists_of(world: World, model: RankingModel) -> Lists:
    """Return the production lists of the model's users as rows."""
    row = world.library.index
    return {int(str(user)): np.array([row[w] for w in model.for_user(user)["work_id"]]) for user in model.people.users}


def rank(
    world: World,
    setting: Setting,
    draw: int = 0,
    *,
    ratings: bool,
    released: bool = True,
    cut: bool = False,
    config: RankingConfig = CONFIG,
    library: Library | None = None,
) -> Lists:
    """Return the production lists of a setting's qualifying users.

    Args:
        world: The data.
        setting: Who is ranked for.
        draw: Seed of the households.
        ratings: Whether ratings are known, or plays only; those of a crowd always are, as in published data.
        released: Whether films from after a user's last year of activity are left out.
        cut: Whether what others did after a user's last known moment is unknown.
        config: Parameters of the ranking.
        library: Titles to rank with, if not the world's.
    """
    histories = world.training if ratings else world.training.assign(rating=np.nan)
    crowd = rows_where(world.training, world.training["user_id"] <= 200) if setting.crowd else None
    inputs: dict[str, Any] = {"library": library or world.library, "excluded": world.unreleased if released else {}}
    shuffled = np.random.default_rng(draw).permutation(np.array(setting.users))
    lists: Lists = {}
    for start in range(0, len(shuffled), setting.household):
        members = [int(user) for user in shuffled[start : start + setting.household]]
        asked = [user for user in members if user in world.hits]
        if not asked:
            continue
        own = rows_where(histories, histories["user_id"].isin(members))
        if not cut:
            model = household_model(world, members, asked, config, histories=own, crowd=crowd, **inputs)
            lists |= lists_of(world, model)
            continue
        for user in asked:
            known, outside = before(own, world.last_known[user]), before(crowd, world.last_known[user])
            model = household_model(world, members, [user], config, histories=known, crowd=outside, **inputs)
            lists |= lists_of(world, model)
    return lists


def before(histories: pd.DataFrame | None, moment: pd.Timestamp) -> pd.DataFrame | None:
    """Return what had happened by a moment."""
    return None if histories is None else rows_where(histories, histories["last_played_at"] <= moment)


def judge(world: World, lists: Lists, users: Sequence[int] | None = None) -> Result:
    """Return the figures for ``users`` (default: all) who have a list."""
    chosen = [user for user in (users or world.users) if user in lists]
    return Result(
        ndcgs=np.array([ndcg_at(lists[user].tolist(), world.hits[user], 10) for user in chosen]),
        hit_rate=float(np.mean([hit_rate_at(lists[user].tolist(), world.hits[user], 10) for user in chosen])),
        recall=float(np.mean([recall_at(lists[user].tolist(), world.hits[user], DEPTH) for user in chosen])),
        votes=mean_popularity((lists[user] for user in chosen), world.votes),
        coverage=coverage((lists[user] for user in chosen), len(world.items)),
        diversity=float(np.nanmean([intra_list_diversity(world.library.centred, lists[user]) for user in chosen])),
    )


def measure(world: World, setting: Setting, **how: Any) -> Result:
    """Return the figures of a setting, the mean of its draws (``how``: as for :func:`rank`)."""
    users = [user for user in world.users if user in setting.users]
    drawn = [judge(world, rank(world, setting, draw, **how), users) for draw in range(setting.draws)]
    return Result(**{name: np.mean([getattr(one, name) for one in drawn], axis=0) for name in Result.__annotations__})


def intervals(ours: Result, baseline: Result) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return bootstrap 95 % intervals of ours and of its ratio to the baseline, resampling the users (seeded)."""
    draws = np.random.default_rng(0).integers(0, ours.users, size=(RESAMPLES, ours.users))
    means = ours.ndcgs[draws].mean(axis=1)
    ratios = means / baseline.ndcgs[draws].mean(axis=1)

    def middle(values: NDArray[np.float64]) -> tuple[float, float]:
        low, high = np.quantile(values, (0.025, 0.975))
        return float(low), float(high)

    return middle(means), middle(ratios)


def compare(world: World, *, ratings: bool, cut: bool = True) -> dict[Setting, Result]:
    """Print the table of all settings, and return our figures under the released protocol."""
    known = "plays and ratings" if ratings else "plays only"
    print(f"\n{known}; films that are released")
    print(f"{'NDCG@10':28}{'users':>5} {'votes':>6} {'ours':>6} {'95 %':>11} {'ratio':>6} {'95 %':>10}", end="")
    print(f" {'others cut':>13} {'naive: votes, ours':>20} {'mean votes':>14} {'HR@10':>6}", flush=True)
    popular = {released: by_score(world, lambda _: world.votes, released=released) for released in (True, False)}
    found: dict[Setting, Result] = {}
    for setting in SETTINGS:
        users = [user for user in world.users if user in setting.users]
        votes, naive_votes = (judge(world, popular[released], users) for released in (True, False))
        ours = found[setting] = measure(world, setting, ratings=ratings)
        naive = measure(world, setting, ratings=ratings, released=False)
        (low, high), (least, most) = intervals(ours, votes)
        print(f"{setting.name:28}{ours.users:>5} {votes.ndcg:>6.4f} {ours.ndcg:>6.4f} ", end="")
        print(f"[{low:.3f}, {high:.3f}]".replace("0.", ".").rjust(11), end=" ")
        print(f"{ours.ndcg / votes.ndcg:>5.2f}x [{least:.2f}, {most:.2f}]", end=" ")
        if cut and setting is not ALONE:
            earlier = measure(world, setting, ratings=ratings, cut=True)
            print(f"{earlier.ndcg:>6.4f} {earlier.ndcg / votes.ndcg:>5.2f}x", end=" ")
        else:
            print(f"{'-':>13}", end=" ")
        print(f"{naive_votes.ndcg:>6.4f} {naive.ndcg:>6.4f} {naive.ndcg / naive_votes.ndcg:>5.2f}x", end=" ")
        print(f"{ours.votes:>6.0f} /{votes.votes:>6.0f} {ours.hit_rate:>6.3f}", flush=True)
    return found


def compare_parts(world: World) -> None:
    """Print what the size of the household and the parts of the ranking are worth (plays only, released)."""
    print("\nplays only, users 201-400; films that are released")
    print(f"{'':34}{'NDCG@10':>8} {'ratio':>6} {'rec@20':>7} {'mean votes':>11} {'cover':>6} {'divers':>6}")
    average = bayesian_average(world.items["vote_average"], world.items["vote_count"])
    unseen = [user for user in world.users if user > 200]
    votes = judge(world, by_score(world, lambda _: world.votes, released=True), unseen)

    def line(name: str, one: Result) -> None:
        print(f"{name:34}{one.ndcg:>8.4f} {one.ndcg / votes.ndcg:>5.2f}x {one.recall:>7.4f} ", end="")
        print(f"{one.votes:>11.0f} {one.coverage:>6.3f} {one.diversity:>6.3f}", flush=True)

    line("TMDb votes", votes)
    line("Bayesian average", judge(world, by_score(world, lambda _: average, released=True), unseen))
    for size in (1, 5, 10, 20, 50):
        setting = replace(HOUSEHOLDS, household=size, draws=1 if size == 1 else HOUSEHOLDS.draws)
        line(f"households of {size}", measure(world, setting, ratings=False))
    bare = library_of(world.items)
    timeless = replace(CONFIG, mix=replace(TasteMix(), era=0.0))
    line("of 10, without vectors", measure(world, HOUSEHOLDS, ratings=False, library=bare))
    line("of 10, without years", measure(world, HOUSEHOLDS, ratings=False, config=timeless))


def verdict(world: World, plays: Mapping[Setting, Result], rated: Mapping[Setting, Result]) -> bool:
    """Print every figure beside its floor, and return whether all are kept."""
    kept = True
    for known, results in (("plays only", plays), ("ratings", rated)):
        for setting, ours in results.items():
            floor = FLOORS[known][setting.name]
            kept &= ours.ndcg >= floor
            print(f"{known}, {setting.name}: {ours.ndcg:.4f}, floor {floor:.4f}: {said(ours.ndcg >= floor)}")
    votes = judge(world, by_score(world, lambda _: world.votes, released=True))
    same = abs(votes.ndcg - VOTES) < 0.0005
    share = plays[ALL].votes / votes.votes
    print(f"baseline {votes.ndcg:.4f}, documented {VOTES:.4f}: {said(same)}")
    print(f"mean votes {share:.2f} of the baseline's, limit {MOST_POPULAR}: {said(share < MOST_POPULAR)}")
    return kept and same and share < MOST_POPULAR


def said(kept: bool) -> str:
    """Return the word for a limit that is kept or not."""
    return "kept" if kept else "MISSED"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables, and return 0 if all figures keep their floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--quick", action="store_true", help="only the figures that have a floor")
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        # As in verdict.py, which the tests of the ranking cannot import from there.
        print(f"NOT APPLICABLE: there is no data in {options.data}")
        return 3
    start = time.perf_counter()
    world = load(options.data)
    print(f"{len(world.items)} films, {len(world.seen)} people, {len(world.users)} of whom qualify; votes: most voted")
    plays = compare(world, ratings=False, cut=not options.quick)
    rated = compare(world, ratings=True, cut=not options.quick)
    if not options.quick:
        compare_parts(world)
    print()
    kept = verdict(world, plays, rated)
    print(f"{time.perf_counter() - start:.0f} s\n{'PASS' if kept else 'FAIL'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
