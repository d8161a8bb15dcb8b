"""Lists change for somebody who watches nothing, and rested titles come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.recommend import prepare, rested
from aperture_dagster.taste.recommendations import TOP, Place, next_places, read_places, replace_places, resting
from aperture_dagster_tests.shelf import Shelf, film
from aperture_dagster_tests.taste.conftest import NOW, history

DAY = date(2026, 3, 1)


def days_of_lists(days: int, limit: int = 50, ahead: int | None = None) -> list[list[int]]:
    """The lists of somebody who watches nothing, one a day; the clock of one day is years ``ahead``."""
    items = pd.DataFrame({"work_id": np.arange(1, 61), "vote_count": np.arange(60, 0, -1) * 10.0})
    inputs = RankingInputs(items=items, histories=history({"work_id": 60}), as_of=NOW)
    usual = prepare(inputs, RankingConfig(limit=limit))
    places: list[Place] = []
    found, ranks, rest = [], {}, None
    for number in range(days):
        today = DAY + timedelta(days=number if number != ahead else 3650)
        # Nothing else changes the list.
        if (now := resting(places, today)) != rest:
            rows = replace(usual, resting={"ann": (rest := now)}).for_user("ann").to_dict("records")
            ranks = {row["work_id"]: row["rank"] for row in rows}
            after = next_places(places, rest, rows, today)
            places = [replace(place, rank=ranks.get(place.work_id)) for place in after]
        assert resting(places, today) == rest, "the same day has the same list"
        found.append([*ranks])
    return found


@pytest.fixture(scope="module")
def ninety_days() -> list[list[int]]:
    return days_of_lists(90)


def test_nothing_is_at_the_top_for_more_than_14_days_and_titles_come_back(ninety_days: list[list[int]]):
    tops = [set(one[:TOP]) for one in ninety_days]
    assert all(len(one) == len(set(one)) == 50 for one in ninety_days)
    stays = [
        len(stay) for work in range(1, 61) for stay in "".join("x" if work in top else " " for top in tops).split()
    ]
    assert max(stays) == 14
    assert 1 in tops[0] and 1 not in tops[25] and any(1 in top for top in tops[40:]), "the best one comes back"
    assert ninety_days[25].index(1) >= 2 * TOP


def test_a_fifth_to_two_fifths_of_the_first_twenty_change_in_a_week(ninety_days: list[list[int]]):
    first = [set(one[: 2 * TOP]) for one in ninety_days]
    changed = [len(first[day] - first[day + 7]) / (2 * TOP) for day in range(83)]
    assert min(changed) >= 0.2 and max(changed) <= 0.4, changed


@pytest.mark.parametrize("ahead", [None, 0, 12])
def test_a_short_list_changes_too(ahead: int | None):
    lists = days_of_lists(30, limit=10, ahead=ahead)
    assert all(len(one) == 10 for one in lists) and len(set(lists[0]) & set(lists[-1])) < 4


def test_one_title_a_day_of_each_media_type_begins_to_rest_at_most():
    places = [Place(work, kind, DAY) for kind, works in (("movie", (1, 2)), ("series", (3, 4))) for work in works]
    assert resting(places, DAY + timedelta(days=2)) == frozenset()
    assert resting(places, DAY + timedelta(days=30)) == {1, 3}, "however long no list was made"


def test_the_whole_collection_of_a_title_rests():
    collections = np.array([1.0, 1.0, 2.0, *[np.nan] * 27])
    found = rested(np.arange(30), np.array([0]), collections)
    assert found.tolist() == [*range(2, 22), 0, 1, *range(22, 30)]


def test_places_are_kept_with_the_rank_of_today(shelf: Shelf):
    shelf.users("ann", "bob")
    shelf.films(film(1), film(2))
    works = [shelf.item(f"film-{n}")["work_id"] for n in (1, 2)]
    places = [Place(works[0], "movie", DAY), Place(works[1], "movie", DAY, DAY + timedelta(days=5))]
    with shelf.open() as connection:
        replace_places(connection, "ann", places)
        assert read_places(connection, ["ann", "bob"]) == {"ann": places, "bob": []}
        replace_places(connection, "ann", places[:1])
        assert read_places(connection, ["ann"]) == {"ann": places[:1]}
