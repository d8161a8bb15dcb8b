"""Numbers that decide who is above whom, compared with results computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.popularity.ranking import PickRules, top_picks
from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.features import content_features
from aperture_dagster.taste.ranking.recommend import blend_shares, prepare
from aperture_dagster.taste.ranking.taste import centre, taste_weights
from aperture_dagster_tests.taste.conftest import NOW, days_ago, history, tf_idf

# Taste


@pytest.mark.parametrize(
    ("row", "engagement"),
    [
        ({}, 1.0),
        ({"plays": 4}, 1.5),
        ({"plays": 100}, 1.75),
        ({"plays": 2, "completion": 0.5}, 0.5 * 1.25),
        ({"plays": 100, "favorite": True}, 2.0),
        ({"plays": 0, "completion": 0.0, "favorite": True}, 1.25),
        ({"plays": 0, "completion": 0.3}, 0.3),
        ({"plays": 0, "completion": 0.25}, 0.25),
        ({"plays": 0, "completion": np.nan}, 0.0),
        ({"plays": 1, "completion": np.nan}, 1.0),
        ({"plays": 1, "completion": 0.0}, 1.0),
        ({"plays": 50, "episodes_played": 4, "episodes_total": 100}, 0.2),
        ({"plays": 50, "episodes_played": 120, "episodes_total": 100}, 1.0),
        ({"plays": 1, "completion": 0.0, "episodes_played": 0, "episodes_total": 9}, 0.0),
        ({"plays": 1, "completion": 0.4, "episodes_played": np.nan, "episodes_total": 9}, 0.4),
        ({"plays": 1, "completion": np.nan, "episodes_played": np.nan, "episodes_total": 9}, 1.0),
        ({"plays": 4, "completion": 0.4, "episodes_played": 3, "episodes_total": 0}, 0.6),
    ],
)
def test_engagement_follows_share_repeats_and_favourite(row, engagement):
    found = taste_weights(history({"work_id": 1} | row), as_of=NOW)
    assert found["engagement"].tolist() == pytest.approx([engagement])
    assert found["liking"].tolist() == pytest.approx([engagement * (0.8 if row.get("favorite") else 0.5)])


def test_opinions_are_relative_to_the_middle_between_the_scale_and_the_own_mean():
    found = taste_weights(history({"work_id": 1, "rating": 9}, {"work_id": 2, "rating": 2}, {"work_id": 3}), as_of=NOW)
    middle = (5 + (9 + 2 + 5 * 6.5) / 7) / 2
    assert found["opinion"].tolist() == pytest.approx([(9 - middle) / (10 - middle), (2 - middle) / middle, 0.5])


def test_a_weight_is_opinion_times_engagement_times_recency():
    rows = [
        {"work_id": 1, "rating": 10, "plays": 0, "completion": 0.1, "last_played_at": days_ago(0)},
        {"work_id": 2, "rating": 10, "plays": 4, "last_played_at": days_ago(180)},
        {"work_id": 3, "rating": 0, "plays": 4, "last_played_at": days_ago(360)},
        {"work_id": 4, "completion": 0.5, "last_played_at": days_ago(270)},
        {"work_id": 5, "last_played_at": None},
    ]
    found = taste_weights(history(*rows), as_of=NOW)
    assert found["opinion"].tolist() == pytest.approx([1.0, 1.0, -1.0, 0.5, 0.5])
    assert found["liking"].tolist() == pytest.approx([0.5, 1.5, -1.0, 0.25, 0.5]), "a rating counts half at least"
    recency = [1.0, 0.5, 0.25, 2**-1.5, (0.5 + 2**-1.5) / 2]
    assert found["recency"].tolist() == pytest.approx(recency), "without a date: the user's median"
    assert found["weight"].tolist() == pytest.approx(found["liking"] * recency)


def test_centring_takes_less_of_the_mean_of_few_titles():
    for vectors in (np.eye(2), np.eye(10)):
        count = len(vectors)
        left = vectors - vectors.mean(axis=0) * count**2 / (count**2 + 5)
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        assert centre(vectors * np.arange(1, count + 1)[:, None]) == pytest.approx(left, abs=1e-6)


# Features


def test_a_name_counts_by_the_logarithm_of_its_rarity():
    names = tf_idf([["a", "b"], ["a", "c"], ["b"], ["c"], [], []])
    # The share of "a", "b" and "c" is the same: each row of two has 1/√2 of each.
    assert names.affinity(np.array([1.0, 0, 0, 0, 0, 0])) == pytest.approx([1.0, 0.5, 2**-0.5, 0.0, 0.0, 0.0])
    rarer = tf_idf([["a", "b"], ["a"], ["b"], ["b"]])
    a, b = np.log(4 / 2), np.log(4 / 3)
    assert rarer.affinity(np.array([1.0, 0, 0, 0]))[1:] == pytest.approx(np.array([a, b, b]) / np.hypot(a, b))


def test_years_are_compared_within_a_window_of_four():
    features = content_features(pd.DataFrame({"year": [2000, 2004, 2012, 1849, 19_999, None]}))
    near = features.era(np.array([4.0, 0.0, -3.0, 5.0, 5.0, 5.0]), 4.0)
    known = [2.0, 2 * np.exp(-0.25), 2 * np.exp(-0.25 * 9)]
    assert near == pytest.approx([*known, *[np.mean(known)] * 3])
    later = features.era(np.array([0.0, 9.0, 0.0, 0.0, 0.0, 0.0]), 4.0)[:3]
    assert later == pytest.approx([3 * np.exp(-0.25), 3.0, 3 * np.exp(-1.0)])
    edges = content_features(pd.DataFrame({"year": [1850, 2200]}))
    assert edges.years.tolist() == [1850, 2200]


def test_only_the_first_five_of_a_cast_count_beside_directors_and_creators():
    cast = ["a", "b", "c", "d", "e", "f"]
    items = pd.DataFrame(
        {
            "cast": [cast, ["e"], ["f"], None, None, ["z"]],
            "directors": [["d1"], None, None, ["d1"], None, None],
            "creators": [["c1"], None, None, None, ["c1"], None],
        }
    )
    fields = content_features(items).fields
    liked = np.array([1.0, 0, 0, 0, 0, 0])
    assert (fields["people"].affinity(liked) > 0).tolist() == [True, True, False, True, True, False]


def test_the_shares_of_the_components():
    config = RankingConfig(fade=0.8)
    crowd = 90 / (90 + 90) * 40 / 68
    found = blend_shares(config, 40, 91, has_lists=True)
    linked = 40 / 70
    general = (1 - 0.8 * crowd) * (1 - 0.7 * linked)
    assert found == pytest.approx(
        {"similarity": linked, "era": general * 40 / 60, "co_watch": config.weights.co_watch * crowd,
         "recommended_from": config.weights.recommended_from * linked, "rating": 0.4 * general * 40 / 43,
         "votes": 0.45 * general, "trend": 0.3 * general * 40 / 43}
    )  # fmt: skip
    assert blend_shares(config, 40, 0)["co_watch"] == blend_shares(config, 40, 1)["co_watch"] == 0.0
    nothing = blend_shares(config, 0, 91)
    assert {name for name, share in nothing.items() if share} == {"votes"}, "of somebody unknown, only votes count"
    curve = [blend_shares(config, known, 200)["similarity"] for known in (0, 1, 5, 10, 15, 20, 40)]
    assert curve == sorted(curve) and max(np.diff(curve[:5])) < 0.12, "no step between few titles and many"


def test_a_list_is_cold_below_three_known_titles():
    items = pd.DataFrame({"work_id": range(1, 9)})
    watched = pd.concat(
        [history(*({"user_id": f"of {n}", "work_id": work} for work in range(1, n + 1))) for n in (2, 3)]
    )
    model = prepare(RankingInputs(items=items, histories=watched, as_of=NOW))
    assert model.for_user("of 2")["cold"].all() and not model.for_user("of 3")["cold"].any()


def test_the_score_of_a_top_pick():
    titles = pd.DataFrame({"work_id": [1, 2, 3], "title": list("abc"), "episodes_total": [np.nan, 4, np.nan]})
    titles = titles.assign(vote_average=np.nan, vote_count=np.nan)
    plays = pd.DataFrame(
        [
            {"user_id": "a", "work_id": 1, "played_at": days_ago(0), "completion": 1.0},
            {"user_id": "b", "work_id": 1, "played_at": days_ago(15), "completion": 0.4},
            {"user_id": "a", "work_id": 2, "played_at": days_ago(0), "episode_id": 5, "plays": 3},
            {"user_id": "a", "work_id": 2, "played_at": days_ago(0), "episode_id": 6},
            {"user_id": "b", "work_id": 3, "played_at": days_ago(30), "completion": 1.0},
            {"user_id": "b", "work_id": 3, "played_at": days_ago(29.99), "completion": 0.8},
        ]
    )
    found = top_picks(plays, titles, PickRules(min_viewers=1), as_of=NOW).set_index("work_id")
    seen = {1: [1.0, 0.4], 2: [0.5], 3: [0.8]}
    usual = (1.0 + 0.4 + 0.5 + 0.8) / 4
    old = 2 ** (-29.99 / 15)
    usual_plays = (1 + 0.5 + 4 + old) / 4
    recent = {1: 2 * (1.5 + usual_plays) / 3, 2: (4 + usual_plays) / 2, 3: (old + usual_plays) / 2}
    for work, viewers, plays_counted in ((1, 2, 2), (2, 1, 4), (3, 1, 1)):
        completion = (sum(seen[work]) + usual) / (len(seen[work]) + 1)
        score = 0.5 * viewers / 2 + 0.3 * np.log1p(recent[work]) / np.log1p(max(recent.values())) + 0.2 * completion
        assert found.loc[work, ["viewers", "plays"]].tolist() == [viewers, plays_counted]
        assert found.loc[work, ["completion", "score"]].tolist() == pytest.approx([completion, score]), work
