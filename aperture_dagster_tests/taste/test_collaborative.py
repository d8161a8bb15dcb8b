"""EASE."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.taste.ranking.crowd import Ease, fit_ease, ridge_for


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
