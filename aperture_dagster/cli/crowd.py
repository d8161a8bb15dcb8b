"""``aperture crowd``: what other people watched, as a table of films that go together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from aperture_dagster.cli.common import Terminal, operator_errors, require_writable
from aperture_dagster.cli.demo import home_option, settings_of_home
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.taste.crowd import table_in_use

if TYPE_CHECKING:
    from aperture_dagster.taste.ranking.evaluation import Comparison, Interval, World

# pandas and numpy would slow every command down: modules that import them are imported when a command runs.


@click.group()
def crowd() -> None:
    """What other people watched: better lists for a small household, from public histories."""


@crowd.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default="crowd.npz", show_default=True,
    help="File to write.",
)  # fmt: skip
@click.option("--licence", default="", help="A note on the terms of the data, kept in the file.")
def build(folder: Path, output: Path, licence: str) -> None:
    """Make a table from FOLDER, which holds histories in MovieLens format: ratings.csv and links.csv.

    Example: aperture crowd build ml-32m --licence "GroupLens, research only"
    """
    from aperture_dagster.taste.crowd_table import build_table, write_table

    console = Terminal()
    with operator_errors():
        console.print_hanging(f"Reading {folder} …")
        made = build_table(folder, licence=licence)
        write_table(output, made)
    size, header = output.stat().st_size / 1e6, made.header
    films = len(made.arrays["tmdb_ids"])
    console.print_hanging(
        f"Wrote {output} ({size:.1f} MB): {films:,} films, from {header.people:,} of {header.people_read:,} people."
    )
    console.print_hanging(f"To use it: aperture crowd use {output}")


@crowd.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
def use(file: Path, home: str | None) -> None:
    """Copy the table FILE into the home, and say what it knows about the library.

    Example: aperture crowd use crowd.npz
    """
    from aperture_dagster.taste.crowd_table import read_table, write_table

    console = Terminal()
    with operator_errors():
        found = read_table(file)
        settings = settings_of_home(home)
        require_writable(settings.home_path)
        write_table(table_in_use(settings), found)
    header = found.header
    console.print_hanging(f"Lists made from now on know what {header.people:,} people of {header.source} watched.")
    if header.licence:
        console.print_hanging(f"Terms of the data: {header.licence}")


@crowd.command()
@home_option
def remove(home: str | None) -> None:
    """Remove the table from the home; lists made from now on do without it."""
    with operator_errors():
        settings = settings_of_home(home)
        if not table_in_use(settings).exists():
            raise OperatorError(f"There is no table of a crowd in {settings.home_path}.")
        table_in_use(settings).unlink()
    Terminal().print_hanging("Removed. Lists made from now on do without it.")


@crowd.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--households", type=click.IntRange(min=1), help="People per household, at random. Default: all as one server."
)
@click.option("--plays-only", is_flag=True, help="Hide the ratings, as on most media servers.")
def evaluate(folder: Path, households: int | None, plays_only: bool) -> None:
    """Measure how much better than "most voted" the lists are for the people of FOLDER, whose last ratings are held
    out: ratings.csv and movies.jsonl.

    Example: aperture crowd evaluate ml-latest-small --households 10 --plays-only
    """
    from aperture_dagster.taste.movielens import world_of_folder
    from aperture_dagster.taste.ranking.evaluation import compare_with_votes, intervals, without_ratings

    console = Terminal()
    with operator_errors():
        console.print_hanging(f"Reading {folder} and embedding its films …")
        world = world_of_folder(folder)
        people, users = sorted(world.last_known), world.users
        console.print_hanging(
            f"{len(world.items):,} films, {len(people):,} people, of whom {len(users):,} watched something later that "
            "they liked."
        )
        if not users:
            raise OperatorError(
                f"{folder} has nobody whose lists can be judged: that takes at least two films rated 4 or better by "
                "the same person, the last of them among the last fifth of their ratings."
            )
        lists = _lists(without_ratings(world) if plays_only else world, people, households or len(people))
        found = compare_with_votes(world, lists)
        _, of_ratio = intervals(found.ours, found.votes)
    _print(console, found, of_ratio)


def _lists(world: World, people: list[Any], size: int) -> dict[Any, Any]:
    """Return the lists of all who qualify, with progress where there is a terminal."""
    from aperture_dagster.taste.ranking.config import RankingConfig
    from aperture_dagster.taste.ranking.evaluation import DEPTH, households_of, rank_household

    config = RankingConfig(limit=DEPTH)
    lists: dict[Any, Any] = {}
    homes = list(households_of(people, size))
    with click.progressbar(homes, label="Making lists", show_pos=True) as bar:
        for members in bar:
            lists |= rank_household(world, members, config)
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
