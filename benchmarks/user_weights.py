"""Fit the weights that follow facts of a user, and show what they are worth to people who had no part in it.

Fitted are the numbers in ``aperture_dagster/taste/ranking/fitted_weights.py``, on users 1-200: alone, in households of
ten, and as one server; from plays and from ratings; with histories cut after 40, 60 and 80 %, and after the first 5, 10
and 20 films. Each of these is one choice among the first thousand candidates of the lists as they are without: of what
came next, the liked films are more likely than the others (a conditional logit, McFadden 1974). The fit adds to the
score; a penalty on the squares keeps it near 0.

The table has NDCG@10 without and with the weights, and the difference with its 95 % interval (paired by user): of users
1-200 by cross-validation in five parts, each judged by what was fitted on the four others; and of users 201-400 by
what is shipped. Lists are judged as ranked by score, before titles that are alike are spread out.

    python benchmarks/user_weights.py [--data ../shared/data] [--write]

Fails when the shipped numbers differ from the fit, when they make the lists of any home significantly worse, or when
the gain of people alone is not significant. ``--write`` ships the fit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Small matrices are slower on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from protocol import (
    CONFIG,
    DATA,
    KNOWN_OF_USERS,
    OTHERS,
    SERVER,
    alone_together,
    embed,
    first_known,
    households_of,
    paired,
    read_folder,
    without_ratings,
)
from scipy.optimize import minimize
from verdict import Verdict, not_applicable

from aperture_dagster.taste.ranking import fitted_weights
from aperture_dagster.taste.ranking.evaluation import LIKED, World, household_model, ndcg_at, world_of
from aperture_dagster.taste.ranking.histories import rows_where
from aperture_dagster.taste.ranking.library import NO_TITLES, library_of
from aperture_dagster.taste.ranking.user_weights import (
    COLUMNS,
    EVERYBODY,
    FACTS,
    MOST,
    columns_of,
    effect,
    facts_of,
    fitted,
)

CUTS = (0.8, 0.6, 0.4)
"""Shares of a history that are known; what follows up to a fifth of the history later is to be found."""
STEP = 0.2
NEW = (5, 10, 20)
HOMES: Mapping[str, int] = {"alone": 1, "of ten": 10, "one server": 200}
CANDIDATES = 1_000
"""Candidates of each choice. What lies further down by the other weights is not looked at, and a film that was found
there counts for nothing, or the fit would learn that a low score is a good sign."""
JUDGED = 2_500
PENALTY = 0.1
"""Weight of the squares beside the mean log-likelihood; .01 to .3 do not differ by more than the noise."""
PARTS = 5
DIGITS = 3
TOLERANCE = 0.02
"""Largest difference between a number that is shipped and one that is fitted here: sums depend on the processor."""
HEADER = (
    '"""Numbers of the weights that follow facts of the user; ``benchmarks/user_weights.py --write`` writes this."""\n'
)

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """What one person might have watched, and what they watched."""

    user: int
    score: Doubles
    """Of the candidates by the other weights, descending, shape (c,)."""
    columns: NDArray[np.float32]
    """``COLUMNS`` of each, shape (c, columns)."""
    hit: NDArray[np.bool_]
    hits: int
    """Number of titles to find, also beyond the candidates."""
    facts: Doubles
    known: int

    def first(self, count: int) -> Choice:
        """Return the choice among the first candidates."""
        return replace(self, score=self.score[:count], columns=self.columns[:count], hit=self.hit[:count])


def choices_of(world: World, users: Sequence[int], size: int, *, ratings: bool) -> list[Choice]:
    """Return the choices of users in households of a size; those alone are ranked at once."""
    known = world if ratings else without_ratings(world)
    config = replace(alone_together(CONFIG) if size == 1 else CONFIG, by_facts=False)
    homes = [list(users)] if size == 1 else households_of(users, size)
    found: list[Choice] = []
    for members in homes:
        model = household_model(known, members, config)
        for user in (user for user in model.people.users if user in model.latest):
            candidates, score, parts = model.scored(user, "movie")
            titles, latest = model.people.titles.get(user, NO_TITLES), model.latest[user]
            columns = columns_of(world.library, latest, parts, candidates)
            first = np.argsort(-score, kind="stable")[:JUDGED]
            hits = np.array(sorted(world.hits[user]))
            found.append(
                Choice(
                    user=int(user),  # pyright: ignore[reportArgumentType]
                    score=score[first],
                    columns=np.stack([columns[name][first] for name in COLUMNS], axis=1).astype(np.float32),
                    hit=np.isin(candidates[first], hits),
                    hits=len(hits),
                    facts=facts_of(world.library, titles, latest),
                    known=latest.known,
                )
            )
    return found


def worlds_of(folder: Path) -> tuple[dict[float, World], dict[int, World]]:
    """Return the data with histories cut after each of ``CUTS``, and after each of ``NEW``."""
    items, histories = read_folder(folder)
    library, years = library_of(items, embed(items)), items["year"].to_numpy(dtype=np.float64)
    ordered = histories.sort_values("last_played_at", kind="stable")
    by_user = ordered.groupby("user_id", sort=False)
    place = (by_user.cumcount() + 1) / by_user["user_id"].transform("size")
    cut: dict[float, World] = {}
    for share in CUTS:
        until = rows_where(ordered, place <= share + STEP + 1e-9)
        liked = until["rating"].to_numpy(dtype=np.float64) >= LIKED
        cut[share] = world_of(
            items, library, until, liked, lambda _user, _known, last: years > last.year, held_out=STEP / (share + STEP)
        )
    whole = histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    return cut, {count: first_known(cut[CUTS[0]], histories, whole, count) for count in NEW}


def matrix_of(choice: Choice, means: Doubles, deviations: Doubles) -> Doubles:
    """Return what the weights are multiplied with, shape (candidates, (1 + facts) · columns)."""
    facts = np.clip((choice.facts - means) / deviations, -MOST, MOST)
    columns = np.concatenate([choice.columns * each for each in (1.0, *facts)], axis=1).astype(np.float64)
    return effect(choice.known) * columns


def fit(choices: Iterable[tuple[Choice, Doubles]]) -> Doubles:
    """Return the weights, given choices with their matrices: those that make what was liked most likely.

    A person counts by the root of the number of hits. How sharply people choose is fitted as well, as its logarithm.
    """
    prepared = [(each.score, matrix, each.hit, 1.0 / np.sqrt(each.hit.sum())) for each, matrix in choices]

    def loss(parameters: Doubles) -> tuple[float, Doubles]:
        sharpness, weights = np.exp(parameters[0]), parameters[1:]
        value, gradient = 0.0, np.zeros_like(parameters)
        for score, matrix, hit, counts in prepared:
            scaled = sharpness * (score + matrix @ weights)
            powers = np.exp(scaled - scaled.max())
            total = powers.sum()
            missing = (hit - hit.sum() * powers / total) * counts
            value -= counts * (scaled[hit].sum() - hit.sum() * (scaled.max() + np.log(total)))
            gradient[0] -= missing @ scaled
            gradient[1:] -= sharpness * (matrix.T @ missing)
        gradient /= len(prepared)
        gradient[1:] += 2.0 * PENALTY * weights
        return value / len(prepared) + PENALTY * float(weights @ weights), gradient

    start = np.zeros(1 + prepared[0][1].shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x[1:]


def gains(choices: Sequence[Choice], added: Callable[[Choice], Doubles]) -> tuple[float, float, float]:
    """Return NDCG@10 without what is added to the scores, the mean difference that it makes, and half its interval."""

    def ndcg(choice: Choice, score: Doubles) -> float:
        first = np.argsort(-score, kind="stable")
        found, others = np.flatnonzero(choice.hit), range(-1, choice.hit.sum() - choice.hits - 1, -1)
        return ndcg_at(first.tolist(), [*found.tolist(), *others])

    before = np.array([ndcg(choice, choice.score) for choice in choices])
    after = np.array([ndcg(choice, choice.score + added(choice)) for choice in choices])
    return float(before.mean()), *paired(after, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return 0 if everything holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--write", action="store_true", help="ship what the fit gives")
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    start = time.perf_counter()
    cut, new = worlds_of(options.data)
    fitting: dict[str, list[Choice]] = {}
    later: dict[str, list[Choice]] = {}
    for known in KNOWN_OF_USERS:
        ratings = known == "ratings"
        for home, size in HOMES.items():
            for share, world in cut.items():
                fitting[f"{home}, {known}, {share:.0%}"] = choices_of(world, OTHERS, size, ratings=ratings)
            later[f"{home}, {known}, 80%"] = choices_of(cut[CUTS[0]], SERVER.users, size, ratings=ratings)
        for count, world in new.items():
            name = f"alone, {known}, first {count}"
            fitting[name] = choices_of(world, OTHERS, 1, ratings=ratings)
            later[name] = choices_of(world, SERVER.users, 1, ratings=ratings)
        print(f"{known}: {time.perf_counter() - start:.0f} s", flush=True)

    facts = np.array([choice.facts for choice in fitting["alone, ratings, 80%"]])
    means, deviations = facts.mean(axis=0), facts.std(axis=0)
    chosen = [each.first(CANDIDATES) for choices in fitting.values() for each in choices]
    prepared = [(each, matrix_of(each, means, deviations)) for each in chosen if each.hit.any()]
    users = np.random.default_rng(1).permutation(sorted({choice.user for choice in chosen}))
    part = {int(user): number % PARTS for number, user in enumerate(users)}
    without = {number: fit(each for each in prepared if part[each[0].user] != number) for number in range(PARTS)}
    weights = fit(prepared).reshape(1 + len(FACTS), len(COLUMNS))
    print(f"fitted: {time.perf_counter() - start:.0f} s\n")
    if options.write:
        write(means, deviations, weights)
        importlib.reload(fitted_weights)
        fitted.cache_clear()
    shipped = fitted()

    verdict = Verdict()
    print(f"{'NDCG@10 without, difference':32}{'1-200':>26}{'201-400':>26}")
    for name, people in later.items():
        own = gains(fitting[name], lambda each: matrix_of(each, means, deviations) @ without[part[each.user]])
        others = gains(
            people, lambda each: matrix_of(each, shipped.means, shipped.deviations) @ shipped.weights.reshape(-1)
        )
        shown = [f"{before:.4f} {mean:+.4f} ± {margin:.4f}" for before, mean, margin in (own, others)]
        print(f"{name:32}{shown[0]:>26}{shown[1]:>26}")
        verdict.least(f"{name}: difference and its margin", others[1] + others[2], 0.0)
        if name in {f"alone, {known}, 80%" for known in KNOWN_OF_USERS}:
            verdict.least(f"{name}: difference without its margin", others[1] - others[2], 0.0)
    given = np.concatenate([means, deviations, weights.reshape(-1)])
    kept = np.concatenate([shipped.means, shipped.deviations, shipped.weights.reshape(-1)])
    verdict.most("largest difference between what is shipped and what is fitted", np.abs(given - kept).max(), TOLERANCE)
    return verdict.close()


def write(means: Doubles, deviations: Doubles, weights: Doubles) -> None:
    """Write the module with the numbers that are shipped."""
    lines = [HEADER, "FACTS = {"]
    for fact, mean, deviation in zip(FACTS, means, deviations, strict=True):
        lines.append(f'    "{fact}": {{"mean": {mean:.{DIGITS}f}, "deviation": {deviation:.{DIGITS}f}}},')
    lines += ["}", '"""Of each fact the mean and the deviation among the people of the fit."""', "WEIGHTS = {"]
    for name, row in zip((EVERYBODY, *FACTS), weights, strict=True):
        lines.append(f'    "{name}": {{')
        lines += [f'        "{column}": {weight:.{DIGITS}f},' for column, weight in zip(COLUMNS, row, strict=True)]
        lines.append("    },")
    lines += [
        "}",
        '"""The weight of each column for an average user, and what each fact adds to it per deviation."""',
        "",
    ]
    Path(fitted_weights.__file__).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
