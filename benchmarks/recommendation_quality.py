"""Measure how much better than popularity the recommendations are, on real histories and with the production code.

Per user, the last 20 % of the ratings by time are held out (rounded up). A hit is a held-out film rated at least 4 of
5; every film that the user had not rated before is a candidate. Users without hits to find, or who liked nothing
before, do not qualify. Nothing that is held out reaches the ranking: no ratings, counts or dates.

    python benchmarks/recommendation_quality.py [--data ../shared/data] [--quick]

Data: MovieLens ml-latest-small (Harper and Konstan 2015) with public TMDb facts; see the data's own README.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
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

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
LIKED = 8.0
"""4 of 5 stars, on the product's scale of 0 to 10."""
DEPTH = 20
PLAIN = RankingConfig(limit=DEPTH, diversity=0.0)
DIVERSE = RankingConfig(limit=DEPTH)

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

    @property
    def users(self) -> list[int]:
        """The users who qualify."""
        return list(self.hits)


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    users: int
    ndcg: float
    error: float
    hit_rate: float
    recall: float
    votes: float
    coverage: float
    diversity: float


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
    """Return the vectors of the product's text of each title, from the local model that ships in its wheel."""
    from wordllama import WordLlama  # not needed by callers that bring vectors

    spec = importlib.util.find_spec("wordllama")
    assert spec is not None and spec.origin is not None
    model = WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
    return np.asarray(model.embed([title_text(row) for row in items.to_dict("records")]), dtype=np.float32)


def load(folder: Path, vectors: NDArray[np.float32] | None = None) -> World:
    """Read the data, embed the titles and split the histories."""
    items = read_items(folder)
    row = {work: place for place, work in enumerate(items["work_id"])}
    training, held_out = leave_last_out(read_histories(folder), share=0.2)
    liked_before = set(training.loc[training["rating"] >= LIKED, "user_id"])
    found = held_out[held_out["rating"] >= LIKED]
    hits = {
        int(str(user)): {row[w] for w in g["work_id"]} for user, g in found.groupby("user_id") if user in liked_before
    }
    seen = {int(str(user)): positions(g["work_id"], row) for user, g in training.groupby("user_id")}
    return World(
        items=items,
        library=library_of(items, embed(items) if vectors is None else vectors),
        training=training,
        hits=hits,
        seen=seen,
        votes=items["vote_count"].fillna(0.0).to_numpy(dtype=np.float64),
    )


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


def by_score(world: World, score: Callable[[int], NDArray[Any]]) -> Lists:
    """Return lists sorted by a score of all films, without the films that each user has seen."""
    lists: Lists = {}
    for user in world.users:
        values = np.asarray(score(user), dtype=np.float64).copy()
        values[world.seen[user]] = -np.inf
        lists[user] = np.argsort(-values, kind="stable")[:DEPTH]
    return lists


