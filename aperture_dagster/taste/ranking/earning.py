"""Which weight each component of the score has earned on a server's own past.

What makes lists better on the whole may make them worse on one server: a crowd of another country, or lists of TMDb in
a library that they hardly know. So each component is measured with less weight, by what users of this server watched
later, and what does worse with its weight than with less loses it.

Weights may not go to and fro by chance. A component loses weight only if all of a wide interval, paired by user, says
that less is better; it gets weight back as soon as more is no worse on average; and nothing is decided by few titles.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.crowd import Crowd
from aperture_dagster.taste.ranking.evaluation import ENOUGH_USERS, World, household_model, lists_of, ndcg_at
from aperture_dagster.taste.ranking.histories import Doubles
from aperture_dagster.taste.ranking.recommend import RankingModel

EARNING = ("crowd", "co_watch", "recommended_from", "similarity", "era", "rating", "popularity")
"""What has to earn its weight; of two that do the same harm, the first one loses it."""
LESS = 0.5
"""The weight between all (1) and none (0)."""
ENOUGH_TITLES = 300
"""With fewer titles that users watched later, everything keeps its weight."""
JUDGED = 50
"""Titles of a list by which it is judged: all of it. Of broken crowds and lists that the benchmark makes, the first ten
alone showed the harm at 0.9 to 6.7 standard errors, the whole list at 4.2 to 8.4."""
CERTAINTY = 2.81
"""Standard errors by which a component must do worse with its weight than with less: 99.5 %, since several are tried
each week."""

Weights = Mapping[str, float]
"""By component what its weight is multiplied with, where that is not 1."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a component's weight, and the mean difference in NDCG@50 that it makes, with the margin of that."""

    component: str
    before: float
    after: float
    difference: float
    margin: float


def paired(new: Doubles, old: Doubles) -> tuple[float, float]:
    """Return the mean difference of figures of the same users, and its margin (``CERTAINTY`` standard errors)."""
    each = new - old
    return float(each.mean()), float(CERTAINTY * each.std(ddof=1) / np.sqrt(len(each)))


def best_change(weights: Weights, base: Doubles, tried: Mapping[tuple[str, float], Doubles]) -> Change | None:
    """Return the change to make; None if all weights should stay.

    Args:
        weights: the weights now.
        base: NDCG@50 of each user with them, shape (users,).
        tried: the same with another weight of one component, by component and weight.
    """
    changes = [
        Change(component, weights.get(component, 1.0), weight, *paired(ndcgs, base))
        for (component, weight), ndcgs in tried.items()
    ]
    worse = [one for one in changes if one.after < one.before and one.difference > one.margin]
    no_worse = [one for one in changes if one.after > one.before and one.difference >= 0.0]
    if worse:
        # `max` returns the first of equals.
        return max(worse, key=lambda one: round(one.difference, 9))
    return max(no_worse, key=lambda one: (one.after, one.difference), default=None)


def earn_weights(
    measure: Callable[[Weights], Doubles], weights: Weights, components: Sequence[str] = EARNING
) -> tuple[dict[str, float], list[Change]]:
    """Change weights, one after the other, until none should change; return the weights and the changes.

    ``measure`` returns the NDCG@50 of each user with some weights. Components that are not named keep all their weight.
    """
    found = {name: weight for name, weight in weights.items() if name in components and weight != 1.0}
    made: list[Change] = []
    base = measure(found)
    # Each change is better on average, or gives weight back, so there is an end; the number bounds the time.
    for _ in components:
        # Halves are tried only where it matters: they cost as much time as the rest.
        others = {name: (0.0,) if name not in found else {0.0, LESS, 1.0} - {found[name]} for name in components}
        tried = {(name, one): measure(found | {name: one}) for name in components for one in sorted(others[name])}
        change = best_change(found, base, tried)
        if change is None:
            break
        if change.before == 1.0:
            half = change.component, LESS
            tried[half] = measure(found | {change.component: LESS})
            some = Change(change.component, 1.0, LESS, *paired(tried[half], base))
            change = max(change, some, key=lambda one: one.difference)
        made.append(change)
        found[change.component], base = change.after, tried[change.component, change.after]
        found = {name: weight for name, weight in found.items() if weight != 1.0}
    return found, made


def crowd_with(crowd: Crowd | None, weights: Weights) -> Crowd | None:
    """Return a crowd that counts as much as it has earned; None if that is nothing."""
    weight = weights.get("crowd", 1.0)
    if crowd is None or weight == 1.0:
        return crowd
    if weight == 0.0:
        return None
    return replace(crowd, strengths=crowd.strengths * np.float32(weight), people=round(crowd.people * weight))


@dataclass(frozen=True, slots=True)
class Earned:
    """The weights that components have earned in a world, how they changed, and how many titles decided.

    Without enough titles, all components have all their weight.
    """

    weights: Weights
    changes: Sequence[Change]
    titles: int
    is_enough: bool


def earn_on(
    world: World,
    members: Sequence[Hashable],
    config: RankingConfig,
    *,
    crowd: Crowd | None = None,
    given: Collection[str] = (),
) -> Earned:
    """Let components earn their weights in a world, beginning with those of ``config``.

    The ``given`` components, whose weights the operator chose, and those that are not there keep all their weight.
    """
    titles = sum(map(len, world.hits.values()))
    if len(world.users) < ENOUGH_USERS or titles < ENOUGH_TITLES:
        return Earned({}, (), titles, is_enough=False)
    missing = {name for name, part in (("crowd", crowd), ("recommended_from", world.edges)) if part is None}
    models: dict[float, RankingModel] = {}
    config = replace(config, limit=JUDGED)

    def measure(weights: Weights) -> Doubles:
        of_crowd = weights.get("crowd", 1.0)
        if of_crowd not in models:
            models[of_crowd] = household_model(world, members, config, crowd=crowd_with(crowd, weights))
        model = replace(models[of_crowd], config=replace(config, earned=weights))
        lists = lists_of(model)
        return np.array([ndcg_at(lists[user].tolist(), world.hits[user], JUDGED) for user in world.users])

    components = [name for name in EARNING if name not in missing and name not in given]
    weights, changes = earn_weights(measure, config.earned, components)
    return Earned(weights, changes, titles, is_enough=True)
