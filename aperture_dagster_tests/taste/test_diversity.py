"""Diversification of lists."""

from __future__ import annotations

import numpy as np

from aperture_dagster.taste.ranking.signals import mmr
from aperture_dagster.taste.ranking.taste import centre


def mean_cosine(unit: np.ndarray, rows: np.ndarray) -> float:
    return float(np.mean(unit[rows] @ unit[rows].T))


def test_diversity_lowers_the_similarity_within_a_list_and_keeps_the_best_first(vectors):
    unit = centre(vectors)
    relevance = np.where(np.arange(60) % 3 == 0, 1.0, 0.8) + np.linspace(0, 0.1, 60)
    plain, diverse = (mmr(relevance, unit, 10, diversity=d) for d in (0.0, 0.5))
    assert plain[0] == diverse[0]
    assert mean_cosine(unit, diverse) < mean_cosine(unit, plain)


def test_a_title_like_the_first_pick_is_not_taken_right_after_a_different_one():
    """Every pick counts, not only the last one: two directions must not simply alternate."""
    directions = np.eye(4)[[0, 0, 1, 2, 3]]
    relevance = np.array([1.0, 0.99, 0.98, 0.7, 0.6])
    # The second of direction 0 is the most relevant one left, but worse than any new direction.
    assert mmr(relevance, directions, 5, diversity=0.6).tolist() == [0, 2, 3, 4, 1]


def test_relevance_counts_between_the_lowest_and_the_highest_whatever_its_scale():
    directions = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, -0.6], [0.0, -1.0]])
    relevance = np.array([1.0, 0.9, 0.35, 0.0])
    # After the first, .5 · .9 - .5 · .6 = .15 is less than .175: an opposite of what was selected gets no bonus.
    assert mmr(relevance, directions, 4, diversity=0.5).tolist() == [0, 2, 1, 3]
    assert mmr(relevance, directions, 4, diversity=0.3).tolist() == [0, 1, 2, 3]
    for scale, offset in ((0.01, 0.0), (1.0, 100.0), (50.0, -7.0)):
        assert mmr(relevance * scale + offset, directions, 4, diversity=0.5).tolist() == [0, 2, 1, 3]


def test_every_title_appears_once_and_the_list_is_as_long_as_possible(vectors):
    chosen = mmr(np.ones(60), centre(vectors), 100, diversity=0.3)
    assert sorted(chosen) == list(range(60))
    assert mmr(np.zeros(0), np.zeros((0, 4)), 5, diversity=0.1).tolist() == []
    assert mmr(np.ones(3), np.zeros((3, 4)), 0, diversity=0.1).tolist() == []
