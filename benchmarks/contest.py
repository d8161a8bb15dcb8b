"""Set the lists beside those of other recommenders: in one run, on the same split, for the same people.

The protocol is that of ``benchmarks/recommendation_quality.py``: a hit is a held-out film rated 4 of 5 or more; films
from after the user's last year of activity are no candidates. Users 201-400 are judged. All parameters of the others
were chosen on users 1-200 (``--tune`` chooses them again and prints them), for each home and for plays and ratings.

- Homes: one server for all, households of ten (three draws), and people alone. Who learns from people learns from those
  of the home, and from users 1-200 as well where they are the crowd. Somebody alone without a crowd leaves nothing to
  learn from people.
- With ratings, the others learn from films rated 4 or more, or from all that was watched, whichever was better on users
  1-200; from plays, from all that was watched.
- "votes of the last years": the most voted films of the years before the user's last known moment (as many as was best
  on users 1-200).
- One cut in time: everything before a moment is known, of everybody, and nothing after it; means over several moments.

    python benchmarks/contest.py [--data ../shared/data] [--tune]

Fails when our lists fall behind the best of the others, or behind the votes, in any column by more than the noise: when
the 95 % interval of the paired difference lies below 0.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Small matrices are slower on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from peers import PEERS, Matrix, Parameters, Peer, grid
from protocol import (
    ALONE,
    CONFIG,
    DATA,
    HOMES,
    HOUSEHOLDS,
    KNOWN_OF_USERS,
    OTHERS,
    SERVER,
    Setting,
    alone_together,
    before,
    difference,
    edges_of,
    households_of,
    load,
    mean_result,
    paired,
    product_database,
    rank,
    read_folder,
    sameness,
    tmdb_lists,
    without_ratings,
)
from verdict import Verdict, not_applicable

from aperture_dagster.taste.ranking.evaluation import (
    DEPTH,
    LIKED,
    Lists,
    Result,
    World,
    by_votes,
    judge,
    last_moments,
    rank_household,
)
from aperture_dagster.taste.ranking.histories import as_utc, positions, rows_where

YEARS = (2, 3, 5, 8, 12, 20)
"""Numbers of years among which "votes of the last years" chooses."""
CONTENT_VOTES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Weights of the votes beside the nearness of texts."""
MOMENTS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of all activity that the single cuts leave known."""
CHOSEN: dict[tuple[str, str, str], Parameters] = {
    ("popular here", "201-400 as one server", "plays only"): {"liked_only": False},
    ("item-kNN", "201-400 as one server", "plays only"): {"neighbours": 100, "shrink": 0.0, "liked_only": False},
    ("EASE", "201-400 as one server", "plays only"): {"ridge": 400.0, "liked_only": False},
    ("SLIM", "201-400 as one server", "plays only"): {"penalty": 0.005, "l1_share": 0.02, "liked_only": False},
    ("iALS", "201-400 as one server", "plays only"): {
        "factors": 32,
        "regularization": 10.0,
        "alpha": 1.0,
        "liked_only": False,
    },
    ("BPR", "201-400 as one server", "plays only"): {
        "factors": 32,
        "rate": 0.02,
        "regularization": 0.01,
        "iterations": 60,
        "liked_only": False,
    },
    ("popular here", "201-400 as one server", "ratings"): {"liked_only": True},
    ("item-kNN", "201-400 as one server", "ratings"): {"neighbours": 20, "shrink": 20.0, "liked_only": True},
    ("EASE", "201-400 as one server", "ratings"): {"ridge": 50.0, "liked_only": True},
    ("SLIM", "201-400 as one server", "ratings"): {"penalty": 0.005, "l1_share": 0.2, "liked_only": True},
    ("iALS", "201-400 as one server", "ratings"): {
        "factors": 16,
        "regularization": 0.1,
        "alpha": 5.0,
        "liked_only": True,
    },
    ("BPR", "201-400 as one server", "ratings"): {
        "factors": 32,
        "rate": 0.02,
        "regularization": 0.01,
        "iterations": 60,
        "liked_only": False,
    },
    ("popular here", "201-400 in households of 10", "plays only"): {"liked_only": False},
    ("item-kNN", "201-400 in households of 10", "plays only"): {"neighbours": 100, "shrink": 5.0, "liked_only": False},
    ("EASE", "201-400 in households of 10", "plays only"): {"ridge": 5.0, "liked_only": False},
    ("SLIM", "201-400 in households of 10", "plays only"): {"penalty": 0.0005, "l1_share": 0.2, "liked_only": False},
    ("iALS", "201-400 in households of 10", "plays only"): {
        "factors": 16,
        "regularization": 1.0,
        "alpha": 1.0,
        "liked_only": False,
    },
    ("BPR", "201-400 in households of 10", "plays only"): {
        "factors": 8,
        "rate": 0.02,
        "regularization": 0.1,
        "iterations": 60,
        "liked_only": False,
    },
    ("popular here", "201-400 in households of 10", "ratings"): {"liked_only": False},
    ("item-kNN", "201-400 in households of 10", "ratings"): {"neighbours": 500, "shrink": 0.0, "liked_only": True},
    ("EASE", "201-400 in households of 10", "ratings"): {"ridge": 5.0, "liked_only": True},
    ("SLIM", "201-400 in households of 10", "ratings"): {"penalty": 0.002, "l1_share": 0.2, "liked_only": True},
    ("iALS", "201-400 in households of 10", "ratings"): {
        "factors": 16,
        "regularization": 10.0,
        "alpha": 5.0,
        "liked_only": True,
    },
    ("BPR", "201-400 in households of 10", "ratings"): {
        "factors": 8,
        "rate": 0.02,
        "regularization": 0.1,
        "iterations": 200,
        "liked_only": True,
    },
    ("content + votes", "", "plays only"): {"weight": 4.0, "liked_only": False},
    ("content + votes", "", "ratings"): {"weight": 4.0, "liked_only": True},
    ("votes of the last years", "", ""): {"years": 20},
}
"""The parameters of each recommender by its name, home and what is known, chosen on users 1-200."""


@dataclass(frozen=True)
class Column:
    """A world in which everybody is judged."""

    home: Setting
    known: str

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.home.name}, {self.known}{', 1-200 as crowd' if self.home.crowd else ''}"


def preferences_of(world: World, people: Sequence[Any], *, liked_only: bool) -> Matrix:
    """Return what people prefer of what is known, shape (people, films): what they liked, or all that they watched."""
    rows = positions(world.training["work_id"], world.library.index)
    person = positions(world.training["user_id"], {user: place for place, user in enumerate(people)})
    mine = (person >= 0) & (rows >= 0)
    if liked_only:
        mine &= world.training["rating"].to_numpy(dtype=np.float64) >= LIKED
    found = np.zeros((len(people), len(world.library.work_ids)), dtype=np.float32)
    found[person[mine], rows[mine]] = 1.0
    return found


def lists_by(world: World, users: Sequence[Any], scores: NDArray[np.floating]) -> Lists:
    """Return the lists of users from scores of shape (users, films); ties are ordered by votes."""
    by_vote = np.argsort(-world.votes, kind="stable")
    lists: Lists = {}
    for user, own in zip(users, scores, strict=True):
        order = by_vote[np.argsort(-own[by_vote], kind="stable")]
        out = world.unreleased[user].copy()
        out[world.seen[user]] = True
        lists[user] = order[~out[order]][:DEPTH]
    return lists


def rank_by(world: World, column: Column, score: Peer, given: Parameters, draw: int = 0) -> Lists:
    """Return the lists of a recommender that learns from people, for all homes of a column."""
    options = dict(given)
    liked_only = options.pop("liked_only", False)
    lists: Lists = {}
    outside = list(OTHERS) if column.home.crowd else []
    for members in households_of(column.home.users, column.home.household, draw):
        people = [*members, *outside]
        asked = [place for place, user in enumerate(members) if user in world.hits]
        if asked:
            scores = score.score(preferences_of(world, people, liked_only=liked_only), **options)
            lists |= lists_by(world, [members[place] for place in asked], scores[asked])
    return lists


def rank_by_content(world: World, users: Sequence[Any], *, weight: float, liked_only: bool) -> Lists:
    """Return lists by the cosine to the mean of a user's titles, and by votes with a weight (both standardised)."""
    vectors, votes = world.library.centred, np.log1p(world.votes)
    votes = (votes - votes.mean()) / votes.std()
    preferred = preferences_of(world, users, liked_only=liked_only)
    near = preferred @ vectors @ vectors.T
    deviation = near.std(axis=1, keepdims=True)
    near = (near - near.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1.0)
    return lists_by(world, users, near + weight * votes)


