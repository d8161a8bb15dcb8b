"""Lists that are not ten times the same."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.evaluation import intra_list_diversity
from aperture_dagster.ranking.taste import centre


def test_without_diversity_the_order_is_by_relevance(vectors):
    relevance = np.arange(60.0)
    assert mmr(relevance, centre(vectors), 5, diversity=0.0).tolist() == [59, 58, 57, 56, 55]


def test_diversity_makes_lists_more_diverse_and_keeps_the_best_first(vectors):
    unit = centre(vectors)
    relevance = np.where(np.arange(60) % 3 == 0, 1.0, 0.8) + np.linspace(0, 0.1, 60)
    plain, diverse = (mmr(relevance, unit, 10, diversity=d) for d in (0.0, 0.5))
    assert plain[0] == diverse[0]
    assert intra_list_diversity(unit, diverse) > intra_list_diversity(unit, plain)


def test_every_title_appears_once_and_the_list_is_as_long_as_it_can_be(vectors):
    chosen = mmr(np.ones(60), centre(vectors), 100, diversity=0.3)
    assert sorted(chosen) == list(range(60))
    assert mmr(np.zeros(0), np.zeros((0, 4)), 5).tolist() == []
    assert mmr(np.ones(3), np.zeros((3, 4)), 0).tolist() == []


def test_ties_and_unknown_scores_are_settled_the_same_way_each_time(vectors):
    relevance = np.full(60, np.nan)
    relevance[::7] = 1.0
    runs = [mmr(relevance, centre(vectors), 20).tolist() for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert mmr(np.full(4, np.nan), np.zeros((4, 2)), 4).tolist() == [0, 1, 2, 3]


def test_diversity_outside_its_range_is_refused(vectors):
    with pytest.raises(ValueError, match="diversity"):
        mmr(np.ones(60), vectors, 5, diversity=1.5)
