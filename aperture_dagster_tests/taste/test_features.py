"""Similarity by content features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.features import content_features
from aperture_dagster.taste.ranking.signals import ERA_YEARS
from aperture_dagster_tests.taste.conftest import tf_idf


def test_affinity_is_the_sum_of_the_cosines_of_pairs():
    lists = [["a", "b"], ["a"], ["b", "c"], ["c", "a"], [], ["d", "c"], ["d"]]
    names = tf_idf(lists)
    dense = np.zeros((len(lists), names.names))
    dense[np.repeat(np.arange(len(lists)), np.diff(names.first)), names.columns] = names.values
    cosines, signed = dense @ dense.T, np.array([1.0, -0.5, 0.0, 2.0, 1.0, 0.0, 3.0])
    assert np.diag(cosines) == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    assert names.affinity(signed) == pytest.approx(cosines @ signed)
    for rows in ([2], [4, 1], [3, 0, 2, 1]):
        assert names.affinity(signed, np.array(rows)) == pytest.approx((cosines @ signed)[rows])
    rows, others = np.array([1, 0, 4]), np.array([6, 3, 4, 2, 0, 1])
    assert names.between(rows, others) == pytest.approx(cosines[np.ix_(rows, others)])


def test_missing_columns_and_values_are_accepted():
    items = pd.DataFrame({"work_id": [1, 2], "genres": [np.nan, "war"], "cast": [["A", ""], ["A", None]]})
    features = content_features(items)
    assert features.fields["people"].affinity(np.array([1.0, 0.0]))[1] == 0.0, "a name that all titles have"
    assert np.isfinite(features.era(np.ones(2), ERA_YEARS)).all()
