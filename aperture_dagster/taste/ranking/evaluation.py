"""How good the lists are, measured with the code that makes them: by what people watched next.

Per user, the last 20 % of the history by time are held out (rounded up). A hit is a held-out title that the user liked.
Titles that the user knew before, or could not have watched yet, are no candidates, neither for the ranking nor for the
baseline, the titles with the most votes. Users without hits to find, or who liked nothing before, do not qualify.
Nothing that is held out reaches the ranking: no ratings, counts or dates.
"""

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.crowd import Crowd
from aperture_dagster.taste.ranking.histories import Doubles, Rows, as_utc, positions, rows_where, tidy_histories
from aperture_dagster.taste.ranking.library import Library
from aperture_dagster.taste.ranking.recommend import RankingModel, prepare
from aperture_dagster.taste.ranking.taste import taste_weights

# Measures of ranked lists, against what was held out and by how popular they are.


FIRST = 10
"""Number of titles that most measures look at: what fits on a screen."""


def ndcg_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = FIRST) -> float:
    """Return the normalised discounted cumulative gain of the first k, 0-1 (a hit gains 1/log2(rank + 1)).

    NaN when nothing is relevant.
    """
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    gain = sum(1.0 / np.log2(rank + 2) for rank, work in enumerate(recommended[:k]) if work in wanted)
    best = sum(1.0 / np.log2(rank + 2) for rank in range(min(k, len(wanted))))
    return float(gain / best)


def hit_rate_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = FIRST) -> float:
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


def mean_popularity(lists: Iterable[Rows], votes: NDArray[Any], k: int = FIRST) -> float:
    """Return the mean of ``votes[row]`` over the first k of all lists; NaN without lists."""
    together = np.concatenate([np.zeros(0, dtype=np.int64), *(entry[:k] for entry in lists)])
    return float(np.nanmean(np.asarray(votes, dtype=np.float64)[together])) if len(together) else float("nan")


def coverage(lists: Iterable[Rows], n: int, k: int = FIRST) -> float:
    """Return the share of the n titles that appear among the first k of any list, 0-1."""
    shown = {int(row) for entry in lists for row in entry[:k]}
    return len(shown) / n if n else float("nan")


LIKED = 8.0
"""Least rating of a hit: 4 of 5 stars, on the product's scale of 0 to 10."""
HELD_OUT = 0.2
DEPTH = 20
"""Length of the lists that are judged."""
RESAMPLES = 10_000
_AT_ONCE = 500
ENOUGH_USERS, ENOUGH_HITS = 20, 50
"""With fewer, the interval from resampling the users is not to be trusted."""

Lists = dict[Hashable, Rows]
"""Rows of the item table per user, best first."""
Interval = tuple[float, float]
Unavailable = Callable[[Any, pd.Timestamp, pd.Timestamp], NDArray[np.bool_]]
"""Masks the titles, shape (n,), that a user could not watch, given the user and the moments of their last known
activity, and of their last activity of all."""


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
    edges: pd.DataFrame | None = None
    """As in ``RankingInputs``."""

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

    @property
    def users(self) -> int:
        """Number of users with a list."""
        return len(self.ndcgs)

    @property
    def ndcg(self) -> float:
        """Mean NDCG@10."""
        return float(self.ndcgs.mean()) if self.users else float("nan")


def world_of(
    items: pd.DataFrame,
    library: Library,
    histories: pd.DataFrame,
    liked: NDArray[np.bool_],
    unavailable: Unavailable,
    users: Collection[Any] | None = None,
    held_out: float = HELD_OUT,
) -> World:
    """Split the histories of titles in the library, and find who qualifies.

    Args:
        items: One row per title, as in ``RankingInputs``.
        library: The same titles.
        histories: As in ``RankingInputs``; rows of other titles are ignored.
        liked: Which rows of the histories say that the user liked the title, shape (rows,).
        unavailable: Tells which titles a user could not watch; they are no candidates.
        users: Who may qualify. Default: everybody. Those without dates never do.
        held_out: Share of each history that is held out.
    """
    row = library.index
    rows = positions(histories["work_id"], row)
    known = rows_where(histories.assign(row=rows, liked=liked), rows >= 0)
    training, later = leave_last_out(known, share=held_out)
    last, last_known = last_moments(known), last_moments(training)
    liked_before = set(training.loc[training["liked"], "user_id"])
    hits: dict[Any, set[int]] = {}
    unreleased: dict[Any, NDArray[np.bool_]] = {}
    for user, found in rows_where(later, later["liked"] & later["last_played_at"].notna()).groupby("user_id"):
        if user not in liked_before or (users is not None and user not in users):
            continue
        mask = unavailable(user, last_known[user], last[user])
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


