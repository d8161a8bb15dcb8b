"""EASE, and the table of neighbours, which equals EASE cut to the strongest and is applied as EASE is."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.taste.ranking import crowd
from aperture_dagster.taste.ranking.crowd import Crowd, Ease, Neighbours, fit_ease, fit_neighbours, ridge_for


def pairs(people: int, titles: int):
    """Random likings: person, title (ids from 500 on) and value of each."""
    random = np.random.default_rng(1)
    likings = np.where(random.random((people, titles)) < 0.3, random.choice([0.5, 1.0], (people, titles)), 0.0)
    person, title = likings.nonzero()
    return person, title + 500, likings[person, title]


def dense(table: Neighbours) -> np.ndarray:
    """The table as a matrix."""
    matrix = np.zeros((len(table.titles), len(table.titles)))
    matrix[np.repeat(np.arange(len(table.titles)), table.counts), table.neighbours] = table.strengths
    return matrix


@pytest.mark.parametrize(("people", "titles"), [(20, 90), (60, 25)], ids=["by people", "by titles"])
def test_without_a_cut_the_table_is_ease(monkeypatch: pytest.MonkeyPatch, people: int, titles: int):
    # Several panels and strips, none of which divides the number of titles.
    for name, size in (("_PANEL", 7), ("_STRIP", 9), ("_BLOCK", 4)):
        monkeypatch.setattr(crowd, name, size)
    person, title, value = pairs(people, titles)
    table = fit_neighbours(person, title, value, count=titles)
    ease = fit_ease(person, title - 500, value, ridge=ridge_for(people, value))
    assert (people * crowd.SMALLEST_CROWD <= titles) == (people == 20)
    assert table.people == people and table.titles.tolist() == list(range(500, 500 + titles))
    assert dense(table) == pytest.approx(ease.score(np.eye(titles)), abs=1e-5)


def test_of_each_title_the_strongest_neighbours_of_either_sign_are_kept_strongest_first():
    whole, cut = (fit_neighbours(*pairs(30, 50), count=count) for count in (50, 3))
    assert set(cut.counts) == {6}
    for row, kept in enumerate(cut.strengths.reshape(50, 6)):
        every = np.sort(dense(whole)[row])[::-1]
        assert kept.tolist() == pytest.approx([*every[:3], *every[-3:]], abs=1e-6)
        assert kept[2] > 0 > kept[3]


def test_only_the_most_liked_titles_take_part():
    person, title, value = pairs(30, 20)
    often, seldom = np.bincount(title - 500), 500 + 7
    keep = (title != seldom) | (person == person[title == seldom][0])
    table = fit_neighbours(person[keep], title[keep], value[keep], max_titles=19)
    assert often.min() > 1 and table.titles.tolist() == [one for one in range(500, 520) if one != seldom]
    assert table.neighbours.max() < 19


def test_people_who_have_nothing_in_common_make_no_table():
    for person, title in (([0], [1]), ([0, 1], [1, 2]), ([], [])):
        table = fit_neighbours(np.array(person, dtype=int), np.array(title, dtype=int), np.ones(len(person)))
        assert table.people == 0 and not len(table.neighbours) and not table.counts.any()


def test_a_library_has_the_pairs_of_which_it_has_both_titles():
    table = Neighbours(
        titles=np.array([10, 11, 12, 13]),
        counts=np.array([2, 1, 0, 1]),
        neighbours=np.array([1, 2, 3, 0]),
        strengths=np.array([0.5, 0.25, 1.0, 2.0], dtype=np.float32),
        people=9,
    )
    # The library lacks the third title, and knows the second and the fourth as one and the same work.
    pairs_there = table.on(np.array([70, 80, -1, 80]))
    assert list(
        zip(pairs_there.sources.tolist(), pairs_there.targets.tolist(), pairs_there.strengths.tolist(), strict=True)
    ) == [
        (70, 80, 0.5),
        (80, 70, 2.0),
    ]
    assert pairs_there.people == 9


def test_a_score_is_the_sum_over_the_history_of_weight_times_strength():
    random = np.random.default_rng(3)
    index = {100 + row: row for row in range(30)}
    matrix = np.where(random.random((30, 30)) < 0.2, random.random((30, 30)), 0.0)
    source, target = matrix.nonzero()
    order = random.permutation(len(source))
    outside = Crowd(
        np.append(source[order] + 100, 999), np.append(target[order] + 100, 100),
        np.append(matrix[source, target][order], 5.0).astype(np.float32), people=3,
    )  # fmt: skip
    watched = np.where(random.random((4, 30)) < 0.3, random.random((4, 30)), 0.0).astype(np.float32)
    watched[2] = 0.0
    scores = outside.links(index, 30).spread(watched.T).T
    assert scores == pytest.approx(watched @ matrix, abs=1e-5)
    empty = Crowd(source[:0], target[:0], outside.strengths[:0], people=0)
    assert not empty.links(index, 30).spread(watched.T).any()


def published(x: np.ndarray, ridge: float) -> np.ndarray:
    """The matrix B of the closed form as published."""
    p = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))
    b = np.eye(x.shape[1]) - p / np.diag(p)
    np.fill_diagonal(b, 0.0)
    return b


def fitted(matrix: np.ndarray, ridge: float) -> Ease:
    user, row = np.nonzero(matrix)
    return fit_ease(user, row, matrix[user, row], ridge=ridge)


@pytest.fixture
def watched() -> np.ndarray:
    random = np.random.default_rng(1)
    return (random.random((12, 30)) < 0.3) * random.choice([0.3, 0.5, 1.0], (12, 30))


def test_ease_equals_the_published_formula(watched):
    expected = np.where(watched.any(axis=0), watched @ published(watched, 5.0), 0.0)
    assert fitted(watched, 5.0).score(watched) == pytest.approx(expected, abs=1e-5)
    tall = np.concatenate([watched, watched[::-1], watched[:, ::-1]])
    assert fitted(tall, 5.0).score(tall) == pytest.approx(tall @ published(tall, 5.0), abs=1e-5), "more users"


def test_ease_needs_two_users():
    pair = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert fitted(pair, 1.0).score(pair)[1, 1] > 0 and fitted(pair, 1.0).users == 2
    assert not fitted(pair[:1], 1.0).score(pair).any() and fitted(pair[:1], 1.0).users == 1
    assert not fitted(np.zeros((5, 3)), 1.0).score(pair).any()


def test_a_household_with_a_large_library_needs_only_a_small_matrix(monkeypatch):
    random = np.random.default_rng(0)
    watched = (random.random((50, 20_000)) < 0.01).astype(np.float32)
    inverted = []
    inverse = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda matrix: inverted.append(matrix.shape) or inverse(matrix))
    assert np.isfinite(fitted(watched, 50.0).score(watched)).all()
    assert inverted == [(50, 50)]


def test_the_weight_of_each_title_in_a_score_is_its_place_in_the_matrix(watched):
    b = published(watched, 5.0)
    titles, liked = np.array([7, 0, 29, 3]), np.array([3, 11, 0, 28, 5])
    by_users = fitted(watched, 5.0).weights(titles, liked)
    assert by_users == pytest.approx(b[np.ix_(liked, titles)].T, abs=1e-5) and by_users[3, 0] == 0.0
    # More titles than the history has, and fewer.
    assert fitted(watched, 5.0).weights(titles, liked[:2]) == pytest.approx(by_users[:, :2], abs=1e-5)
    assert not fitted(watched[:1], 5.0).weights(titles, liked).any(), "one person says nothing about others"


def test_the_ridge_grows_with_the_root_of_the_number_of_people_and_with_the_scale_of_the_values():
    found = [ridge_for(users, np.ones(2)) for users in (0, 9, 100, 2_500, 10_000, 1_000_000)]
    assert found == [15, 15, 50, 250, 500, 500]
    assert ridge_for(9, np.array([0.5, 1.0])) == 15 * (0.25 + 1) / 2 and ridge_for(0, np.zeros(0)) == 15