def rank_by_latest_votes(world: World, users: Sequence[Any], *, years: int) -> Lists:
    """Return the most voted films of some years before each user's last known moment; then the other ones."""
    released = world.items["year"].to_numpy(dtype=np.float64)
    new = [released > world.last_known[user].year - years for user in users]
    return lists_by(world, users, np.stack(new).astype(np.float32) * 1e9 + world.votes)


def rank_ours(world: World, column: Column, draw: int = 0) -> Lists:
    """Return the production lists."""
    home, ratings = column.home, column.known == "ratings"
    if home.household == 1 and not home.crowd:
        # The same lists as those of 200 households, at once.
        known = world if ratings else without_ratings(world)
        return rank_household(known, list(home.users), alone_together(CONFIG))
    return rank(world, home, draw, ratings=ratings)


def qualifying(world: World, home: Setting) -> list[Any]:
    """Return the users of a home who qualify."""
    return [user for user in world.users if user in home.users]


def measure(world: World, column: Column, lists: Iterator[Lists]) -> tuple[Result, float]:
    """Return the figures of some draws, and what share of all places 20 films take."""
    users = qualifying(world, column.home)
    drawn = [(judge(world, own, users), sameness(own)) for own in lists]
    results, same = zip(*drawn, strict=True)
    return mean_result(results), float(np.mean(same))