def last_moments(histories: pd.DataFrame) -> dict[Any, pd.Timestamp]:
    """Return the moment of each user's last activity."""
    latest = histories.sort_values("last_played_at", na_position="first").drop_duplicates("user_id", keep="last")
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


def by_votes(world: World, users: Iterable[Any] | None = None) -> Lists:
    """Return the baseline of ``users`` (default: all): the titles with the most votes.

    Left out are those that each has seen, or could not watch yet.
    """
    order = np.argsort(-world.votes, kind="stable")
    lists: Lists = {}
    for user in world.users if users is None else users:
        out = world.unreleased[user].copy()
        out[world.seen[user]] = True
        lists[user] = order[~out[order]][:DEPTH]
    return lists


def household_model(
    world: World,
    members: Sequence[Any],
    config: RankingConfig,
    *,
    asked: Sequence[Any] | None = None,
    crowd: Crowd | None = None,
) -> RankingModel:
    """Prepare the production ranking of the qualifying users of one household.

    Args:
        world: The data.
        members: Who lives together.
        config: Parameters of the ranking; its limit is the length of the lists.
        asked: Who of them gets a list. Default: everybody.
        crowd: As in ``RankingInputs``.
    """
    chosen = [user for user in (members if asked is None else asked) if user in world.hits]
    inputs = RankingInputs(
        items=world.items,
        histories=rows_where(world.training, world.training["user_id"].isin(list(members))),
        as_of=as_utc(str(world.training["last_played_at"].max())),
        users=chosen,
        excluded={user: world.unreleased[user] for user in chosen},
        edges=world.edges,
        crowd=crowd,
    )
    return prepare(inputs, config, library=world.library)


def lists_of(model: RankingModel) -> Lists:
    """Return the production lists of the model's users as rows."""
    return {user: model.rows_for(user) for user in model.people.users}


def rank_household(world: World, members: Sequence[Any], config: RankingConfig, **inputs: Any) -> Lists:
    """Return the production lists of the qualifying users of one household (as for :func:`household_model`)."""
    return lists_of(household_model(world, members, config, **inputs))


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
    )


