"""Taste weights, and vectors made comparable; see ``test_formulas.py``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.taste import centre, taste_weights
from aperture_dagster_tests.taste.conftest import NOW, days_ago, history


def weights_of(*rows) -> dict[int, float]:
    found = taste_weights(history(*rows), as_of=NOW)
    return dict(zip(found["work_id"], found["weight"], strict=True))


def test_a_dislike_counts_in_full_however_little_was_watched():
    left, finished = weights_of({"work_id": 1, "rating": 1, "completion": 0.1}, {"work_id": 2, "rating": 1}).values()
    assert left == pytest.approx(finished)


def test_a_wish_for_more_like_a_title_counts_between_a_play_and_a_favourite_and_does_not_age():
    unplayed = {"plays": 0, "completion": 0.0, "last_played_at": None}
    found = weights_of(
        {"work_id": 1},
        {"work_id": 2, **unplayed, "wants_more": True},
        {"work_id": 3, **unplayed, "favorite": True},
        {"work_id": 4, "last_played_at": days_ago(900), "wants_more": True},
        {"work_id": 5, "rating": 2, "wants_more": True},
        {"work_id": 6, "rating": 10, "wants_more": True},
        {"work_id": 7, **unplayed, "wants_more": None},
    )
    assert found[2] == found[4] == found[5] == pytest.approx(0.6) and found[7] == 0
    assert found[1] < found[2] < found[3] and found[6] == pytest.approx(1.0), "a higher rating counts as before"


def test_a_film_left_early_is_a_weak_dislike_that_fades_with_what_the_user_does_later():
    left = {"work_id": 1, "completion": 0.1}
    assert weights_of(left)[1] == pytest.approx(-0.2), "a rating of 1 weighs about -0.8"
    for days, weight in ((30, -0.1), (60, -0.05), (300, -0.0002)):
        found = weights_of(left | {"last_played_at": days_ago(days)}, {"work_id": 2})
        assert found[1] == pytest.approx(weight, rel=0.03) and found[2] > 0
    alone = weights_of(left | {"last_played_at": days_ago(300)})
    assert alone[1] == pytest.approx(-0.2), "nothing was watched since"


@pytest.mark.parametrize(
    "row",
    [{"completion": 0.25}, {"completion": 0.0}, {"plays": 2}, {"favorite": True}, {"rating": 8},
     {"completion": np.nan, "episodes_played": 1, "episodes_total": 100}],
)  # fmt: skip
def test_what_was_not_just_tried_once_is_no_dislike(row):
    assert weights_of({"work_id": 1, "completion": 0.1} | row)[1] > 0


def test_recency_counts_from_each_users_own_last_activity():
    bob = [{"user_id": "bob", "work_id": w, "last_played_at": days_ago(d)} for w, d in ((1, 900), (2, 1080))]
    ann = {"user_id": "ann", "work_id": 1, "last_played_at": days_ago(0)}
    found = taste_weights(history(ann, *bob), as_of=NOW)
    assert found.loc[found["user_id"] == "bob", "recency"].tolist() == pytest.approx([1.0, 0.5])


def test_an_empty_history_gives_an_empty_frame_with_all_columns():
    for empty in (pd.DataFrame(), history({"work_id": 1}).head(0)):
        found = taste_weights(empty, as_of=NOW)
        assert found.empty and {"user_id", "work_id", "weight"} <= set(found.columns)


def test_missing_vectors_stay_zero_and_do_not_move_the_mean(vectors):
    mask = np.ones(len(vectors), dtype=bool)
    mask[:5] = False
    broken = vectors.copy()
    broken[:4], broken[4], broken[5] = np.nan, 1e9, 0.0
    mask[5] = True
    centred = centre(broken, mask)
    assert not centred[:6].any()
    assert centred[6:] == pytest.approx(centre(vectors[6:]), abs=1e-5)


def test_vectors_of_a_wrong_shape_raise_an_error(vectors):
    with pytest.raises(ValueError, match="matrix"):
        centre(vectors[0])
    with pytest.raises(ValueError, match="mask"):
        centre(vectors, np.ones(3, dtype=bool))