def household_model(
    world: World, members: Sequence[int], asked: Sequence[int], config: RankingConfig = DIVERSE, **inputs: Any
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


def households(world: World, size: int, asked: Sequence[int], config: RankingConfig = DIVERSE, **inputs: Any) -> Lists:
    """Split ``asked`` at random (seeded) into households of ``size``, and rank each on its own."""
    shuffled = np.random.default_rng(size).permutation(np.array(asked))
    lists: Lists = {}
    for start in range(0, len(shuffled), size):
        members = [int(user) for user in shuffled[start : start + size]]
        lists |= lists_of(world, household_model(world, members, members, config, **inputs))
    return lists


def judge(world: World, name: str, lists: Lists, users: Sequence[int] | None = None) -> Result:
    """Return the figures for ``users`` (default: all) who have a list."""
    chosen = [user for user in (users or world.users) if user in lists]
    ndcg = np.array([ndcg_at(lists[user].tolist(), world.hits[user], 10) for user in chosen])
    return Result(
        name=name,
        users=len(chosen),
        ndcg=float(ndcg.mean()),
        error=float(ndcg.std(ddof=1) / np.sqrt(len(ndcg))),
        hit_rate=float(np.mean([hit_rate_at(lists[user].tolist(), world.hits[user], 10) for user in chosen])),
        recall=float(np.mean([recall_at(lists[user].tolist(), world.hits[user], DEPTH) for user in chosen])),
        votes=mean_popularity((lists[user] for user in chosen), world.votes),
        coverage=coverage((lists[user] for user in chosen), len(world.items)),
        diversity=float(np.nanmean([intra_list_diversity(world.library.centred, lists[user]) for user in chosen])),
    )


def choose_weights(world: World, model: RankingModel, users: Sequence[int]) -> RankingConfig:
    """Return the best configuration of a small grid around the defaults, by NDCG@10 of ``users``."""
    best, best_ndcg = PLAIN, -1.0
    weights = PLAIN.weights
    for sim, co, pop in product((0.7, 1.0, 1.4), repeat=3):
        scaled = replace(
            weights,
            similarity=weights.similarity * sim,
            co_watch=weights.co_watch * co,
            popularity=weights.popularity * pop,
        )
        config = replace(PLAIN, weights=scaled, limit=10)
        found = lists_of(world, replace(model, config=config, people=replace(model.people, users=list(users))))
        ndcg = float(np.mean([ndcg_at(found[user].tolist(), world.hits[user], 10) for user in users]))
        if ndcg > best_ndcg:
            best, best_ndcg = replace(config, limit=DEPTH), ndcg
    return best


def show(title: str, results: Sequence[Result], baseline: Result) -> None:
    """Print one table, with ratios to ``baseline``, which ranks the same users."""
    print(f"\n{title}")
    print(f"{'':46}{'users':>5} {'NDCG@10':>8} {'±':>5} {'HR@10':>6} {'rec@20':>7} {'ratio':>6}", end="")
    print(f" {'votes':>7} {'cover':>6} {'divers':>6}")
    for one in results:
        ratio = one.ndcg / baseline.ndcg if baseline.ndcg else float("nan")
        print(f"{one.name:46}{one.users:>5} {one.ndcg:>8.4f} {one.error:>5.3f} {one.hit_rate:>6.3f} ", end="")
        print(f"{one.recall:>7.4f} {ratio:>5.2f}x {one.votes:>7.0f} {one.coverage:>6.3f} {one.diversity:>6.3f}")


def baselines(world: World) -> dict[str, Lists]:
    """Return the baselines: random order, number of votes, and the shrunk average of votes."""
    random = np.random.default_rng(0)
    average = bayesian_average(world.items["vote_average"], world.items["vote_count"])
    return {
        "random": by_score(world, lambda _: random.random(len(world.items))),
        "TMDb votes": by_score(world, lambda _: world.votes),
        "Bayesian average": by_score(world, lambda _: average),
    }


def compare_all(world: World, everybody: Sequence[int], usual: dict[str, Lists]) -> float:
    """Print the table of all users in one household of 400, and return the ratio to TMDb votes."""
    model = household_model(world, everybody, world.users)
    plain, diverse = lists_of(world, replace(model, config=PLAIN)), lists_of(world, model)
    first, second = [u for u in world.users if u <= 200], [u for u in world.users if u > 200]
    results = [judge(world, name, lists) for name, lists in usual.items()]
    ours = judge(world, "ours, with MMR (default)", diverse)
    results += [judge(world, "ours, without MMR", plain), ours]
    show("All users, one household of 400", results, results[1])

    chosen = choose_weights(world, model, first)
    ratio = f"sim {chosen.weights.similarity:.2g}, co-watch {chosen.weights.co_watch:.2g}"
    chosen_lists = lists_of(world, replace(model, config=chosen, people=replace(model.people, users=second)))
    unseen = [judge(world, name, lists, second) for name, lists in usual.items()]
    unseen += [
        judge(world, "ours, without MMR", plain, second),
        judge(world, "ours, with MMR (default)", diverse, second),
        judge(world, f"chosen again ({ratio}, pop {chosen.weights.popularity:.2g})", chosen_lists, second),
    ]
    show("Users 201-400 (weights chosen on 1-200)", unseen, unseen[1])
    return ours.ndcg / results[1].ndcg


def compare_households(world: World, everybody: Sequence[int], usual: dict[str, Lists]) -> None:
    """Print the tables of small households, for users 201-400, on whom no weight was chosen."""
    unseen = [user for user in everybody if user > 200]
    votes = judge(world, "TMDb votes", usual["TMDb votes"], [user for user in world.users if user > 200])
    results = [votes]
    for size in (1, 5, 10, 20, 50):
        name = "one person alone" if size == 1 else f"households of {size}"
        lists = households(world, size, unseen)
        results.append(judge(world, name, {user: lists[user] for user in lists if user in world.hits}))
    show("Small households, fitted on their own members only (users 201-400)", results, votes)

    def ten(name: str, config: RankingConfig = DIVERSE, **inputs: Any) -> Result:
        lists = households(world, 10, unseen, config, **inputs)
        return judge(world, name, {user: lists[user] for user in lists if user in world.hits})

    crowd = world.training[world.training["user_id"] <= 200]
    more = [
        votes,
        ten("as above"),
        ten("plays only: no rating is known", histories=world.training.assign(rating=np.nan)),
        ten("without vectors", library=library_of(world.items)),
        ten("without years", replace(DIVERSE, mix=replace(TasteMix(), era=0.0))),
        ten("with users 1-200 as a crowd from outside", crowd=crowd),
    ]
    show("Households of 10, what matters (users 201-400)", more, votes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--quick", action="store_true", help="only the first table")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    world = load(options.data)
    everybody = sorted(int(user) for user in world.training["user_id"].unique())
    print(f"{len(world.items)} films, {len(everybody)} people, {len(world.users)} of whom qualify; ", end="")
    print("ratio: NDCG@10 to that of TMDb votes; votes: mean number of TMDb votes of the first ten")
    usual = baselines(world)
    ratio = compare_all(world, everybody, usual)
    if not options.quick:
        compare_households(world, everybody, usual)
    print(f"\n{time.perf_counter() - start:.0f} s")
    print(f"ratio to TMDb votes (NDCG@10): {ratio:.2f}")


if __name__ == "__main__":
    main()
