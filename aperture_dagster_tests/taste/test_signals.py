"""What recommendations and discovery have in common, compared with results computed by hand, and diversification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking import signals
from aperture_dagster.taste.ranking.config import TasteMix
from aperture_dagster.taste.ranking.crowd import Crowd, ridge_for
from aperture_dagster.taste.ranking.features import signed_root
from aperture_dagster.taste.ranking.library import UserTitles, library_of
from aperture_dagster.taste.ranking.signals import (
    empty_list,
    history_similarity,
    in_library,
    learn_people,
    mmr,
    ranked_list,
    select,
    similar_parts,
    similarities,
    standardise,
    titles_by_user,
    weight_matrix,
)
from aperture_dagster.taste.ranking.taste import centre
from aperture_dagster_tests.taste.conftest import NOW, history

INDEX = {work: work - 1 for work in range(1, 7)}
ROWS = np.arange(6)
"""Of works 1 to 6."""


@pytest.mark.filterwarnings("error")
def test_a_standardised_component_has_mean_zero_and_deviation_one():
    assert standardise(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standardise(np.array([4.0, 4.0, 4.0])).tolist() == [0.0] * 3
    assert standardise(np.zeros(0)).shape == (0,)
    some = standardise(np.array([1.0, 90.0, 3.0]), np.array([True, False, True]))
    assert some.tolist() == [-1.0, 0.0, 1.0]
    unknown = standardise(np.array([np.nan, np.inf, -np.inf, 3.0, -3.0]))
    assert unknown[:3].tolist() == [0.0] * 3, "what is unknown is in the middle"


def test_titles_of_a_user_are_sorted_by_the_size_of_their_weight_then_by_work():
    rows = [
        ("b", 3, 0.2),
        ("a", 2, -0.5),
        ("a", 1, 0.5),
        ("a", 4, 0.9),
        ("a", 99, 5.0),
        ("a", 5, 0.0),
        ("a", 6, np.nan),
    ]
    found = titles_by_user(in_library(pd.DataFrame(rows, columns=["user_id", "work_id", "weight"]), INDEX))
    assert list(found) == ["a", "b"]
    assert found["a"].rows.tolist() == [3, 0, 1] and found["a"].weights.tolist() == [0.9, 0.5, -0.5]
    matrix = weight_matrix(found, ["b", "nobody", "a"], 6)
    assert matrix[:, 0].tolist() == pytest.approx([0, 0, 0.2, 0, 0, 0]) and not matrix[:, 1].any()
    assert matrix[:, 2].tolist() == pytest.approx([0.5, -0.5, 0, 0.9, 0, 0])


def people(histories: pd.DataFrame, *, crowd: Crowd | None = None, users=None):
    library = library_of(pd.DataFrame({"work_id": range(1, 7)}))
    return learn_people(histories, library, as_of=NOW, users=users, crowd=crowd)


def test_people_are_those_of_whom_something_is_known_and_co_watch_learns_from_who_liked_something():
    found = people(
        history(
            {"work_id": 1},
            {"user_id": "bob", "work_id": 1},
            {"user_id": "bob", "work_id": 2, "rating": 1},
            {"user_id": "cem", "work_id": 3, "rating": 1},
            {"user_id": "dan", "work_id": 99},
            {"user_id": "eve", "work_id": 4, "plays": 0, "completion": 0.0},
        ),
        users=["bob", "new", "bob"],
    )
    assert found.co_watchers("bob", ROWS) == 2
    assert found.users == ["bob", "new"] and found.column == {"bob": 0, "new": 1}
    assert set(found.titles) == {"ann", "bob", "cem"}


def test_co_watch_is_ease_on_likings_with_a_ridge_on_their_scale():
    histories = history(
        {"work_id": 1}, {"work_id": 2, "rating": 10}, {"user_id": "bob", "work_id": 1, "rating": 10},
        {"user_id": "bob", "work_id": 3}, {"user_id": "bob", "work_id": 4, "rating": 1},
    )  # fmt: skip
    found = people(histories)
    # Unrated .5; a single best rating 1.
    x = np.array([[0.5, 1.0, 0.0], [1.0, 0.0, 0.5]])
    ridge = ridge_for(2, np.array([0.5, 1, 1, 0.5]))
    p = np.linalg.inv(x.T @ x + ridge * np.eye(3))
    expected = x @ (np.eye(3) - p / np.diag(p))
    assert found.co_watch[:, :3] == pytest.approx(expected, abs=1e-5)
    assert not found.co_watch[:, 3:].any(), "a dislike is no reason that others would like it"


def test_a_crowd_is_added_to_what_the_household_watched_together():
    own = history({"work_id": 1}, {"work_id": 2}, {"user_id": "bob", "work_id": 1}, {"user_id": "bob", "work_id": 3})
    crowd = Crowd(
        np.array([1, 1, 2, 9]), np.array([3, 4, 4, 1]), np.array([0.25, 0.5, 1.0, 9.0], np.float32), people=70
    )
    alone, found = people(own), people(own, crowd=crowd)
    assert [one.co_watchers("ann", ROWS) for one in (alone, found)] == [2, 72]
    assert found.known.tolist() == [True] * 4 + [False] * 2 == [*alone.known[:3], True, False, False]
    # Each play counts .5; works 1 to 6 are rows 0 to 5, and 9 is not in the library.
    added = [[0, 0, 0.125, 0.25 + 0.5, 0, 0], [0, 0, 0.125, 0.25, 0, 0]]
    assert found.co_watch - alone.co_watch == pytest.approx(np.array(added), abs=1e-6)


def test_a_crowd_counts_by_the_square_of_what_it_knows_of_the_liked_titles():
    own = history(*({"work_id": work} for work in (1, 2, 5, 6)), {"work_id": 3, "rating": 1})
    crowd = Crowd(np.array([1]), np.array([3]), np.array([0.25], np.float32), people=80)
    found = people(own, crowd=crowd)
    assert found.co_watchers("ann", ROWS) == 1 + 80 / 16
    assert found.co_watchers("ann", ROWS[:2]) == 1 + 80 / 4
    assert found.co_watchers("ann", ROWS[3:]) == 1, "of these titles it knows none"
    assert found.co_watchers("ann", ROWS[2:4]) == 1, "none of these is liked"


def test_an_empty_list_has_the_types_of_a_full_one():
    names = ("rank", "work_id", "media_type", "score", "because", "user_ids", "cold")
    types = ["int64", "int64", pd.Series(["x"]).dtype, "float64", "object", "object", "bool"]
    assert empty_list(names).dtypes.tolist() == types


VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-0.6, 0.8], [0.6, -0.8], [0.0, -1.0]])


def six_titles() -> pd.DataFrame:
    types = ["movie", "series", "movie", "movie", "series", "movie"]
    return pd.DataFrame({"work_id": range(1, 7), "media_type": types})


def test_the_similarity_to_a_history_is_the_weighted_sum_of_cubes_whatever_the_size_of_a_block(vectors, monkeypatch):
    """Of titles of a history that are candidates, those that are none, and candidates that nobody watched."""
    unit, random = centre(vectors), np.random.default_rng(4)
    liked, some = random.permutation(len(unit))[:13], random.permutation(len(unit))[:17]
    weights = np.where(random.random((13, 4)) < 0.4, random.normal(size=(13, 4)), 0.0)
    assert 0 < len(np.intersect1d(liked, some)) < 13
    naive = ((unit @ unit[liked].T).astype(np.float64) ** 3) @ weights
    for block in (1, 3, 7, 512):
        monkeypatch.setattr(signals, "BLOCK", block)
        assert history_similarity(unit, liked, weights, candidates=some) == pytest.approx(naive[some], abs=1e-5), block
    assert history_similarity(unit, liked, weights[:, 0]) == pytest.approx(naive[:, 0], abs=1e-5)
    assert not history_similarity(unit, liked[:0], np.zeros(0)).any()


def test_similarities_sum_cubes_with_half_the_weight_for_the_other_type(monkeypatch):
    library = library_of(six_titles(), VECTORS)
    titles = {
        "ann": UserTitles(np.array([1, 0, 3]), np.array([1.0, -0.9, 0.1])),
        "bob": UserTitles(np.array([4]), np.ones(1)),
    }
    monkeypatch.setattr(signals, "HISTORY_LIMIT", 2)
    both = replace(people(history({"work_id": 1})), titles=titles, users=["bob", "ann"])
    found = similarities(library, both)
    cubes = (library.centred @ library.centred.T).astype(np.float64) ** 3
    films, series = [0, 2, 3, 5], [1, 4]
    assert found["movie"][:, 1] == pytest.approx(0.5 * cubes[films, 1] - 0.9 * cubes[films, 0], abs=1e-5)
    assert found["series"][:, 1] == pytest.approx(1.0 * cubes[series, 1] - 0.45 * cubes[series, 0], abs=1e-5)
    assert found["movie"][:, 0] == pytest.approx(0.5 * cubes[films, 4], abs=1e-5)
    some = similarities(library, replace(both, users=["ann"]), {"movie": np.array([5, 2])})
    assert list(some) == ["movie"] and some["movie"][:, 0] == pytest.approx(found["movie"][[3, 1], 1], abs=1e-5)


def test_each_way_to_be_alike_is_standardised_and_has_its_weight():
    items = six_titles().assign(
        year=[1990, 1994, 2000, 1991, 2010, 2020],
        directors=[["x"], ["y"], ["x"], ["y"], ["x"], ["z"]],
        genres=[["a"], ["b"], ["a", "b"], ["b"], ["a"], ["c"]],
    )
    library = library_of(items, VECTORS)
    titles = UserTitles(np.array([0, 1]), np.array([1.0, 0.4]))
    candidates, described = np.array([2, 3, 5]), np.array([0.4, -0.1, 0.2])
    mix = TasteMix(description=0.5, people=0.4, genres=0.1, era=0.6)
    dense = np.array([1.0, 0.5 * 0.4, 0, 0, 0, 0])
    fields = library.features.fields
    expected = {"era": 0.6 * standardise(library.features.era(dense, 4.0)[candidates])}
    for name, weight in (("people", 0.4), ("genres", 0.1)):
        expected[name] = weight * standardise(signed_root(fields[name].affinity(dense)[candidates]))
    for parts in (described, None):
        found = similar_parts(library, titles, parts, candidates, "movie", mix)
        if parts is not None:
            assert found.pop("description") == pytest.approx(0.5 * standardise(signed_root(described)))
        assert set(found) == set(expected)
        for name, values in expected.items():
            assert found[name] == pytest.approx(values), name


def test_the_best_are_selected_with_the_parts_of_their_scores():
    library = library_of(pd.DataFrame({"work_id": [14, 13, 12, 11, 10]}))
    score = np.array([0.1, 0.9, 0.5, 0.9, 0.3])
    picked = select(library, np.arange(5), score, limit=3, diversity=0.1)
    assert picked.tolist() == [3, 1, 2], "equal scores go to the lower work_id"
    frame = ranked_list(library, picked, "movie", score[picked], {"part": 2 * score[picked]})
    assert frame["work_id"].tolist() == [11, 13, 12] and frame["rank"].tolist() == [1, 2, 3]
    assert frame["score"].tolist() == [0.9, 0.9, 0.5] and frame["media_type"].unique().tolist() == ["movie"]
    assert frame["part"].tolist() == [1.8, 1.8, 1.0]


def test_among_equal_scores_at_the_end_of_the_shortlist_the_lower_work_ids_are_selected(monkeypatch):
    works = np.array([9, 3, 7, 1, 5, 8])
    library = library_of(pd.DataFrame({"work_id": works}))
    score = np.array([0.5, 0.5, 0.9, 0.5, 0.5, 0.1])
    for shortlist, expected in ((3, [7, 1, 3]), (4, [7, 1, 3, 5]), (9, [7, 1, 3, 5, 9, 8])):
        monkeypatch.setattr(signals, "SHORTLIST", shortlist)
        picked = select(library, np.arange(6), score, limit=shortlist, diversity=0.0)
        assert works[picked].tolist() == expected
    monkeypatch.setattr(signals, "SHORTLIST", 1)
    assert works[select(library, np.arange(6), score, limit=2, diversity=0.0)].tolist() == [7, 1], "as long as asked"


def test_a_title_like_the_first_pick_is_not_taken_right_after_a_different_one():
    """Every pick counts, not only the last one: two directions must not simply alternate."""
    directions = np.eye(4)[[0, 0, 1, 2, 3]]
    relevance = np.array([1.0, 0.99, 0.98, 0.7, 0.6])
    # The second of direction 0 is the most relevant one left, but worse than any new direction.
    assert mmr(relevance, directions, 5, diversity=0.6).tolist() == [0, 2, 3, 4, 1]


def test_relevance_counts_between_the_lowest_and_the_highest_whatever_its_scale():
    directions = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, -0.6], [0.0, -1.0]])
    relevance = np.array([1.0, 0.9, 0.35, 0.0])
    # After the first, .5 · .9 - .5 · .6 = .15 is less than .175: an opposite of what was selected gets no bonus.
    assert mmr(relevance, directions, 4, diversity=0.5).tolist() == [0, 2, 1, 3]
    assert mmr(relevance, directions, 4, diversity=0.3).tolist() == [0, 1, 2, 3]
    for scale, offset in ((0.01, 0.0), (1.0, 100.0), (50.0, -7.0)):
        assert mmr(relevance * scale + offset, directions, 4, diversity=0.5).tolist() == [0, 2, 1, 3]


def test_every_title_appears_once_and_the_list_is_as_long_as_possible(vectors):
    chosen = mmr(np.ones(60), centre(vectors), 100, diversity=0.3)
    assert sorted(chosen) == list(range(60))
    assert mmr(np.zeros(0), np.zeros((0, 4)), 5, diversity=0.1).tolist() == []
    assert mmr(np.ones(3), np.zeros((3, 4)), 0, diversity=0.1).tolist() == []
