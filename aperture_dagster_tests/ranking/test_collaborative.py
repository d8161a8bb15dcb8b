"""What others watched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking import collaborative
from aperture_dagster.ranking.collaborative import fit_ease, recommended_from, ridge_for


def naive_ease(x: np.ndarray, lam: float) -> np.ndarray:
    """The closed form of the paper, as it is written there."""
    p = np.linalg.inv(x.T @ x + lam * np.eye(x.shape[1]))
    b = np.eye(x.shape[1]) - p / np.diag(p)
    np.fill_diagonal(b, 0.0)
    return x @ b


@pytest.fixture
def watched() -> np.ndarray:
    random = np.random.default_rng(1)
    return (random.random((12, 30)) < 0.3) * random.choice([0.3, 0.5, 1.0], (12, 30))


def test_ease_from_the_users_side_is_the_naive_formula(watched):
    ease = fit_ease(watched, 5.0)
    assert ease.kernel is not None
    expected = np.where(watched.any(axis=0), naive_ease(watched, 5.0), 0.0)
    assert ease.score(watched) == pytest.approx(expected, abs=1e-5)


def test_ease_from_the_items_side_is_the_naive_formula(watched, monkeypatch):
    monkeypatch.setattr(collaborative, "BLOCK_USERS", 7)
    tall = np.concatenate([watched, watched[::-1], watched[:, ::-1]])
    ease = fit_ease(tall, 5.0)
    assert ease.gram_inverse is not None
    assert ease.score(tall) == pytest.approx(naive_ease(tall, 5.0), abs=1e-5)


def test_both_sides_agree(watched, monkeypatch):
    by_users = fit_ease(watched, 3.0).score(watched)
    monkeypatch.setattr(collaborative, "MAX_DUAL_USERS", 0)
    assert fit_ease(watched, 3.0).score(watched) == pytest.approx(by_users, abs=1e-5)


def test_titles_that_go_together_recommend_each_other():
    watched = np.zeros((6, 4))
    watched[:3, [0, 1]] = watched[3:, [2, 3]] = 1.0
    watched[0, 1] = 0.0
    scores = fit_ease(watched, 1.0).score(watched)
    assert scores[0, 1] > max(scores[0, 2], scores[0, 3])


def test_two_users_are_enough_and_one_is_nobody_to_learn_from():
    pair = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert fit_ease(pair, 1.0).score(pair)[1, 1] > 0
    assert not fit_ease(pair[:1], 1.0).score(pair).any()
    assert not fit_ease(np.zeros((5, 3)), 1.0).score(pair).any()


def test_the_item_side_keeps_the_most_watched_titles_only(watched):
    tall = np.concatenate([watched] * 4)
    ease = fit_ease(tall, 5.0, max_items=10)
    counts = np.count_nonzero(tall, axis=0)
    assert len(ease.items) == 10 and counts[ease.items].min() >= np.sort(counts)[-10]
    assert not ease.score(tall)[:, np.setdiff1d(np.arange(30), ease.items)].any()


def test_nonsense_is_refused(watched):
    with pytest.raises(ValueError, match="ridge"):
        fit_ease(watched, 0.0)
    with pytest.raises(ValueError, match="matrix"):
        fit_ease(watched[0], 1.0)


def test_the_ridge_grows_with_the_number_of_people():
    ridges = [ridge_for(users) for users in (0, 5, 50, 400, 5_000, 1_000_000)]
    assert ridges == sorted(ridges) and ridges[0] > 0


def test_fifty_people_over_a_large_library_take_no_large_matrix():
    random = np.random.default_rng(0)
    watched = (random.random((50, 20_000)) < 0.01).astype(np.float32)
    ease = fit_ease(watched, 50.0)
    assert ease.gram_inverse is None and ease.rows is not None and ease.rows.shape[0] == 50
    assert np.isfinite(ease.score(watched)).all()


EDGES = pd.DataFrame({"work_id": [1, 1, 3], "recommended_work_id": [2, 3, 4], "rank": [1, 10, 1]})
INDEX = {1: 0, 2: 1, 3: 2, 4: 3}


def test_lists_of_recommended_titles_carry_over_what_was_liked_in_both_directions():
    scores = recommended_from(EDGES, INDEX, np.array([1.0, 0.0, 0.0, 0.0]))
    assert scores[1] > scores[2] > 0 and scores[3] == 0
    assert recommended_from(EDGES, INDEX, np.array([0.0, 1.0, 0.0, 0.0]))[0] > 0


def test_a_disliked_title_counts_against_what_is_recommended_from_it():
    assert recommended_from(EDGES, INDEX, np.array([-1.0, 0.0, 0.0, 0.0]))[1] < 0


def test_edges_to_titles_outside_the_library_or_to_themselves_are_left_out():
    odd = pd.DataFrame({"work_id": [1, 1, 9], "recommended_work_id": [1, 9, 2], "rank": [1, np.nan, 2]})
    assert not recommended_from(odd, INDEX, np.ones(4)).any()
    assert not recommended_from(odd.head(0), INDEX, np.ones(4)).any()
    assert not recommended_from(pd.DataFrame(), INDEX, np.ones((4, 2))).any()
