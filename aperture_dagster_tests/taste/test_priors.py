"""Priors, also when votes are missing."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.taste.ranking.library import bayesian_average, log_votes


def test_averages_with_unknown_votes():
    # Known counts 4 and 6: the median is below 10, so ten votes of the mean are mixed in; an unknown count is one vote.
    found = bayesian_average([8.0, 6.0, 9.0, np.nan, 0.0, 11.0], [4, 6, np.nan, 50, 7, 0])
    mean = (4 * 8 + 6 * 6 + 9) / 11
    assert found == pytest.approx([(32 + 10 * mean) / 14, (36 + 10 * mean) / 16, (9 + 10 * mean) / 11, *[mean] * 3])
    assert bayesian_average([np.nan], [3]).tolist() == [6.5]
    few = bayesian_average([8.0, 6.0], [1, 3])
    assert few == pytest.approx([(8 + 65) / 11, (18 + 65) / 13]), "one vote is known"
    without = bayesian_average([8.0, 6.0, 7.0, 5.0], [0, 0, 40, 60])
    assert without[2] == pytest.approx((40 * 7 + 50 * 5.8) / 90), "titles without votes do not lower the median"
    assert bayesian_average([12.0], [90]).tolist() == [10.0]


def test_votes_that_are_unknown_are_few():
    votes = [np.e**n - 1 for n in range(5)]
    assert log_votes([*votes, np.nan]) == pytest.approx([0, 1, 2, 3, 4, 1])
    assert log_votes([np.nan] * 2).tolist() == [0.0] * 2
    assert log_votes([-5.0, 0.0]).tolist() == [0.0, 0.0]
