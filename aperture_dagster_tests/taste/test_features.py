"""Similarity by content features: lists of names as numbers, and the searches in sorted arrays behind them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.features import NameLists, PackedNames, content_features, count_names
from aperture_dagster.taste.ranking.histories import entries_of, find, first_of
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


LISTS = [["b", "a", "b"], [], ["c"], ["a", "d"], []]


def names_of(found, row: int) -> list[str]:
    return sorted(found.distinct[found.codes[found.first[row] : found.first[row + 1]]].tolist())


def test_a_name_counts_once_for_each_title_that_has_it():
    found = count_names(LISTS)
    assert [names_of(found, row) for row in range(5)] == [["a", "b"], [], ["c"], ["a", "d"], []]
    assert dict(zip(found.distinct.tolist(), found.counts.tolist(), strict=True)) == {"a": 2, "b": 1, "c": 1, "d": 1}


def test_the_names_of_several_columns_are_those_of_all():
    found = count_names(LISTS, [["z"], ["z"], [], ["a"], []])
    assert [names_of(found, row) for row in range(5)] == [["a", "b", "z"], ["z"], ["c"], ["a", "d"], []]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_packed_names_are_the_lists_that_were_packed(batch: int):
    packed = PackedNames()
    for start in range(0, 5, batch):
        packed.add(["\x1f".join(names) for names in LISTS[start : start + batch]])
    assert list(packed.unpack()) == LISTS
    assert list(PackedNames().unpack()) == []


def test_the_first_names_of_each_title():
    assert list(NameLists.of(LISTS).at_most(1)) == [["b"], [], ["c"], ["a"], []]
    assert list(NameLists.of(LISTS).at_most(3)) == LISTS


def test_numbers_are_found_in_a_sorted_array():
    assert find(np.array([2, 5, 9]), np.array([9, 1, 5, 10, 2, 6])).tolist() == [2, -1, 1, -1, 0, -1]
    assert find(np.array([], dtype=int), np.array([1, 2])).tolist() == [-1, -1]


def test_the_entries_of_rows_come_row_by_row_in_the_order_asked_for():
    first = first_of(np.array([0, 0, 2, 2, 2]), 4)
    assert first.tolist() == [0, 2, 2, 5, 5]
    entries, owner = entries_of(first, np.array([2, 1, 0, 3]))
    assert entries.tolist() == [2, 3, 4, 0, 1] and owner.tolist() == [0, 0, 0, 2, 2]
