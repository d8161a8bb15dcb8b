"""Numbers that decide who is above whom, compared with results computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.features import content_features
from aperture_dagster.taste.ranking.library import bayesian_average, log_votes, media_rows, priors
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


def test_averages_with_unknown_votes():
    # Known counts 4 and 6: the median is below 10, so ten votes of the mean are mixed in; an unknown count is one vote.
    found = bayesian_average([8.0, 6.0, 9.0, np.nan, 0.0, 11.0], [4, 6, np.nan, 50, 7, 0])
    mean = (4 * 8 + 6 * 6 + 9) / 11
    assert found == pytest.approx([(32 + 10 * mean) / 14, (36 + 10 * mean) / 16, (9 + 10 * mean) / 11, *[mean] * 3])
    assert bayesian_average([np.nan], [3]).tolist() == [6.5]
    few = bayesian_average([8.0, 6.0], [1, 3])
    assert few == pytest.approx([(8 + 65) / 11, (18 + 65) / 13]), "one vote is known"
    without = bayesian_average([8.0, 6.0, 7.0, 5.0], [0, 0, 40, 60])
    assert without[2] == pytest.approx((40 * 7 + 50 * 5.8) / 90), "titles without votes do not lower the median"
    assert bayesian_average([12.0], [90]).tolist() == [10.0]


def test_series_are_compared_with_series():
    items = pd.DataFrame(
        {
            "work_id": range(4),
            "media_type": ["movie", "movie", "series", "series"],
            "vote_average": [7.0, 7.0, 9.0, np.nan],
            "vote_count": [9000, 8000, 90, np.nan],
        }
    )
    known = priors(items)
    assert known.rating[3] == pytest.approx(9.0)  # the prior of series, not of films
    assert {name: rows.tolist() for name, rows in media_rows(items).items()} == {"movie": [0, 1], "series": [2, 3]}
    many = pd.DataFrame({"media_type": list("hgfedcba")})
    assert list(media_rows(many)) == list("abcdefgh"), "in the same order in every process"
    assert media_rows(items.drop(columns="media_type"))["movie"].tolist() == [0, 1, 2, 3]


def test_votes_that_are_unknown_are_few():
    votes = [np.e**n - 1 for n in range(5)]
    assert log_votes([*votes, np.nan]) == pytest.approx([0, 1, 2, 3, 4, 1])
    assert log_votes([np.nan] * 2).tolist() == [0.0] * 2
    assert log_votes([-5.0, 0.0]).tolist() == [0.0, 0.0]
