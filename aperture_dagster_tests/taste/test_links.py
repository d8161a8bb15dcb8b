"""Links from "recommended from this title" lists, compared with results computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.links import Links, links_of


def links(*edges: tuple[int, int, float]) -> Links:
    frame = pd.DataFrame(edges, columns=["work_id", "recommended_work_id", "rank"])
    return links_of(frame, {work: work for work in range(8)}, 8)


def dense(found: Links) -> np.ndarray:
    """The strength from each row (first) to each other."""
    matrix = np.zeros((found.n, found.n))
    np.add.at(matrix, (found.start, np.repeat(np.arange(found.n), np.diff(found.first))), found.strength)
    return matrix


def test_a_link_counts_by_rank_in_both_directions_divided_by_the_root_of_the_degree():
    found = dense(links((0, 1, 1), (0, 2, 3), (3, 1, 7)))
    # By rank: 1, 1/2 and 1/3. Title 0 has a degree of 1.5, title 1 of 1.33; a degree below 1 counts as 1.
    expected = {(0, 1): (4 / 3) ** -0.5, (1, 0): 1.5**-0.5, (0, 2): 0.5, (2, 0): 0.5 * 1.5**-0.5}
    expected |= {(3, 1): (4 / 3) ** -0.5 / 3, (1, 3): 1 / 3}
    for pair, strength in expected.items():
        assert found[pair] == pytest.approx(strength, abs=1e-6), pair
    assert np.count_nonzero(found) == 6


def test_of_a_pair_that_is_linked_more_than_once_the_best_rank_counts():
    assert dense(links((0, 1, 9), (1, 0, 3), (0, 1, 30))) == pytest.approx(dense(links((0, 1, 3))))


def test_the_list_ends_at_rank_40_and_a_link_without_a_rank_is_the_last():
    last = links((0, 1, 40))
    assert dense(last)[0, 1] == pytest.approx(1 / np.log2(41))
    assert dense(links((0, 1, np.nan))) == pytest.approx(dense(last))
    assert dense(links((0, 1, 0))) == pytest.approx(dense(links((0, 1, 1))))
    assert not dense(links((0, 1, 41), (0, 99, 1), (99, 1, 1), (2, 2, 1))).any()


def test_weights_spread_over_the_links_of_any_number_of_users():
    random = np.random.default_rng(5)
    ends = random.integers(0, 8, size=(30, 2))
    found = links(*((int(a), int(b), int(rank)) for (a, b), rank in zip(ends, random.integers(1, 45, 30), strict=True)))
    weights = random.normal(size=(8, 37))
    assert found.spread(weights) == pytest.approx(dense(found).T @ weights, abs=1e-5)
    assert not links().spread(weights).any() and links().spread(weights).shape == (8, 37)


def test_titles_that_lead_to_the_same_title_outside_the_library_are_tied_half_as_much():
    found = links((0, -7, 1), (1, -7, 3), (2, -9, 1))
    liked = np.zeros((8, 2))
    liked[[0, 2], [0, 1]] = 1.0
    # By rank 1 and 1/2, and the title outside has a degree of 1.5; what leads somewhere alone ties nothing.
    assert found.spread(liked)[1].tolist() == pytest.approx([0.5 * 1.5**-0.5 * 0.5, 0.0])
    assert np.count_nonzero(found.spread(liked)[3:]) == 0
    rows, others = np.array([1, 3]), np.array([2, 0])
    assert found.between(rows, others) == pytest.approx(np.array([[0.0, found.spread(liked)[1, 0]], [0.0, 0.0]]))


def test_the_strengths_between_some_titles_are_those_of_their_links():
    random = np.random.default_rng(9)
    ends = random.integers(0, 8, size=(20, 2))
    found = links(*((int(a), int(b), int(rank)) for (a, b), rank in zip(ends, random.integers(1, 45, 20), strict=True)))
    rows, others = np.array([6, 0, 3]), np.array([5, 1, 0, 7, 2])
    assert found.between(rows, others) == pytest.approx(dense(found).T[np.ix_(rows, others)])
    assert not links().between(rows, others).any()
