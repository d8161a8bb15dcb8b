"""What would please most people of a household of what is not in the library."""

from __future__ import annotations

import pandas as pd
import pytest

from aperture_dagster.ranking.discovery import HOUSEHOLD_COLUMNS, household


def listed(scores: dict[int, float], media_type: str = "movie") -> pd.DataFrame:
    return pd.DataFrame({"work_id": scores.keys(), "media_type": media_type, "score": scores.values()})


def test_the_household_is_suggested_what_most_people_like():
    lists = {"ann": listed({1: 0.95, 2: 0.7}), "bob": listed({2: 0.65, 3: 0.6}), "cem": listed({3: 0.6})}
    found = household(lists)
    assert list(found.columns) == list(HOUSEHOLD_COLUMNS)
    assert found["work_id"].tolist() == [2, 3, 1], "what one loves is below what most like"
    assert found["score"].tolist() == [0.45, 0.4, 0.31667]
    assert found["user_ids"].tolist() == [["ann", "bob"], ["bob", "cem"], ["ann"]]
    assert found["rank"].tolist() == [1, 2, 3]


def test_the_household_counts_people_without_a_list():
    found = household({"ann": listed({1: 0.8}), "bob": listed({}), "cem": listed({})}, users=["ann", "bob", "dan"])
    assert found["score"].tolist() == [0.2]
    assert household({"ann": listed({1: 0.8})})["score"].tolist() == [0.8]


def test_the_household_ranks_media_types_apart_and_ends_at_the_limit():
    lists = {
        "ann": pd.concat([listed({1: 0.9, 2: 0.8, 3: 0.7}), listed({4: 0.9, 5: 0.8}, "series")]),
        "bob": listed({3: 0.7, 2: 0.9}),
    }
    found = household(lists, limit=2)
    assert found[["media_type", "rank", "work_id"]].to_numpy().tolist() == [
        ["movie", 1, 2], ["movie", 2, 3], ["series", 1, 4], ["series", 2, 5],
    ]  # fmt: skip


def test_ties_in_the_household_go_to_more_people_then_to_the_lower_work_id():
    lists = {"bob": listed({7: 0.5, 5: 0.8, 6: 0.8}), "ann": listed({7: 0.3})}
    assert household(lists)["work_id"].tolist() == [7, 5, 6]
    again = {user: frame.iloc[::-1] for user, frame in reversed(lists.items())}
    pd.testing.assert_frame_equal(household(lists), household(again))
    equal = household({"bob": listed({1: 0.5}), "ann": listed({1: 0.5})})
    assert equal["user_ids"].tolist() == [["ann", "bob"]]


@pytest.mark.parametrize("lists", [{}, {"ann": listed({})}])
def test_a_household_without_suggestions_has_no_list(lists):
    found = household(lists)
    assert list(found.columns) == list(HOUSEHOLD_COLUMNS) and not len(found)
