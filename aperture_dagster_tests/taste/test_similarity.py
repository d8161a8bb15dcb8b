"""Similarity to a history, and reasons."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.taste.ranking import signals
from aperture_dagster.taste.ranking.signals import history_similarity
from aperture_dagster.taste.ranking.taste import centre


def test_the_sum_over_the_history_equals_the_formula(vectors):
    unit, liked, weights = centre(vectors), np.array([0, 1, 5]), np.array([1.0, -0.5, 0.3])
    naive = ((unit @ unit[liked].T).astype(np.float64) ** 3) @ weights
    assert history_similarity(unit, liked, weights) == pytest.approx(naive, abs=1e-5)


@pytest.mark.parametrize("block", [1, 3, 7, 512])
def test_the_block_size_does_not_change_the_result(vectors, monkeypatch, block: int):
    """Titles of a history that are candidates, those that are none, and candidates that nobody watched."""
    monkeypatch.setattr(signals, "BLOCK", block)
    unit, random = centre(vectors), np.random.default_rng(4)
    liked, candidates = random.permutation(len(unit))[:13], random.permutation(len(unit))[:17]
    weights = np.where(random.random((13, 4)) < 0.4, random.normal(size=(13, 4)), 0.0)
    assert 0 < len(np.intersect1d(liked, candidates)) < 13
    naive = ((unit[candidates] @ unit[liked].T).astype(np.float64) ** 3) @ weights
    assert history_similarity(unit, liked, weights, candidates=candidates) == pytest.approx(naive, abs=1e-5)


def test_an_empty_history_gives_zeros(vectors):
    unit, none = centre(vectors), np.zeros(0, dtype=np.int64)
    assert not history_similarity(unit, none, np.zeros(0)).any()
