"""How good the lists are, measured with the code that makes them: by what people watched next.

Per user, the last 20 % of the history by time are held out (rounded up). A hit is a held-out title that the user liked.
Titles that the user knew before, or could not have watched yet, are no candidates, neither for the ranking nor for the
baseline, the titles with the most votes. Users without hits to find, or who liked nothing before, do not qualify.
Nothing that is held out reaches the ranking: no ratings, counts or dates.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.ranking.histories import Doubles, Rows, as_utc, positions, rows_where
from aperture_dagster.ranking.library import Library
from aperture_dagster.ranking.metrics import (
    coverage,
    hit_rate_at,
    intra_list_diversity,
    mean_popularity,
    ndcg_at,
    overlap,
    recall_at,
)
from aperture_dagster.ranking.recommend import RankingModel, prepare

LIKED = 8.0
"""Least rating of a hit: 4 of 5 stars, on the product's scale of 0 to 10."""
HELD_OUT = 0.2
DEPTH = 20
"""Length of the lists that are judged."""
RESAMPLES = 10_000

Lists = dict[Hashable, Rows]
"""Rows of the item table per user, best first."""
Interval = tuple[float, float]
Unavailable = Callable[[pd.Timestamp, pd.Timestamp], NDArray[np.bool_]]
"""Masks the titles, shape (n,), that a user could not watch, given the moments of their last known activity, and of
their last activity of all."""


@dataclass(frozen=True, eq=False)
class World:
    """The titles, the known part of each user's history, and the hits to find."""

    items: pd.DataFrame
    library: Library
    training: pd.DataFrame
    hits: dict[Any, set[int]]
    """Per qualifying user, the rows of the titles to find."""
    seen: dict[Any, Rows]
    votes: Doubles
    unreleased: dict[Any, NDArray[np.bool_]]
    """Per qualifying user, which titles they could not watch yet."""
    last_known: dict[Any, pd.Timestamp]
    """Per user, the moment of the last activity that is known."""

    @property
    def users(self) -> list[Any]:
        """The users who qualify."""
        return list(self.hits)


@dataclass(frozen=True)
class Result:
    """The figures of one way to rank: NDCG@10 of each user, and means over all."""

    ndcgs: Doubles
    hit_rate: float
    recall: float
    votes: float
    coverage: float
    diversity: float
    overlap: float

    @property
    def users(self) -> int:
        """Number of users with a list."""
        return len(self.ndcgs)

    @property
    def ndcg(self) -> float:
        """Mean NDCG@10."""
        return float(self.ndcgs.mean()) if self.users else float("nan")


def world_of(
    items: pd.DataFrame, library: Library, histories: pd.DataFrame, liked: NDArray[np.bool_], unavailable: Unavailable
) -> World:
    """Split the histories of titles in the library, and find who qualifies.

    Args:
        items: One row per title, as in ``RankingInputs``.
        library: The same titles.
        histories: As in ``RankingInputs``; rows of other titles are ignored.
        liked: Which rows of the histories say that the user liked the title, shape (rows,).
        unavailable: Tells which titles a user could not watch; they are no candidates.
    """
    row = library.index
    rows = positions(histories["work_id"], row)
    known = rows_where(histories.assign(row=rows, liked=liked), rows >= 0)
    training, held_out = leave_last_out(known)
    last, last_known = last_moments(known), last_moments(training)
    liked_before = set(training.loc[training["liked"], "user_id"])
    hits: dict[Any, set[int]] = {}
    unreleased: dict[Any, NDArray[np.bool_]] = {}
    for user, found in rows_where(held_out, held_out["liked"]).groupby("user_id"):
        if user not in liked_before:
            continue
        mask = unavailable(last_known[user], last[user])
        findable = {int(one) for one in found["row"] if not mask[one]}
        if findable:
            hits[user], unreleased[user] = findable, mask
    return World(
        items=items,
        library=library,
        training=training.drop(columns=["row", "liked"]),
        hits=hits,
        seen={user: group["row"].to_numpy(dtype=np.int64) for user, group in training.groupby("user_id")},
        votes=items["vote_count"].astype("float64").fillna(0.0).to_numpy(dtype=np.float64),
        unreleased=unreleased,
        last_known=last_known,
    )


def latest_known(world: World, k: int) -> World:
    """Return the world as if of each user only the latest ``k`` titles of what is known were known.

    What else they had seen is no candidate, so the hits are the same.
    """
    closed = {user: mask.copy() for user, mask in world.unreleased.items()}
    for user, mask in closed.items():
        mask[world.seen[user]] = True
    training = world.training.groupby("user_id", sort=False).tail(k)
    return replace(world, training=training, unreleased=closed)


def first_known(world: World, histories: pd.DataFrame, liked: NDArray[np.bool_], k: int) -> World:
    """Return the world as if only the first ``k`` titles of each user were known; all that they liked later are hits.

    ``histories`` and ``liked`` are as for :func:`world_of`.
    """
    row = world.library.index
    ordered = histories.assign(row=positions(histories["work_id"], row), liked=liked)
    ordered = rows_where(ordered, ordered["row"] >= 0).sort_values("last_played_at", kind="stable", na_position="first")
    place = np.asarray(ordered.groupby("user_id", sort=False).cumcount())
    training, later = rows_where(ordered, place < k), rows_where(ordered, (place >= k) & ordered["liked"])
    return replace(
        world,
        training=training.drop(columns=["row", "liked"]),
        hits={user: set(group["row"]) for user, group in later.groupby("user_id") if user in world.hits},
        seen={user: group["row"].to_numpy(dtype=np.int64) for user, group in training.groupby("user_id")},
    )