def intervals(ours: Result, baseline: Result) -> tuple[Interval, Interval]:
    """Return bootstrap 95 % intervals of ours and of its ratio to the baseline, resampling the users (seeded).

    Both are of the same users, in the same order. A ratio to a baseline of 0 is infinite.
    """
    random = np.random.default_rng(0)
    both = np.stack([ours.ndcgs, baseline.ndcgs])
    # In parts, since thousands of users would need a gigabyte.
    drawn = (random.integers(0, ours.users, size=(_AT_ONCE, ours.users)) for _ in range(RESAMPLES // _AT_ONCE))
    means, others = np.concatenate([both[:, part].mean(axis=2) for part in drawn], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means / others
    return _middle(means), _middle(np.where(np.isnan(ratios), 1.0, ratios))


@dataclass(frozen=True)
class Comparison:
    """The lists of some users beside those of the baseline, for the same users in the same order."""

    votes: Result
    ours: Result
    hits: int
    """Number of titles that could be found."""

    @property
    def is_enough(self) -> bool:
        """Whether there are enough users and hits for an interval to mean something."""
        return self.ours.users >= ENOUGH_USERS and self.hits >= ENOUGH_HITS

    @property
    def ratio(self) -> float:
        """NDCG@10 of our lists as a multiple of the baseline's; infinite if that is 0."""
        if self.votes.ndcg:
            return self.ours.ndcg / self.votes.ndcg
        return float("inf") if self.ours.ndcg else 1.0

    def rows(self) -> list[tuple[str, float, float]]:
        """Return each figure by its name: the baseline's, and that of our lists."""
        names = {
            "NDCG@10": "ndcg", "hit rate@10": "hit_rate", "recall@20": "recall", "coverage": "coverage",
            "mean votes": "votes",
        }  # fmt: skip
        return [(shown, getattr(self.votes, name), getattr(self.ours, name)) for shown, name in names.items()]


def compare_with_votes(world: World, lists: Lists) -> Comparison:
    """Judge lists, and those of the baseline for the same users, of titles that they could have watched."""
    users = [user for user in world.users if user in lists]
    votes = by_votes(world, users)
    hits = sum(len(world.hits[user]) for user in users)
    return Comparison(votes=judge(world, votes, users), ours=judge(world, lists, users), hits=hits)


def _middle(values: Doubles) -> Interval:
    # Without interpolation: between two values of which one is infinite there is none.
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are known; NaN if there is none."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


# The evaluation of a media server's own lists, on the histories of its users.
#
# A hit is a title of which the user watched at least half, or that they rated well. Candidates are the titles that were
# in the library by the user's last known activity and that the user may see. A title counts as added when the server
# says so, or when somebody first played it, if that was earlier: a library that was imported again has later dates.


LEAST_LIKING = 0.25
"""Liking of an unrated title of which half was watched; see ``taste_weights``."""
MOST_USERS = 200
"""Users whose lists are judged at most; co-watch still learns from everybody."""


def sample_of(users: Iterable[str], limit: int = MOST_USERS) -> list[str]:
    """Return at most so many users, the same ones each time, in order."""
    chosen = sorted(users, key=lambda user: hashlib.sha256(user.encode()).digest())[:limit]
    return sorted(chosen)


def worlds_of_server(
    items: pd.DataFrame,
    library: Library,
    histories: pd.DataFrame,
    *,
    added: Mapping[int, datetime],
    hidden: Mapping[Hashable, NDArray[np.bool_]],
    as_of: datetime,
) -> dict[str, World]:
    """Return the world of each media type: what is known, and what users watched later.

    Args:
        items: The titles of the library, as in ``RankingInputs``.
        library: The same titles.
        histories: Those of everybody, likewise.
        added: When each work was added to the library, where known.
        hidden: Per user who is asked, the titles that they may not see, shape (n,).
        as_of: The present.
    """
    tidy = tidy_histories(histories, as_of=as_of)
    # Both are sorted by user and work.
    liking = taste_weights(tidy, as_of=as_of)["liking"].to_numpy(dtype=np.float64)
    from_when = _from_when(library, tidy, added)
    worlds: dict[str, World] = {}
    for media_type, rows in library.rows.items():
        others = np.ones(len(library.work_ids), dtype=bool)
        others[rows] = False

        def unavailable(user: Any, known: pd.Timestamp, _: pd.Timestamp, others: NDArray[np.bool_] = others) -> Any:
            return others | hidden[user] | (from_when > known.timestamp())

        worlds[media_type] = world_of(items, library, tidy, liking >= LEAST_LIKING, unavailable, users=hidden.keys())
    return worlds


def _from_when(library: Library, tidy: pd.DataFrame, added: Mapping[int, datetime]) -> NDArray[np.float64]:
    """Return the second (UTC) from which each title was there, shape (n,); minus infinity where nothing is known."""
    seconds = np.array([added[work].timestamp() if work in added else -np.inf for work in library.work_ids.tolist()])
    played = tidy.loc[tidy["last_played_at"].notna()]
    rows = positions(played["work_id"], library.index)
    moments = played["last_played_at"].map(pd.Timestamp.timestamp).to_numpy(dtype=np.float64)
    np.minimum.at(seconds, rows[rows >= 0], moments[rows >= 0])
    return seconds
