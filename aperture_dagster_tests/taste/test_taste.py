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


@pytest.mark.parametrize("own_mean", [1, 5, 9])
def test_a_users_mean_never_turns_a_9_into_a_dislike_or_a_1_into_a_like(own_mean):
    rest = [{"work_id": w, "rating": own_mean} for w in range(2, 60)]
    assert weights_of({"work_id": 1, "rating": 9}, *rest)[1] > 0
    assert weights_of({"work_id": 1, "rating": 1}, *rest)[1] < 0


def test_a_dislike_counts_in_full_however_little_was_watched():
    left, finished = weights_of({"work_id": 1, "rating": 1, "completion": 0.1}, {"work_id": 2, "rating": 1}).values()
    assert left == pytest.approx(finished)


def test_a_finished_film_whose_position_was_reset_counts_as_watched():
    assert weights_of({"work_id": 1, "completion": 0.0, "plays": 1})[1] == weights_of({"work_id": 1})[1]


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


def test_a_pause_of_a_year_does_not_change_weights():
    rows = [{"work_id": w, "last_played_at": days_ago(d)} for w, d in enumerate((0, 90, 400))]
    later = [row | {"last_played_at": row["last_played_at"] - pd.Timedelta(days=365)} for row in rows]
    assert weights_of(*rows) == pytest.approx(weights_of(*later))


def test_recency_counts_from_each_users_own_last_activity():
    bob = [{"user_id": "bob", "work_id": w, "last_played_at": days_ago(d)} for w, d in ((1, 900), (2, 1080))]
    ann = {"user_id": "ann", "work_id": 1, "last_played_at": days_ago(0)}
    found = taste_weights(history(ann, *bob), as_of=NOW)
    assert found.loc[found["user_id"] == "bob", "recency"].tolist() == pytest.approx([1.0, 0.5])


def test_a_date_in_the_future_does_not_change_other_weights():
    rows = [{"work_id": w, "last_played_at": days_ago(30 * w)} for w in range(5)]
    wrong = {"work_id": 9, "last_played_at": NOW + pd.Timedelta(days=4000)}
    before, after = weights_of(*rows), weights_of(*rows, wrong)
    assert {work: after[work] for work in before} == pytest.approx(before)
    assert min(before.values()) <= after[9] <= max(before.values())


def test_two_copies_of_a_film_get_one_weight():
    found = taste_weights(history({"work_id": 1, "rating": 8}, {"work_id": 1, "plays": 2}), as_of=NOW)
    assert len(found) == 1 and found["opinion"].iloc[0] > 0.3


def test_nan_in_every_column_gives_finite_weights():
    frame = pd.DataFrame({"user_id": ["a", "a", None], "work_id": [1, 2, 3]})
    for column in ("plays", "completion", "favorite", "rating", "last_played_at", "episodes_played", "episodes_total"):
        frame[column] = np.nan
    found = taste_weights(frame, as_of=NOW)
    assert len(found) == 2 and np.isfinite(found[["weight", "recency", "engagement"]].to_numpy()).all()


def test_an_empty_history_gives_an_empty_frame_with_all_columns():
    for empty in (pd.DataFrame(), history({"work_id": 1}).head(0)):
        found = taste_weights(empty, as_of=NOW)
        assert found.empty and {"user_id", "work_id", "weight"} <= set(found.columns)


def test_a_history_without_work_ids_raises_an_error_that_names_the_column():
    with pytest.raises(ValueError, match="work_id"):
        taste_weights(pd.DataFrame({"user_id": ["a"]}), as_of=NOW)


def test_centring_removes_the_direction_that_all_titles_share(vectors):
    centred = centre(vectors)
    assert np.linalg.norm(centred, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(centred.mean(axis=0)) < 0.1
    assert centred[0] @ centred[1] < 0 < centred[0] @ centred[3]


def test_missing_vectors_stay_zero_and_do_not_move_the_mean(vectors):
    mask = np.ones(len(vectors), dtype=bool)
    mask[:5] = False
    broken = vectors.copy()
    broken[:4], broken[4], broken[5] = np.nan, 1e9, 0.0
    mask[5] = True
    centred = centre(broken, mask)
    assert not centred[:6].any()
    assert centred[6:] == pytest.approx(centre(vectors[6:]), abs=1e-5)


def test_centring_a_library_of_one_title_keeps_its_vector():
    assert np.linalg.norm(centre(np.ones((1, 4)))[0]) == pytest.approx(1.0)


def test_vectors_of_a_wrong_shape_raise_an_error(vectors):
    with pytest.raises(ValueError, match="matrix"):
        centre(vectors[0])
    with pytest.raises(ValueError, match="mask"):
        centre(vectors, np.ones(3, dtype=bool))