def choices(known: str, options: Sequence[Parameters]) -> Iterator[Parameters]:
    """Yield parameters to try: with ratings, each with what people liked and with all that they watched."""
    for given in options:
        for liked_only in (False, True) if known == "ratings" else (False,):
            yield {**given, "liked_only": liked_only}


def tune(world: World) -> dict[tuple[str, str, str], Parameters]:
    """Choose the parameters of all on users 1-200, and print them."""
    chosen: dict[tuple[str, str, str], Parameters] = {}

    def choose(key: tuple[str, str, str], options: Iterable[Parameters], ranked: Callable[[Parameters], Lists]) -> None:
        tried = ((given, judge(world, ranked(given), users).ndcg) for given in options)
        chosen[key], score = max(tried, key=lambda pair: pair[1])
        print(f"    {key!r}: {chosen[key]!r},  # {score:.4f}", flush=True)

    users = qualifying(world, replace(SERVER, users=OTHERS))
    for home, known in itertools.product((SERVER, HOUSEHOLDS), KNOWN_OF_USERS):
        here = replace(home, users=OTHERS, draws=1)
        column = Column(here, known)
        for peer in PEERS:
            ranked = functools.partial(rank_by, world, column, peer)
            choose((peer.name, home.name, known), choices(known, peer.grid), ranked)
    for known in KNOWN_OF_USERS:
        options = choices(known, grid(weight=CONTENT_VOTES))
        choose(("content + votes", "", known), options, lambda given: rank_by_content(world, users, **given))
    by_years = functools.partial(rank_by_latest_votes, world, users)
    choose(("votes of the last years", "", ""), grid(years=YEARS), lambda given: by_years(**given))
    return chosen


def contest(world: World, column: Column, chosen: Mapping[tuple[str, str, str], Parameters]) -> dict[str, Any]:
    """Return by name of each recommender its result and sameness in one column, ours first."""
    users = qualifying(world, column.home)
    found: dict[str, tuple[Result, float]] = {}
    plain = replace(world, edges=None)
    is_alone = column.home.household == 1 and not column.home.crowd
    draws = range(column.home.draws)
    found["ours"] = measure(world, column, (rank_ours(plain, column, draw) for draw in draws))
    if not column.home.crowd:
        listed = (rank_ours(world, column, draw) for draw in draws)
        found["ours, recommended lists"] = measure(world, column, listed)
    found["most voted"] = measure(world, column, iter([by_votes(world, users)]))
    latest = rank_by_latest_votes(world, users, **chosen["votes of the last years", "", ""])
    found["votes of the last years"] = measure(world, column, iter([latest]))
    content = chosen["content + votes", "", column.known]
    found["content + votes"] = measure(world, column, iter([rank_by_content(world, users, **content)]))
    if not is_alone:
        # A crowd makes a large home of a small one.
        tuned = SERVER if column.home.crowd else column.home
        for peer in PEERS:
            given = chosen[peer.name, tuned.name, column.known]
            found[peer.name] = measure(world, column, (rank_by(world, column, peer, given, draw) for draw in draws))
    return found


def show(column: str, found: Mapping[str, tuple[Result, float]]) -> None:
    """Print the table of a column."""
    ours = found["ours"][0]
    print(f"\n{column} ({ours.users} people)")
    print(f"{'':26}{'NDCG@10':>8} {'ours - it, 95 %':>26} {'HR@10':>6} {'rec@20':>7} {'cover':>6} {'same':>5}")
    for name, (result, same) in found.items():
        against = "-" if name == "ours" else difference(ours, result)
        print(f"{name:26}{result.ndcg:>8.4f} {against:>26} {result.hit_rate:>6.3f} {result.recall:>7.4f} ", end="")
        print(f"{result.coverage:>6.3f} {same:>5.2f}", flush=True)


