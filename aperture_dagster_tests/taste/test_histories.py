"""What a history from a database or a media server becomes before it is ranked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.histories import (
    HISTORY_COLUMNS,
    as_utc,
    index_of,
    list_column,
    number_column,
    positions,
    started,
    tidy_histories,
)
from aperture_dagster_tests.taste.conftest import NOW, days_ago, history


def tidy(*rows: dict) -> pd.DataFrame:
    return tidy_histories(history(*rows), as_of=NOW)


def test_copies_of_a_film_are_merged_and_the_latest_rating_counts():
    found = tidy(
        {"work_id": 1, "plays": 2, "completion": 0.9, "rating": 3, "last_played_at": days_ago(1)},
        {"work_id": 1, "plays": 3, "completion": 0.2, "rating": 8, "last_played_at": days_ago(9), "favorite": True},
        {"work_id": 1, "plays": 1, "completion": 0.1, "last_played_at": None},
        {"work_id": 2, "episodes_played": 4, "episodes_total": 10},
        {"work_id": 2, "episodes_played": 6, "episodes_total": 8},
        {"work_id": 1, "user_id": "bob", "rating": 6, "last_played_at": None},
    )
    assert list(found.columns) == list(HISTORY_COLUMNS)
    assert found[["user_id", "work_id"]].to_numpy().tolist() == [["ann", 1], ["ann", 2], ["bob", 1]]
    assert found.loc[0, ["plays", "completion", "rating", "favorite"]].tolist() == [6.0, 0.9, 3.0, True]
    assert found.loc[0, "last_played_at"] == days_ago(1) and pd.isna(found.loc[2, "last_played_at"])
    assert found.loc[1, ["episodes_played", "episodes_total"]].tolist() == [6.0, 10.0]
    assert found["favorite"].tolist() == [True, False, False]


def test_numbers_are_kept_within_their_range_and_absurd_ones_are_unknown():
    found = tidy(
        {"work_id": 1, "plays": -3, "completion": 1.7, "rating": 12},
        {"work_id": 2, "plays": np.inf, "completion": -0.5, "rating": "good"},
        {"work_id": 3, "plays": None, "rating": -1, "favorite": None, "last_played_at": "yesterday"},
    )
    assert found["plays"].tolist() == [0.0, 1.0, 1.0], "an unknown number of plays is one"
    assert found["completion"].tolist() == [1.0, 0.0, 1.0]
    assert found["rating"].tolist()[::2] == [10.0, 0.0] and pd.isna(found["rating"][1])
    assert found["favorite"].tolist() == [False] * 3 and pd.isna(found["last_played_at"][2])


def test_a_play_from_the_future_has_no_date_and_one_from_this_moment_has():
    found = tidy(
        {"work_id": 1, "last_played_at": NOW},
        {"work_id": 2, "last_played_at": NOW + pd.Timedelta(seconds=1)},
        {"work_id": 3, "last_played_at": days_ago(1).tz_localize(None)},
    )
    assert found["last_played_at"].tolist() == [NOW, pd.NaT, days_ago(1)]


def test_rows_without_a_user_or_a_work_are_left_out():
    found = tidy({"work_id": 1, "user_id": None}, {"work_id": np.nan}, {"work_id": 3.0})
    assert found["work_id"].tolist() == [3] and found["work_id"].dtype == "int64"


def test_missing_columns_are_added_and_a_frame_without_rows_needs_none():
    found = tidy_histories(pd.DataFrame({"user_id": ["a"], "work_id": [1]}), as_of=NOW)
    assert found.loc[0, "plays"] == 1 and not found.loc[0, "favorite"]
    assert found[["completion", "rating", "last_played_at"]].isna().all(axis=None)
    empty = tidy_histories(pd.DataFrame(), as_of=NOW)
    assert empty.empty and list(empty.columns) == list(HISTORY_COLUMNS)
    with pytest.raises(ValueError, match=r"column.*user_id"):
        tidy_histories(pd.DataFrame({"work_id": [1]}), as_of=NOW)


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ({"plays": 1}, True),
        ({"plays": 0, "completion": 0.05}, True),
        ({"plays": 0, "completion": 0.0499}, False),
        ({"plays": 0, "episodes_played": 1}, True),
        ({"plays": 0, "episodes_played": 0}, False),
        ({"plays": 0, "rating": 0}, True),
        ({"plays": 0, "favorite": True}, False),
        ({"plays": 0, "wants_more": True}, False),
    ],
)
def test_a_title_is_started_by_a_play_five_percent_an_episode_or_a_rating(row, seen):
    assert started(tidy({"work_id": 1, "completion": 0.0} | row)).tolist() == [seen]


def test_moments_without_a_zone_are_utc():
    assert as_utc("2026-03-01 12:00") == as_utc("2026-03-01 14:00+02:00") == pd.Timestamp("2026-03-01 12:00Z")
    with pytest.raises(ValueError, match="moment"):
        as_utc(pd.NaT)  # type: ignore[arg-type]


def test_columns_of_lists_and_numbers_survive_anything():
    values = [
        ["a", "b"],
        ["a", "", None, 3],
        ["a", None],
        "one",
        "",
        None,
        np.nan,
        7,
        np.array(["x", "y"]),
        {"k": 1},
        ("t",),
    ]
    frame = pd.DataFrame({"names": values, "number": range(11)})
    expected = [["a", "b"], ["a"], ["a"], ["one"], [], [], [], [], ["x", "y"], ["k"], ["t"]]
    assert list_column(frame, "names") == expected
    assert list_column(frame, "other") == [[]] * 11
    numbers = number_column(pd.DataFrame({"number": [1, "2", "x", None, np.inf, -np.inf]}), "number")
    assert numbers[:2].tolist() == [1.0, 2.0] and np.isnan(numbers[2:]).all()
    assert np.isnan(number_column(frame, "other")).tolist() == [True] * 11


def test_works_are_found_by_their_row():
    assert index_of([7, 5.0]) == {7: 0, 5: 1}
    assert positions([5, 6, 7], {7: 0, 5: 1}).tolist() == [1, -1, 0]
    with pytest.raises(ValueError, match="twice"):
        index_of([7, 5, 7])


def test_positions_of_values_that_are_not_there_or_unknown_are_minus_one():
    index = {"a": 0, "b": 1}
    assert positions(pd.Series(["b", None, "c", "a", "b"]), index).tolist() == [1, -1, -1, 0, 1]
    assert positions(["b", "c"], index).tolist() == [1, -1]
    assert positions(pd.Series([7, 9, 7]), {7: 3}).tolist() == [3, -1, 3]


@pytest.mark.parametrize(("days", "is_closed"), [(29.9, True), (30.0, False)])
def test_a_film_that_was_left_early_may_come_back_after_thirty_days_of_going_on(days: float, is_closed: bool):
    found = tidy(
        {"work_id": 1, "plays": 1, "completion": 0.1, "last_played_at": days_ago(days)},
        {"work_id": 2, "plays": 1, "completion": 1.0, "last_played_at": days_ago(0)},
    )
    assert started(found).tolist() == [is_closed, True]
