"""The metrics of the benchmark, compared with results computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from .conftest import days_ago


def test_ndcg_equals_the_formula(benchmark):
    found = 1 / math.log2(3) + 1 / math.log2(5)  # hits at ranks 2 and 4
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)  # three relevant titles
    assert benchmark.ndcg_at(["a", "x", "b", "y"], {"x", "y", "z"}, k=4) == pytest.approx(found / best)
    assert benchmark.ndcg_at(["a", "x", "b", "y"], {"x", "y", "z"}, k=3) == pytest.approx((1 / math.log2(3)) / best)


def test_a_perfect_list_scores_one_and_a_list_without_hits_zero(benchmark):
    assert benchmark.ndcg_at([1, 2, 3], {1, 2, 3}) == pytest.approx(1.0)
    assert benchmark.ndcg_at([1, 2], set(range(1, 50)), k=2) == pytest.approx(1.0)
    assert benchmark.ndcg_at([7, 8], {1}) == 0.0 and benchmark.ndcg_at([], {1}) == 0.0


def test_hit_rate_and_recall_look_at_the_first_k(benchmark):
    assert benchmark.hit_rate_at([5, 6, 1], {1}, k=2) == 0.0 and benchmark.hit_rate_at([5, 6, 1], {1}, k=3) == 1.0
    assert benchmark.recall_at([1, 2, 9], {1, 2, 3, 4}, k=2) == 0.5


def test_metrics_are_nan_when_nothing_is_relevant(benchmark):
    assert all(
        math.isnan(measure([1], set())) for measure in (benchmark.ndcg_at, benchmark.hit_rate_at, benchmark.recall_at)
    )


def test_the_last_fifth_of_each_history_is_held_out(benchmark):
    frame = pd.DataFrame(
        {
            "user_id": ["a"] * 10 + ["b"] * 3,
            "work_id": range(13),
            "last_played_at": [days_ago(d) for d in [*range(10), *range(3)]],
        }
    )
    known, held = benchmark.leave_last_out(frame.sample(frac=1.0, random_state=0))
    assert sorted(held.loc[held["user_id"] == "a", "work_id"]) == [0, 1]
    assert held.loc[held["user_id"] == "b", "work_id"].tolist() == [10]
    assert len(known) + len(held) == 13 and not set(known["work_id"]) & set(held["work_id"])
    for user in "ab":
        last_known = known.loc[known["user_id"] == user, "last_played_at"].max()
        assert last_known < held.loc[held["user_id"] == user, "last_played_at"].min()


def test_mean_popularity_and_coverage(benchmark):
    lists = [np.array([0, 1]), np.array([1, 2])]
    assert benchmark.mean_popularity(lists, np.array([10.0, 20.0, 60.0, 0.0])) == pytest.approx(27.5)
    assert benchmark.coverage(lists, 4) == 0.75
    assert math.isnan(benchmark.mean_popularity([], np.ones(3)))


def test_equal_titles_have_diversity_zero_and_unrelated_ones_one(benchmark):
    assert benchmark.intra_list_diversity(np.ones((3, 2)), np.arange(3)) == pytest.approx(0.0)
    assert benchmark.intra_list_diversity(np.eye(3), np.arange(3)) == pytest.approx(1.0)
    assert math.isnan(benchmark.intra_list_diversity(np.zeros((3, 2)), np.arange(3)))
