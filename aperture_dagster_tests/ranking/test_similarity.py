"""Nearness to what was liked."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.ranking import similarity
from aperture_dagster.ranking.similarity import history_similarity, nearest_k_similarity, nearest_liked
from aperture_dagster.ranking.taste import centre


def test_the_sum_over_the_history_is_what_the_formula_says(vectors):
    unit, liked, weights = centre(vectors), np.array([0, 1, 5]), np.array([1.0, -0.5, 0.3])
    naive = ((unit @ unit[liked].T).astype(np.float64) ** 3) @ weights
    assert history_similarity(unit, liked, weights) == pytest.approx(naive, abs=1e-5)


def test_blocks_change_nothing(vectors, monkeypatch):
    unit, liked, weights = centre(vectors), np.arange(10), np.linspace(-1, 1, 10)
    whole, nearest = history_similarity(unit, liked, weights), nearest_k_similarity(unit, liked, k=3)
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 1)
    assert history_similarity(unit, liked, weights) == pytest.approx(whole, abs=1e-6)
    assert nearest_k_similarity(unit, liked, k=3) == pytest.approx(nearest, abs=1e-6)


def test_all_users_at_once_are_each_user_alone(vectors):
    unit, liked = centre(vectors), np.arange(8)
    weights = np.random.default_rng(0).normal(size=(8, 3))
    together = history_similarity(unit, liked, weights, candidates=np.arange(20))
    for user in range(3):
        alone = history_similarity(unit, liked, weights[:, user], candidates=np.arange(20))
        assert together[:, user] == pytest.approx(alone, abs=1e-5)


def test_a_dislike_pushes_away_what_is_near_to_it(vectors):
    unit = centre(vectors)
    scores = history_similarity(unit, np.array([0]), np.array([-1.0]))
    assert scores[3::3].max() < scores[1::3].min()


def test_an_empty_history_scores_nothing(vectors):
    unit, none = centre(vectors), np.zeros(0, dtype=np.int64)
    assert not history_similarity(unit, none, np.zeros(0)).any()
    assert not nearest_k_similarity(unit, none).any()
    assert nearest_liked(unit, np.array([1, 2]), none) == [[], []]


def test_nonsense_is_refused(vectors):
    with pytest.raises(ValueError, match="power"):
        history_similarity(vectors, np.array([0]), np.array([1.0]), power=0)
    with pytest.raises(ValueError, match="weights"):
        history_similarity(vectors, np.array([0]), np.array([1.0, 2.0]))


def test_reasons_are_the_nearest_liked_titles_nearest_first(vectors):
    unit, liked = centre(vectors), np.array([0, 1, 3, 6, 9])
    for row, reasons in zip((12, 15), nearest_liked(unit, np.array([12, 15]), liked), strict=True):
        near = unit[row] @ unit[reasons].T
        assert len(reasons) == 3 and list(near) == sorted(near, reverse=True)
        assert all(reason % 3 == 0 for reason in reasons)


def test_a_title_without_a_vector_has_no_reasons(vectors):
    unit = centre(vectors)
    unit[7] = 0.0
    assert nearest_liked(unit, np.array([7]), np.array([0, 1])) == [[]]


def test_nearest_k_is_the_mean_of_the_k_largest(vectors):
    unit, liked = centre(vectors), np.arange(6)
    naive = np.sort(unit @ unit[liked].T, axis=1)[:, -2:].mean(axis=1)
    assert nearest_k_similarity(unit, liked, k=2) == pytest.approx(naive, abs=1e-6)
    assert nearest_k_similarity(unit, liked, k=50) == pytest.approx((unit @ unit[liked].T).mean(axis=1), abs=1e-6)
