"""Taste weights and profiles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking.taste import (
    centre,
    everybody_alike,
    lifts,
    spherical_kmeans,
    taste_profile,
    taste_weights,
)

from .conftest import NOW, days_ago, history, titles_of, topic_of


def weights_of(*rows) -> dict[int, float]:
    found = taste_weights(history(*rows), as_of=NOW)
    return dict(zip(found["work_id"], found["weight"], strict=True))


def test_weights_rise_with_the_rating_and_turn_negative_below_the_middle():
    by_rating = [weights_of({"work_id": 1, "rating": r})[1] for r in (0, 2, 4, 6, 8, 10)]
    assert by_rating == sorted(by_rating)
    assert by_rating[2] < 0 < by_rating[4]


def test_an_unrated_play_is_mildly_positive():
    weights = weights_of({"work_id": 1}, {"work_id": 2, "rating": 10})
    assert 0 < weights[1] < weights[2]


def test_the_neutral_rating_is_between_the_middle_of_the_scale_and_the_users_mean():
    generous = weights_of({"work_id": 1, "rating": 6}, *({"work_id": w, "rating": 9.5} for w in range(2, 40)))
    harsh = weights_of({"work_id": 1, "rating": 5}, *({"work_id": w, "rating": 2} for w in range(2, 40)))
    assert generous[1] < 0 < harsh[1]


@pytest.mark.parametrize("own_mean", [1, 5, 9])
def test_a_users_mean_never_turns_a_9_into_a_dislike_or_a_1_into_a_like(own_mean):
    rest = [{"work_id": w, "rating": own_mean} for w in range(2, 60)]
    assert weights_of({"work_id": 1, "rating": 9}, *rest)[1] > 0
    assert weights_of({"work_id": 1, "rating": 1}, *rest)[1] < 0


def test_a_dislike_counts_in_full_however_little_was_watched():
    left, finished = weights_of({"work_id": 1, "rating": 1, "completion": 0.1}, {"work_id": 2, "rating": 1}).values()
    assert left == pytest.approx(finished)


def test_more_engagement_weighs_more():
    weights = weights_of(
        {"work_id": 1, "completion": 0.3, "plays": 0},
        {"work_id": 2},
        {"work_id": 3, "plays": 4},
        {"work_id": 4, "favorite": True},
    )
    assert weights[1] < weights[2] < weights[3]
    assert weights[2] < weights[4]


def test_a_series_weighs_by_the_share_of_its_episodes():
    tried, half, whole = weights_of(
        {"work_id": 1, "episodes_played": 1, "episodes_total": 20, "plays": 1},
        {"work_id": 2, "episodes_played": 10, "episodes_total": 20, "plays": 10},
        {"work_id": 3, "episodes_played": 20, "episodes_total": 20, "plays": 20},
    ).values()
    assert 0 < tried < half < whole


def test_a_finished_film_whose_position_was_reset_counts_as_watched():
    assert weights_of({"work_id": 1, "completion": 0.0, "plays": 1})[1] == weights_of({"work_id": 1})[1]


def test_weights_fade_with_the_time_before_the_last_activity_down_to_the_floor():
    rows = [{"work_id": w, "last_played_at": days_ago(d)} for w, d in enumerate((0, 180, 3000))]
    found = taste_weights(history(*rows), as_of=NOW)
    assert found["recency"].tolist() == pytest.approx([1.0, 0.5, 0.25])


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


def test_titles_without_a_date_get_a_positive_weight():
    found = weights_of({"work_id": 1, "last_played_at": pd.NaT}, {"work_id": 2, "last_played_at": None})
    assert all(np.isfinite(weight) and weight > 0 for weight in found.values())


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


def test_two_tastes_of_one_user_are_kept_apart(library, vectors):
    rows = [{"work_id": 100 + n} for n in range(60) if n % 3 != 2]
    weights = taste_weights(history(*rows), as_of=NOW)
    profile = taste_profile(weights, titles_of(library, centre(vectors)), max_tastes=2)
    topics = [{topic_of(work) for work in taste.work_ids} for taste in profile.tastes]
    assert sorted(map(sorted, topics)) == [["love"], ["space"]]
    assert sum(taste.share for taste in profile.tastes) == pytest.approx(1.0, abs=0.001)
    assert all(taste.centroid.shape == (vectors.shape[1],) for taste in profile.tastes)


def test_the_same_titles_in_another_order_give_the_same_profile(library, vectors):
    frame = history(*({"work_id": 100 + n, "rating": 5 + n % 5} for n in range(30)))
    shuffled = frame.sample(frac=1.0, random_state=3)
    one, other = (
        taste_profile(taste_weights(f, as_of=NOW), titles_of(library, centre(vectors))) for f in (frame, shuffled)
    )
    assert one.summary == other.summary
    assert [t.work_ids for t in one.tastes] == [t.work_ids for t in other.tastes]
    assert all(np.array_equal(a.centroid, b.centroid) for a, b in zip(one.tastes, other.tastes, strict=True))


def test_a_profile_without_a_history_says_so(library, vectors):
    profile = taste_profile(taste_weights(pd.DataFrame(), as_of=NOW), titles_of(library, centre(vectors)))
    assert (profile.liked, profile.tastes, profile.genres) == (0, (), ())
    assert "Nothing" in profile.summary


def test_lifts_name_what_sets_a_user_apart_not_what_is_frequent_anyway():
    names = [["drama"]] * 80 + [["drama", "western"]] * 20
    liked = np.array([80, 81, 82, 0, 1])
    found = lifts(names, liked, np.ones(5))
    assert [lift.name for lift in found] == ["western"]
    assert found[0].lift > 1.5 and found[0].titles == 3


def test_a_rare_keyword_seen_once_does_not_lead():
    names = [["war"] if n < 10 else ["calm"] for n in range(99)] + [["war", "zeppelin"]]
    found = lifts(names, np.array([0, 1, 2, 3, 99]), np.ones(5))
    assert found[0].name == "war"


def test_there_are_never_more_clusters_than_distinct_vectors():
    centroids, labels = spherical_kmeans(np.repeat(np.eye(2), 5, axis=0), np.ones(10), 5)
    assert len(centroids) == 2 and len(set(labels)) == 2
    assert spherical_kmeans(np.zeros((0, 4)), np.zeros(0), 3)[0].shape == (0, 4)


def test_a_profile_of_one_media_type_ignores_the_other(library, vectors):
    mixed = library.copy()
    mixed.loc[mixed.index >= 30, "media_type"] = "series"
    weights = taste_weights(history({"work_id": 100}, {"work_id": 103}, {"work_id": 130}), as_of=NOW)
    profile = taste_profile(weights, titles_of(mixed, centre(vectors)))
    assert profile.liked == 2
    assert all(work < 130 for taste in profile.tastes for work in taste.work_ids)
    alone = library.iloc[:30].reset_index(drop=True)
    assert profile.genres == taste_profile(weights, titles_of(alone, centre(vectors)[:30])).genres


def test_the_users_most_alike_share_likes_and_dislikes_whatever_the_length_of_their_histories():
    rows = [
        ("ann", 1, 1.0), ("ann", 2, -0.5), ("twin", 1, 0.1), ("twin", 2, -0.05), ("half", 1, 1.0), ("half", 3, 1.0),
        ("opposite", 1, -1.0), ("stranger", 9, 2.0),
    ]  # fmt: skip
    weights = pd.DataFrame(rows, columns=["user_id", "work_id", "weight"])
    found = everybody_alike(weights)["ann"]
    assert [user for user, _ in found] == ["twin", "half"]
    assert found[0][1] == pytest.approx(1.0) and found[1][1] == pytest.approx(0.632, abs=0.001)
    five = pd.DataFrame([(user, 1, 1.0) for user in "abcde"], columns=["user_id", "work_id", "weight"])
    assert [user for user, _ in everybody_alike(five)["c"]] == ["a", "b", "d"]
    assert [user for user, _ in everybody_alike(weights, limit=1)["ann"]] == ["twin"]
