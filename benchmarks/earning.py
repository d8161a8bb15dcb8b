"""Measure what it is worth that components earn their weight on a server's own past.

Users 201-400 are one media server. What is known of them is split once more, as the weekly evaluation does it, and the
weights are decided by what they watched in the later part of that. Then lists with these weights are judged by what was
held out from the beginning, beside lists with the usual weights.

Each world has the recommended lists of users 1-200 and these people as a crowd: sound ones, and broken on purpose. A
shuffled crowd speaks for other films than those that its people liked, and shuffled lists recommend any films.

    python benchmarks/earning.py [--data ../shared/data]

Fails when weights change in a sound world so that lists are worse by more than the noise, when something broken keeps
its weight, or when lists recover less than half of what it cost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from protocol import (
    CONFIG,
    DATA,
    KNOWN_OF_USERS,
    SERVER,
    crowd_of,
    difference,
    edges_of,
    load,
    paired,
    product_database,
    tmdb_lists,
    without_ratings,
)
from verdict import Verdict, not_applicable

from aperture_dagster.taste.ranking.crowd import Crowd
from aperture_dagster.taste.ranking.earning import Weights, crowd_with, earn_on
from aperture_dagster.taste.ranking.evaluation import Result, World, judge, rank_household, worlds_of_server
from aperture_dagster.taste.ranking.histories import as_utc, rows_where

MEMBERS = list(SERVER.users)
RECOVERED = 0.5


def earlier(world: World) -> World:
    """Return what is known of the server as the weekly evaluation splits it."""
    known = rows_where(world.training, world.training["user_id"].isin(MEMBERS))
    nothing = np.zeros(len(world.items), dtype=bool)
    hidden: dict[Hashable, NDArray[np.bool_]] = dict.fromkeys(MEMBERS, nothing)
    now = as_utc(str(known["last_played_at"].max()))
    worlds = worlds_of_server(world.items, world.library, known, added={}, hidden=hidden, as_of=now)
    return replace(worlds["movie"], edges=world.edges)


def measure(world: World, crowd: Crowd | None, weights: Weights) -> Result:
    """Return the figures of lists with some weights."""
    config = replace(CONFIG, earned=weights)
    users = [user for user in world.users if user in SERVER.users]
    return judge(world, rank_household(world, MEMBERS, config, crowd=crowd_with(crowd, weights)), users)


def broken(crowd: Crowd, edges: pd.DataFrame) -> tuple[Crowd, pd.DataFrame]:
    """Return the crowd and TMDb's lists with what they speak for shuffled."""
    random = np.random.default_rng(0)
    wrong = random.permutation(np.unique(crowd.targets))
    targets = wrong[np.searchsorted(np.unique(crowd.targets), crowd.targets)]
    films = edges["recommended_work_id"].to_numpy()
    return replace(crowd, targets=targets), edges.assign(recommended_work_id=random.permutation(films))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return 0 if everything holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    options = parser.parse_args(arguments)
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    world = load(options.data)
    with product_database() as database:
        edges = edges_of(database, world.library.work_ids.tolist(), tmdb_lists(options.data))["recommended only"]
    crowd = crowd_of(world)
    wrong_crowd, wrong_edges = broken(crowd, edges)
    verdict = Verdict()
    for known in KNOWN_OF_USERS:
        plain = replace(world if known == "ratings" else without_ratings(world), edges=None)
        for name, own, links, harmful in (
            ("nothing else", None, None, None),
            ("crowd and lists", crowd, edges, None),
            ("shuffled crowd", wrong_crowd, None, "crowd"),
            ("shuffled lists", None, wrong_edges, "recommended_from"),
            ("shuffled crowd, sound lists", wrong_crowd, edges, "crowd"),
        ):
            here = replace(plain, edges=links)
            past = earlier(here)
            found = earn_on(past, MEMBERS, CONFIG, crowd=own)
            usual, earned = measure(here, own, {}), measure(here, own, found.weights)
            print(f"\n{known}, {name}: {found.titles} titles of {len(past.users)} people decide")
            for one in found.changes:
                print(f"  {one.component}: {one.before:g} to {one.after:g}, {one.difference:+.4f} ± {one.margin:.4f}")
            print(f"  NDCG@10 {usual.ndcg:.4f}, with earned weights {earned.ndcg:.4f}: {difference(earned, usual)}")
            mean, margin = paired(earned.ndcgs, usual.ndcgs)
            if harmful is None:
                verdict.least(f"{known}, {name}: difference and its margin", mean + margin, 0.0)
                continue
            without = measure(here, own, {harmful: 0.0})
            print(f"  without what is broken {without.ndcg:.4f}")
            verdict.most(f"{known}, {name}: weight of what is broken", found.weights.get(harmful, 1.0), 0.5)
            lost = without.ndcg - usual.ndcg
            verdict.least(f"{known}, {name}: share of the loss that is recovered", mean / lost, RECOVERED)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
