"""The contest with other recommenders is fair: they are what their papers say, and know no more than we do."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.evaluation import world_of
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.taste.conftest import days_ago


@pytest.fixture(scope="module")
def contest() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "benchmarks")
        return load_script("benchmarks/contest.py")


@pytest.fixture
def preferences() -> np.ndarray:
    """What twelve people watched of twenty films (seeded); nobody knows the last film."""
    found = (np.random.default_rng(3).random((12, 20)) < 0.4).astype(np.float32)
    found[:, -1] = 0.0
    return found


def played(**works: list[int]) -> pd.DataFrame:
    """One film a day, the last one today; all are rated 9, or 6 where the number is negative."""
    return pd.DataFrame(
        [
            {
                "user_id": int(user.removeprefix("user")),
                "work_id": abs(work),
                "plays": 1,
                "rating": 9.0 if work > 0 else 6.0,
                "last_played_at": days_ago(len(own) - day),
            }
            for user, own in works.items()
            for day, work in enumerate(own, start=1)
        ]
    )


def world(library: pd.DataFrame, histories: pd.DataFrame):
    liked = histories["rating"].to_numpy() >= 8
    return world_of(library, library_of(library), histories, liked, lambda *_: library["work_id"].to_numpy() == 159)


def test_ease_is_the_formula_of_its_paper(contest, preferences):
    # Steck 2019: P = (X'X + ridge)^-1, B = -P / diag(P) with a diagonal of 0.
    precision = np.linalg.inv(preferences.T @ preferences + 7.0 * np.eye(20))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    ease = next(peer for peer in contest.PEERS if peer.name == "EASE")
    assert ease.score(preferences, ridge=7.0) == pytest.approx(preferences @ weights, abs=1e-5)


def test_item_knn_keeps_the_nearest_films_only(contest, preferences):
    knn = next(peer for peer in contest.PEERS if peer.name == "item-kNN")
    lengths = np.linalg.norm(preferences[:, :-1], axis=0)
    similar = preferences[:, :-1].T @ preferences[:, :-1] / np.outer(lengths, lengths)
    np.fill_diagonal(similar, 0.0)
    scores = knn.score(preferences, neighbours=50, shrink=0.0)
    assert scores[:, :-1] == pytest.approx(preferences[:, :-1] @ similar, abs=1e-5)
    similar[similar < np.sort(similar, axis=1)[:, [-1]]] = 0.0
    nearest = knn.score(preferences, neighbours=1, shrink=0.0)
    assert nearest[:, :-1] == pytest.approx(preferences[:, :-1] @ similar.T, abs=1e-5)
    assert not nearest[:, -1].any(), "of a film that nobody knows there is nothing to learn"


@pytest.mark.nightly(
    reason="It trains every recommender of the benchmark.",
    instead="taste/test_contest.py::test_ease_is_the_formula_of_its_paper",
)
def test_every_recommender_that_learns_prefers_what_like_minded_people_watched(contest):
    # Two groups of twelve films; the first person of each misses one of them.
    preferences = np.zeros((40, 24), dtype=np.float32)
    preferences[:20, :12] = preferences[20:, 12:] = 1.0
    preferences[0, 3] = preferences[20, 20] = 0.0
    for peer in contest.PEERS:
        if peer.name == "popular here":
            continue
        scores = peer.score(preferences, **peer.grid[-1])
        missed = np.where(preferences > 0, -np.inf, scores)
        assert (missed[0].argmax(), missed[20].argmax()) == (3, 20), peer.name


def test_lists_leave_out_what_was_seen_or_is_to_come_and_order_ties_by_votes(contest, library):
    library = library.assign(vote_count=np.arange(60.0, 0.0, -1.0))
    found = world(library, played(user1=[100, 101, 102, 103, 104]))
    scores = np.zeros((1, 60))
    scores[0, [0, 7, 59]] = 1.0
    assert contest.lists_by(found, [1], scores)[1][:4].tolist() == [7, 4, 5, 6]


def test_others_learn_from_what_is_known_only(contest, library):
    found = world(library, played(user1=[100, -101, 102, 103, 104], user2=[110, 111]))
    watched = contest.preferences_of(found, [2, 1], liked_only=False)
    assert [row.nonzero()[0].tolist() for row in watched] == [[10], [0, 1, 2, 3]]
    assert contest.preferences_of(found, [1], liked_only=True)[0].nonzero()[0].tolist() == [0, 2, 3]


def test_nothing_after_a_single_cut_is_known_of_anybody(contest, library):
    histories = played(user201=[100, 101, -102, 103, 104], user202=[-110, 111, 112], user7=[120, 121, 122, 123])
    past = contest.cut_at(world(library, histories), histories, days_ago(2))
    assert sorted(past.training["work_id"]) == [100, 101, 102, 110, 120, 121]
    assert past.hits == {201: {3, 4}}, "202 liked nothing before, and 7 is not judged"
    later = contest.cut_at(world(library, histories), histories, days_ago(1))
    assert later.hits == {201: {4}, 202: {12}}