def cut_at(world: World, histories: pd.DataFrame, moment: pd.Timestamp) -> World:
    """Return the world as of one moment: all that was done by then is known, and what users 201-400 liked later are
    hits.
    """
    row = positions(histories["work_id"], world.library.index)
    known = rows_where(histories.assign(row=row), row >= 0)
    training = before(known, moment)
    later = rows_where(known, (known["last_played_at"] > moment) & (known["rating"] >= LIKED))
    liked_before = set(training.loc[training["rating"] >= LIKED, "user_id"])
    last = last_moments(known)
    years = world.items["year"].to_numpy(dtype=np.float64)
    hits: dict[Any, set[int]] = {}
    unreleased: dict[Any, NDArray[np.bool_]] = {}
    for user, group in later.groupby("user_id"):
        if user in liked_before and user not in OTHERS:
            mask = years > last[user].year
            if findable := {int(film) for film in group["row"] if not mask[film]}:
                hits[user], unreleased[user] = findable, mask
    return replace(
        world,
        edges=None,
        training=training.drop(columns=["row"]),
        hits=hits,
        unreleased=unreleased,
        seen={user: group["row"].to_numpy(dtype=np.int64) for user, group in training.groupby("user_id")},
        last_known=last_moments(training),
    )


def single_cuts(
    world: World, histories: pd.DataFrame, chosen: Mapping[tuple[str, str, str], Parameters]
) -> dict[str, tuple[Result, float]]:
    """Return the figures of everybody as one server, pooled over some moments at which all is cut."""
    moments = np.sort(histories["last_played_at"].to_numpy())
    column = Column(replace(SERVER, users=range(1, 401), household=400), "ratings")
    pooled: dict[str, list[tuple[Result, float]]] = {}
    for share in MOMENTS:
        past = cut_at(world, histories, as_utc(str(moments[int(share * len(moments))])))
        users = qualifying(past, column.home)
        lists = {
            "ours": rank_ours(past, column),
            "most voted": by_votes(past, users),
            "votes of the last years": rank_by_latest_votes(past, users, **chosen["votes of the last years", "", ""]),
        }
        for peer in PEERS:
            lists[peer.name] = rank_by(past, column, peer, chosen[peer.name, SERVER.name, "ratings"])
        for name, own in lists.items():
            pooled.setdefault(name, []).append((judge(past, own, users), sameness(own)))
    return {name: pool(results) for name, results in pooled.items()}


def pool(results: Sequence[tuple[Result, float]]) -> tuple[Result, float]:
    """Return several judgements as one, of all people that they are about."""
    sizes = [result.users for result, _ in results]
    mean = functools.partial(np.average, weights=sizes)
    together = Result(
        ndcgs=np.concatenate([result.ndcgs for result, _ in results]),
        hit_rate=float(mean([result.hit_rate for result, _ in results])),
        recall=float(mean([result.recall for result, _ in results])),
        votes=float(mean([result.votes for result, _ in results])),
        coverage=float(mean([result.coverage for result, _ in results])),
    )
    return together, float(mean([same for _, same in results]))


def judge_column(verdict: Verdict, column: str, found: Mapping[str, tuple[Result, float]]) -> None:
    """Judge ours beside the best of the others, which may not be better by more than the noise."""
    ours = found["ours"][0]
    others = {name: result for name, (result, _) in found.items() if not name.startswith("ours")}
    name, best = max(others.items(), key=lambda pair: pair[1].ndcg)
    mean, margin = paired(ours.ndcgs, best.ndcgs)
    verdict.least(f"ours beside {name}, {column}: difference and its margin", mean + margin, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the contest, print its tables, and return 0 if nothing is ahead of our lists by more than the noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--tune", action="store_true", help="choose the parameters of the others again")
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    start = time.perf_counter()
    world = load(options.data)
    with product_database() as database:
        edges = edges_of(database, world.library.work_ids.tolist(), tmdb_lists(options.data))
    world = replace(world, edges=edges["recommended only"])
    chosen = tune(world) if options.tune else CHOSEN
    verdict = Verdict()
    columns = [Column(home, known) for home in HOMES for known in KNOWN_OF_USERS]
    columns += [Column(replace(home, crowd=True), known) for home in (SERVER, ALONE) for known in KNOWN_OF_USERS]
    for column in columns:
        found = contest(world, column, chosen)
        show(str(column), found)
        judge_column(verdict, str(column), found)
    cuts = single_cuts(world, read_folder(options.data)[1], chosen)
    name = f"one cut in time, everybody as one server, ratings, {len(MOMENTS)} moments"
    show(name, cuts)
    judge_column(verdict, name, cuts)
    print(f"\n{time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of processor time")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
