"""The measures of lists and the protocol of the evaluation, compared with results computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.evaluation import (
    Result,
    by_votes,
    coverage,
    hit_rate_at,
    intervals,
    judge,
    leave_last_out,
    mean_popularity,
    ndcg_at,
    recall_at,
    world_of,
)
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster_tests.taste.conftest import days_ago


def test_ndcg_equals_the_formula():
    found = 1 / math.log2(3) + 1 / math.log2(5)  # hits at ranks 2 and 4
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)  # three relevant titles
    assert ndcg_at(["a", "x", "b", "y"], {"x", "y", "z"}, k=4) == pytest.approx(found / best)
    assert ndcg_at(["a", "x", "b", "y"], {"x", "y", "z"}, k=3) == pytest.approx((1 / math.log2(3)) / best)


def test_hit_rate_and_recall_look_at_the_first_k():
    assert hit_rate_at([5, 6, 1], {1}, k=2) == 0.0 and hit_rate_at([5, 6, 1], {1}, k=3) == 1.0
    assert recall_at([1, 2, 9], {1, 2, 3, 4}, k=2) == 0.5


def test_metrics_are_nan_when_nothing_is_relevant():
    assert all(math.isnan(measure([1], set())) for measure in (ndcg_at, hit_rate_at, recall_at))


def test_the_last_fifth_of_each_history_is_held_out():
    frame = pd.DataFrame(
        {
            "user_id": ["a"] * 10 + ["b"] * 3,
            "work_id": range(13),
            "last_played_at": [days_ago(d) for d in [*range(10), *range(3)]],
        }
    )
    known, held = leave_last_out(frame.sample(frac=1.0, random_state=0))
    assert sorted(held.loc[held["user_id"] == "a", "work_id"]) == [0, 1]
    assert held.loc[held["user_id"] == "b", "work_id"].tolist() == [10]
    assert len(known) + len(held) == 13 and not set(known["work_id"]) & set(held["work_id"])
    for user in "ab":
        last_known = known.loc[known["user_id"] == user, "last_played_at"].max()
        assert last_known < held.loc[held["user_id"] == user, "last_played_at"].min()


def test_mean_popularity_and_coverage():
    lists = [np.array([0, 1]), np.array([1, 2])]
    assert mean_popularity(lists, np.array([10.0, 20.0, 60.0, 0.0])) == pytest.approx(27.5)
    assert coverage(lists, 4) == 0.75
    assert math.isnan(mean_popularity([], np.ones(3)))


def histories(**works: list[int]) -> pd.DataFrame:
    """One play a day of these works, the last one today."""
    return pd.DataFrame(
        [
            {"user_id": user, "work_id": work, "plays": 1, "rating": np.nan, "last_played_at": days_ago(len(own) - day)}
            for user, own in works.items()
            for day, work in enumerate(own, start=1)
        ]
    )


def world(library: pd.DataFrame, played: pd.DataFrame, liked=None, unavailable=()):
    mask = library["work_id"].isin(list(unavailable)).to_numpy()
    liked = np.ones(len(played), dtype=bool) if liked is None else liked
    return world_of(library, library_of(library), played, liked, lambda user, known, last: mask)


def test_hits_are_what_a_user_liked_later_and_could_have_watched(library):
    played = histories(ann=[100, 101, 102, 103, 104, 105, 106, 107, 108, 109], bob=[110, 111], eve=[120])
    found = world(library, played)
    assert found.hits == {"ann": {8, 9}, "bob": {11}}, "eve has nothing left to be judged by"
    assert found.seen["ann"].tolist() == list(range(8)) and set(found.training["work_id"]) == {*range(100, 108), 110}
    assert found.last_known["ann"] == days_ago(2)
    assert world(library, played, ~played["work_id"].isin([108, 110]).to_numpy()).hits == {"ann": {9}}, (
        "bob liked nothing before"
    )
    late = world(library, played, unavailable=[109, 111])
    assert late.hits == {"ann": {8}} and late.unreleased["ann"].nonzero()[0].tolist() == [9, 11]


def test_works_that_are_not_in_the_library_are_not_held_out(library):
    assert world(library, histories(ann=[100, 101, 999])).hits == {"ann": {1}}


def test_the_baseline_leaves_out_what_its_user_knew_or_could_not_watch(library):
    library = library.assign(vote_count=np.arange(60.0, 0.0, -1.0))
    found = world(library, histories(ann=[100, 101, 102], bob=[103, 104]), unavailable=[105])
    lists = by_votes(found)
    assert lists["ann"][:4].tolist() == [2, 3, 4, 6] and lists["bob"][:4].tolist() == [0, 1, 2, 4]
    assert all(len(entry) == 20 for entry in lists.values())
    assert list(by_votes(found, ["bob"])) == ["bob"]


def test_a_list_is_judged_by_its_own_user(library):
    found = world(library, histories(ann=[100, 101], bob=[110, 111]))
    lists = {"ann": np.array([1, 2]), "bob": np.array([5, 6])}
    result = judge(found, lists)
    assert result.ndcgs.tolist() == [1.0, 0.0] and result.hit_rate == 0.5 and result.users == 2
    assert judge(found, lists, ["bob"]).ndcg == 0.0
    assert judge(found, {}).users == 0, "and nothing fails"


def result(ndcgs: list[float]) -> Result:
    return Result(np.array(ndcgs), 0.0, 0.0, 0.0, 0.0)


def test_an_interval_is_narrow_for_many_users_who_agree_and_wide_for_few_who_do_not():
    votes = result([0.1] * 400)
    (low, high), (least, most) = intervals(result([0.2] * 400), votes)
    assert (low, high) == pytest.approx((0.2, 0.2)) and (least, most) == pytest.approx((2.0, 2.0))
    (low, high), (least, most) = intervals(result([0.0, 0.6, 0.0]), result([0.1, 0.1, 0.1]))
    assert low == 0.0 and high >= 0.4 and least == 0.0 and most >= 4.0
    assert intervals(result([0.1, 0.2]), result([0.0, 0.0]))[1][1] == math.inf
