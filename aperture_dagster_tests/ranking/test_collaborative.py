"""EASE."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.ranking import collaborative
from aperture_dagster.ranking.collaborative import Ease, fit_ease, ridge_for


def naive_ease(x: np.ndarray, ridge: float) -> np.ndarray:
    """The closed form as published."""
    p = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))
    b = np.eye(x.shape[1]) - p / np.diag(p)
    np.fill_diagonal(b, 0.0)
    return x @ b


def fitted(matrix: np.ndarray, ridge: float) -> Ease:
    user, row = np.nonzero(matrix)
    return fit_ease(user, row, matrix[user, row], users=matrix.shape[0], n=matrix.shape[1], ridge=ridge)


@pytest.fixture
def watched() -> np.ndarray:
    random = np.random.default_rng(1)
    return (random.random((12, 30)) < 0.3) * random.choice([0.3, 0.5, 1.0], (12, 30))


def test_ease_on_the_user_side_equals_the_published_formula(watched):
    expected = np.where(watched.any(axis=0), naive_ease(watched, 5.0), 0.0)
    assert fitted(watched, 5.0).score(watched) == pytest.approx(expected, abs=1e-5)


def test_ease_on_the_item_side_equals_the_published_formula(watched, monkeypatch):
    monkeypatch.setattr(collaborative, "BLOCK_USERS", 7)
    tall = np.concatenate([watched, watched[::-1], watched[:, ::-1]])
    assert fitted(tall, 5.0).score(tall) == pytest.approx(naive_ease(tall, 5.0), abs=1e-5)


def test_user_side_and_item_side_agree(watched, monkeypatch):
    by_users = fitted(watched, 3.0).score(watched)
    monkeypatch.setattr(collaborative, "MAX_DUAL_USERS", 0)
    assert fitted(watched, 3.0).score(watched) == pytest.approx(by_users, abs=1e-5)


@pytest.mark.parametrize("blocks", [7, 8_192])
@pytest.mark.parametrize("most_rows", [0, 3_000])
def test_each_dimension_of_the_vectors_counts_as_a_user(watched, monkeypatch, blocks: int, most_rows: int):
    monkeypatch.setattr(collaborative, "MAX_DUAL_USERS", most_rows)
    monkeypatch.setattr(collaborative, "BLOCK_ITEMS", blocks)
    vectors = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[11] = 0.0
    stacked = np.concatenate([watched, np.sqrt(0.3 * 5.0) * vectors.T])
    p = np.linalg.inv(stacked.T @ stacked + 5.0 * np.eye(30))
    b = np.eye(30) - p / np.diag(p)
    user, row = np.nonzero(watched)
    ease = fit_ease(user, row, watched[user, row], users=12, n=30, ridge=5.0, vectors=vectors, content=0.3)
    assert ease.has_content and ease.users == 12
    assert ease.score(watched) == pytest.approx(watched @ b, abs=1e-5)
    titles, liked = np.array([7, 0, 29, 3]), np.array([3, 11, 0, 28, 5])
    assert ease.weights(titles, liked) == pytest.approx(b[np.ix_(liked, titles)].T, abs=1e-5)


def test_the_first_dimensions_of_long_vectors_stand_for_all(watched, monkeypatch):
    monkeypatch.setattr(collaborative, "MAX_DIMENSIONS", 4)
    some = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    user, row = np.nonzero(watched)
    pairs, sizes = (user, row, watched[user, row]), {"users": 12, "n": 30, "ridge": 5.0, "content": 0.3}
    long = np.concatenate([some, some, some], axis=1) / np.sqrt(np.float32(3))
    expected = fit_ease(*pairs, **sizes, vectors=some).score(watched)
    assert fit_ease(*pairs, **sizes, vectors=long).score(watched) == pytest.approx(expected, abs=1e-5)


def test_vectors_of_nothing_and_a_single_person_are_as_none(watched):
    user, row = np.nonzero(watched)
    some = {"users": 12, "n": 30, "ridge": 5.0, "content": 0.2}
    empty = fit_ease(user, row, watched[user, row], vectors=np.zeros((30, 1), np.float32), **some)
    assert not empty.has_content and (empty.score(watched) == fitted(watched, 5.0).score(watched)).all()
    unwanted = {name: value for name, value in some.items() if name != "content"}
    assert not fit_ease(user, row, watched[user, row], vectors=np.ones((30, 1), np.float32), **unwanted).has_content
    one = fit_ease(user[:0], row[:0], watched[user, row][:0], vectors=np.ones((30, 1), np.float32), **some)
    assert not one.has_content and not one.score(watched).any()


def test_titles_watched_together_recommend_each_other():
    watched = np.zeros((6, 4))
    watched[:3, [0, 1]] = watched[3:, [2, 3]] = 1.0
    watched[0, 1] = 0.0
    scores = fitted(watched, 1.0).score(watched)
    assert scores[0, 1] > max(scores[0, 2], scores[0, 3])


def test_ease_needs_two_users():
    pair = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert fitted(pair, 1.0).score(pair)[1, 1] > 0
    assert not fitted(pair[:1], 1.0).score(pair).any()
    assert not fitted(np.zeros((5, 3)), 1.0).score(pair).any()


def test_the_item_side_keeps_only_the_most_watched_titles(watched, monkeypatch):
    monkeypatch.setattr(collaborative, "MAX_ITEMS", 10)
    tall = np.concatenate([watched] * 4)
    ease = fitted(tall, 5.0)
    counts = np.count_nonzero(tall, axis=0)
    assert len(ease.items) == 10 and counts[ease.items].min() >= np.sort(counts)[-10]
    assert not ease.score(tall)[:, np.setdiff1d(np.arange(30), ease.items)].any()
    assert ease.score(tall)[:, ease.items] == pytest.approx(naive_ease(tall[:, ease.items], 5.0), abs=1e-5)
    assert len(fitted(watched, 5.0).items) == np.count_nonzero(watched.any(axis=0)), "with few users, all are kept"


def test_the_ridge_grows_with_the_number_of_people():
    ridges = [ridge_for(users) for users in (0, 5, 50, 400, 5_000, 1_000_000)]
    assert ridges == sorted(ridges) and ridges[0] > 0


def test_a_household_with_a_large_library_needs_only_a_small_matrix(monkeypatch):
    random = np.random.default_rng(0)
    watched = (random.random((50, 20_000)) < 0.01).astype(np.float32)
    inverted = []
    inverse = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda matrix: inverted.append(matrix.shape) or inverse(matrix))
    assert np.isfinite(fitted(watched, 50.0).score(watched)).all()
    user, row = np.nonzero(watched)
    vectors = np.full((20_000, 8), 0.1, np.float32)
    described = fit_ease(user, row, watched[user, row], users=50, n=20_000, ridge=50.0, vectors=vectors, content=0.1)
    assert np.isfinite(described.score(watched)).all()
    assert inverted == [(50, 50), (58, 58)]


def test_the_weight_of_each_title_in_a_score_is_its_place_in_the_matrix(watched, monkeypatch):
    p = np.linalg.inv(watched.T @ watched + 5.0 * np.eye(30))
    b = np.eye(30) - p / np.diag(p)
    titles, liked = np.array([7, 0, 29, 3]), np.array([3, 11, 0, 28, 5])
    by_users = fitted(watched, 5.0).weights(titles, liked)
    assert by_users == pytest.approx(b[np.ix_(liked, titles)].T, abs=1e-5) and by_users[3, 0] == 0.0
    # More titles than the history has, and fewer.
    assert fitted(watched, 5.0).weights(titles, liked[:2]) == pytest.approx(by_users[:, :2], abs=1e-5)
    monkeypatch.setattr(collaborative, "MAX_DUAL_USERS", 0)
    assert fitted(watched, 5.0).weights(titles, liked) == pytest.approx(by_users, abs=1e-5)
    assert not fitted(watched[:1], 5.0).weights(titles, liked).any(), "one person says nothing about others"
