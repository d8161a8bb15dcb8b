"""Measure how much better than popularity the recommendations are, on real histories and with the production code.

The protocol is that of ``aperture_dagster/taste/ranking/evaluation.py``; a hit is a held-out film rated 4 of 5 or more.
Films from after the user's last year of activity are no candidates, for the baseline as well.

The main table judges users 201-400 in the worlds that users have (cells): a media server for all, households of ten,
and people alone; plays only and with ratings; and each with the lists of TMDb that there may be, with users 1-200 as a
crowd, and in small libraries. It stands beside the last release, which no cell may fall behind.

- Plays only: the household's ratings are removed from what is known, since few people rate on a media server.
- TMDb's lists: those of the folder (``recommended.jsonl.gz``, ``similar.jsonl.gz``). Without them, the 20 films that
  users 1-200 liked together with a film most stand for its recommended list, which is weaker than lists that millions
  of people shaped; and the 20 films that share most keywords stand for its similar list. They are written into a
  database, from which the product reads what it uses of them.
- Others cut: what other people did after the last known moment of a user is removed from what that user's list is made
  from. Without the cut, the crowd knows films that the user was yet to discover.
- Small libraries: 500 films, drawn in proportion to their votes; what the lists name beside them is outside.

    python benchmarks/recommendation_quality.py [--data ../shared/data] [--quick] [--release VERSION]

Fails when a figure falls below its floor, when the baseline differs from its documented figure, or when the lists are
nearly as popular as the baseline. Data: MovieLens ml-latest-small (Harper and Konstan 2015) with public TMDb facts; see
the data's own README.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from cells import (
    Cell,
    judge_cells,
    measure_cells,
    measure_small,
    measure_with_crowd,
    read_release,
    show_cells,
    small_worlds,
    write_release,
)
from protocol import (
    ALL,
    ALONE,
    CONFIG,
    DATA,
    HOUSEHOLDS,
    KNOWN_OF_USERS,
    SETTINGS,
    SMALL,
    WITH_CROWD,
    Setting,
    alone_together,
    edges_of,
    first_known,
    households_of,
    load,
    mean_result,
    product_database,
    rank,
    read_folder,
    tmdb_lists,
    without_ratings,
)
from verdict import Verdict, not_applicable

from aperture_dagster.taste import recommendations
from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.evaluation import (
    FIRST,
    LIKED,
    Result,
    World,
    by_votes,
    household_model,
    intervals,
    judge,
    rank_household,
)
from aperture_dagster.taste.ranking.histories import rows_where

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


def measure(
    world: World, setting: Setting, *, ratings: bool, cut: bool = False, config: RankingConfig = CONFIG
) -> Result:
    """Return the figures of a setting, the mean of its draws (arguments as for :func:`rank`)."""
    users = [user for user in world.users if user in setting.users]
    lists = (rank(world, setting, draw, ratings=ratings, cut=cut, config=config) for draw in range(setting.draws))
    return mean_result([judge(world, one, users) for one in lists])


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
    parser.add_argument("--release", metavar="VERSION", help="keep the figures of the cells as those of this release")
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
    released = read_release()
    print(f"{len(world.items)} films, {len(world.seen)} people, {len(world.users)} of whom qualify; votes: most voted")
    cells = measure_cells(world, edges) | measure_with_crowd(world) | measure_small(libraries)
    show_cells(cells, released)
    plays = compare(world, ratings=False, cut=not options.quick)
    rated = compare(world, ratings=True, cut=not options.quick)
    found = verdict(world, plays, rated)
    judge_cells(found, cells, released)
    for known in KNOWN_OF_USERS:
        alone = Cell(ALONE.name, known, "recommended only")
        found.most(f"places that 20 films take, {alone}", cells[alone].same, MOST_SAME)
    for cell, judged in cells.items():
        if cell.home == SMALL.name:
            found.least(f"{cell}, ratio to the votes", judged.ours.ndcg / judged.votes.ndcg, SMALLEST)
    if not options.quick:
        for name, ratio in compare_newcomers(world, read_folder(options.data)[1]).items():
            found.least(f"newcomers, {name}, ratio to the votes", ratio, 1.0)
        longest, least, most = while_nothing_is_watched(world)
        found.most("longest stay among the first ten while nothing is watched", longest, LONGEST_STAY, " days")
        found.least("what changes of the first twenty in a week", least, CHANGES[0])
        found.most("what changes of the first twenty in a week", most, CHANGES[1])
        found.least("reasons that name liked titles which contribute most", explain(world), 0.8)
    if options.release:
        write_release(options.release, cells)
    print(f"{time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of processor time")
    return found.close()


if __name__ == "__main__":
    sys.exit(main())
