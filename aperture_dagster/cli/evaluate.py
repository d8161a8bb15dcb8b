"""``aperture evaluate``: how good the lists would have been for the people of a folder of histories."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.errors import OperatorError

if TYPE_CHECKING:
    from aperture_dagster.ranking.evaluation import Comparison, Interval
    from aperture_dagster.sources.evaluation import FolderWorld


@click.command()
@click.option(
    "--world", required=True, type=click.Path(path_type=Path),
    help="Folder with ratings.csv and movies.jsonl in MovieLens format; also gzipped.",
)  # fmt: skip
@click.option(
    "--households", type=click.IntRange(min=1), help="People per household, at random. Default: all as one server."
)
@click.option("--plays-only", is_flag=True, help="Hide the ratings of the household, as on most media servers.")
@click.option(
    "--summary", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here, as JSON."
)
def evaluate(world: Path, households: int | None, plays_only: bool, summary: Path | None) -> None:
    """Measure how much better than "most voted" the lists are, on histories whose end is held out.

    Example: aperture evaluate --world ml-latest-small --households 10 --plays-only
    """
    if summary and not summary.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder of {summary} does not exist.", param_hint="--summary")
    # numpy and pandas would slow every command down.
    from aperture_dagster.ranking.evaluation import compare_with_votes, intervals

    console = Terminal()
    with operator_errors():
        console.print_hanging(f"Reading {world} and embedding its films …")
        given = _read(world)
        people, users = given.people, given.world.users
        console.print_hanging(
            f"{len(given.world.items):,} films, {people:,} people, of whom {len(users):,} watched something later that "
            "they liked."
        )
        skipped = {"films": given.skipped_films, "ratings": given.skipped_ratings}
        if any(skipped.values()):
            console.print_hanging(f"Skipped as unusable: {skipped['films']:,} films, {skipped['ratings']:,} ratings.")
        if not users:
            raise OperatorError(
                f"{world} has nobody whose lists can be judged: that takes at least two films rated 4 or better by the "
                "same person, the last of them among the last fifth of their ratings."
            )
        lists = _lists(given, households or people, ratings=not plays_only)
        found = compare_with_votes(given.world, lists)
        of_ndcg, of_ratio = intervals(found.ours, found.votes)
    _print(console, found, of_ratio)
    if summary:
        facts = {
            "world": str(world), "people": people, "users": found.ours.users, "films": len(given.world.items),
            "skipped": skipped, "household": households or people, "plays_only": plays_only,
            "most_voted": {name: _plain(votes) for name, votes, _ in found.rows()},
            "ours": {name: _plain(ours) for name, _, ours in found.rows()},
            "ndcg_95": [_plain(one) for one in of_ndcg],
            "ratio": _plain(found.ratio), "ratio_95": [_plain(one) for one in of_ratio],
        }  # fmt: skip
        summary.write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")


def _read(folder: Path) -> FolderWorld:
    from aperture_dagster.sources.evaluation import world_of_folder

    return world_of_folder(folder)


def _lists(given: FolderWorld, size: int, *, ratings: bool) -> dict[Any, Any]:
    """Return the lists of all who qualify, with progress where there is a terminal."""
    from aperture_dagster.ranking.config import RankingConfig
    from aperture_dagster.ranking.evaluation import DEPTH, households_of, rank_household

    config = RankingConfig(limit=DEPTH)
    lists: dict[Any, Any] = {}
    everybody = sorted(given.world.last_known)
    with click.progressbar(length=len(given.world.users), label="Making lists", show_pos=True) as bar:
        for members in households_of(everybody, size):
            lists |= rank_household(given.world, members, config, ratings=ratings, done=lambda: bar.update(1))
    return lists


def _print(console: Terminal, found: Comparison, of_ratio: Interval) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("", "most voted", "ours", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    for name, votes, ours in found.rows():
        ratio = f"{ours / votes:.2f}" if votes and ours == ours else ""
        table.add_row(name, _shown(votes), _shown(ours), ratio)
    console.print(table)
    low, high = of_ratio
    console.print_hanging(f"Ratio of NDCG@10: {found.ratio:.2f}, 95 % interval {low:.2f} to {high:.2f}.")
    if not found.is_enough:
        console.print_hanging(
            f"{found.ours.users} users and {found.hits} films to find are too few to trust the interval."
        )
    elif low <= 1.0 <= high:
        console.print_hanging("The interval includes 1: this data does not tell the two apart.")


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def _plain(value: float) -> float | None:
    """Return a number as JSON knows them: what is infinite or unknown becomes null."""
    return round(float(value), 5) if math.isfinite(value) else None
