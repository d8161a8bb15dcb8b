"""Taste in plain facts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking.facts import facts_of, name_matrix


def weights(n: int, **rows: float) -> np.ndarray:
    found = np.zeros(n)
    for row, weight in rows.items():
        found[int(row.removeprefix("row"))] = weight
    return found


def test_sharing_a_rare_name_ties_two_titles_more_than_sharing_a_common_one():
    names = name_matrix([["rare", "common"], ["rare", "other"], ["common", "other"], *[["common"]] * 20])
    near = names.affinity(weights(23, row0=1.0))
    assert near[1] > near[2] > 0


def test_affinity_is_the_sum_of_cosines():
    lists = [["a", "b"], ["a"], ["b", "c"], ["c", "a"], []]
    names = name_matrix(lists)
    dense = np.zeros((5, names.names))
    dense[names.rows, names.columns] = names.values
    signed = np.array([1.0, -0.5, 0.0, 2.0, 1.0])
    assert names.affinity(signed) == pytest.approx(dense @ dense.T @ signed)
    assert np.linalg.norm(dense[:4], axis=1) == pytest.approx(1.0)


def test_names_that_only_one_title_has_connect_nothing():
    assert name_matrix([["a"], ["b"]]).names == 0
    assert not name_matrix([["a"], ["b"]]).affinity(np.ones(2)).any()


def test_the_years_of_what_was_liked_draw_and_those_of_dislikes_do_not():
    facts = facts_of(pd.DataFrame({"year": [1975, 1976, 1990, 2020, np.nan, 0]}))
    near = facts.era(weights(6, row0=1.0, row3=-5.0))
    assert near[1] > near[2] >= near[3]
    assert near[4] == near[5] == pytest.approx(near[:4].mean())
    assert not facts.era(np.zeros(6)).any()


def test_a_title_of_unwatched_genres_is_novel():
    facts = facts_of(pd.DataFrame({"genres": [["war"], ["war"], ["love"], ["war", "love"], None]}))
    novelty = facts.novelty(np.array([0]))
    assert novelty.tolist() == [0.0, 0.0, 1.0, 0.5, 0.5]
    assert set(facts.novelty(np.zeros(0, dtype=np.int64))) == {0.5}


def test_a_table_with_nothing_but_rows_has_no_facts_and_no_trouble():
    facts = facts_of(pd.DataFrame({"work_id": [1, 2], "genres": [np.nan, "war"], "cast": [["A", ""], ["A", None]]}))
    assert facts.fields["people"].affinity(np.array([1.0, 0.0]))[1] == 0.0  # all have it: it tells nothing apart
    assert np.isfinite(facts.era(np.ones(2))).all()