def last_moments(histories: pd.DataFrame) -> dict[Any, pd.Timestamp]:
    """Return the moment of each user's last activity."""
    latest = histories.sort_values("last_played_at").drop_duplicates("user_id", keep="last")
    return dict(zip(latest["user_id"], latest["last_played_at"], strict=True))


def leave_last_out(
    histories: pd.DataFrame, *, share: float = HELD_OUT, time: str = "last_played_at"
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


def before(histories: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Return what had happened by a moment."""
    return rows_where(histories, histories["last_played_at"] <= moment)


def by_score(world: World, score: Callable[[Any], NDArray[Any]], *, released: bool = False) -> Lists:
    """Return lists sorted by a score of all titles, without those that each user has seen.

    ``released``: without those that a user could not watch yet.
    """
    lists: Lists = {}
    for user in world.users:
        out = np.zeros(len(world.items), dtype=bool)
        out[world.seen[user]] = True
        if released:
            out |= world.unreleased[user]
        order = np.argsort(-np.asarray(score(user), dtype=np.float64), kind="stable")
        lists[user] = order[~out[order]][:DEPTH]
    return lists


def household_model(
    world: World,
    members: Iterable[Hashable],
    asked: Sequence[Hashable],
    config: RankingConfig,
    *,
    histories: pd.DataFrame | None = None,
    library: Library | None = None,
    **inputs: Any,
) -> RankingModel:
    """Prepare the production ranking of ``asked``, who live in a household of ``members``.

    ``histories`` (default: what is known of the world) and ``library`` replace the world's; ``inputs`` are further ones
    of ``RankingInputs``.
    """
    known = world.training if histories is None else histories
    given = RankingInputs(
        items=world.items,
        histories=rows_where(known, known["user_id"].isin(list(members))),
        as_of=as_utc(str(world.training["last_played_at"].max())),
        users=list(asked),
        **inputs,
    )
    return prepare(given, config, library=library or world.library)


def lists_of(world: World, model: RankingModel) -> Lists:
    """Return the production lists of the model's users as rows."""
    row = world.library.index
    lists = {user: model.for_user(user) for user in model.people.users}
    return {user: np.array([row[work] for work in found["work_id"]], np.int64) for user, found in lists.items()}


def households_of(users: Sequence[Any], size: int, draw: int = 0) -> Iterator[list[Any]]:
    """Divide users into households of ``size`` at random; ``draw`` is the seed. The last one may be smaller."""
    order = np.random.default_rng(draw).permutation(len(users))
    for start in range(0, len(order), size):
        yield [users[place] for place in order[start : start + size]]


def rank_household(
    world: World,
    members: Sequence[Any],
    config: RankingConfig,
    *,
    asked: Sequence[Any] | None = None,
    ratings: bool = False,
    released: bool = True,
    library: Library | None = None,
    **inputs: Any,
) -> Lists:
    """Return the production lists of the qualifying users of one household.

    Args:
        world: The data.
        members: Who lives together.
        config: Parameters of the ranking; its limit is the length of the lists.
        asked: Who of them gets a list. Default: everybody.
        ratings: Whether ratings are known, or plays only.
        released: Whether titles are left out that a user could not watch yet.
        library: Titles to rank with, if not the world's.
        inputs: Further ones of ``RankingInputs``, such as a crowd.
    """
    chosen = [user for user in (members if asked is None else asked) if user in world.hits]
    if not chosen:
        return {}
    known = inputs.pop("histories", world.training)
    model = household_model(
        world,
        members,
        chosen,
        config,
        histories=known if ratings else known.assign(rating=np.nan),
        library=library,
        excluded={user: world.unreleased[user] for user in chosen} if released else {},
        **inputs,
    )
    return lists_of(world, model)


def judge(world: World, lists: Mapping[Any, Rows], users: Sequence[Any] | None = None) -> Result:
    """Return the figures for ``users`` (default: all) who have a list."""
    chosen = [user for user in (world.users if users is None else users) if user in lists]
    own = [lists[user] for user in chosen]
    found = [(entry.tolist(), world.hits[user]) for user, entry in zip(chosen, own, strict=True)]
    return Result(
        ndcgs=np.array([ndcg_at(*one) for one in found]),
        hit_rate=_mean(hit_rate_at(*one) for one in found),
        recall=_mean(recall_at(*one, DEPTH) for one in found),
        votes=mean_popularity(own, world.votes),
        coverage=coverage(own, len(world.items)),
        diversity=_mean(intra_list_diversity(world.library.centred, entry) for entry in own),
        overlap=overlap(own),
    )


def mean_result(results: Sequence[Result]) -> Result:
    """Return the mean of several draws of the same users."""
    return Result(**{one.name: np.mean([getattr(r, one.name) for r in results], axis=0) for one in fields(Result)})


def intervals(ours: Result, baseline: Result) -> tuple[Interval, Interval]:
    """Return bootstrap 95 % intervals of ours and of its ratio to the baseline, resampling the users (seeded).

    Both are of the same users, in the same order. A ratio to a baseline of 0 is infinite.
    """
    draws = np.random.default_rng(0).integers(0, ours.users, size=(RESAMPLES, ours.users))
    means = ours.ndcgs[draws].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means / baseline.ndcgs[draws].mean(axis=1)
    return _middle(means), _middle(np.where(np.isnan(ratios), 1.0, ratios))


def _middle(values: Doubles) -> Interval:
    # Without interpolation: between two values of which one is infinite there is none.
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are known; NaN if there is none."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
