"""Priors, also when votes are missing, and Top Picks of the household."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.popularity.ranking import TOP_PICKS_COLUMNS, PickRules, bayesian_average, top_picks
from aperture_dagster.taste.ranking.library import media_rows, priors
from aperture_dagster_tests.taste.conftest import NOW, days_ago


def test_an_average_of_few_votes_is_shrunk_towards_the_library():
    shrunk = bayesian_average([9.5, 8.5, 7.0], [3, 20_000, 5_000])
    assert shrunk[1] > shrunk[0]
    assert shrunk[1] == pytest.approx(8.5, abs=0.6)


def test_the_shrunk_average_equals_the_weighted_rating_formula():
    # The median of votes is 200, the mean weighted by votes 7.0.
    assert bayesian_average([8.0, 5.0, 7.0], [200, 100, 300])[0] == pytest.approx((200 * 8 + 200 * 7) / 400)


def test_titles_without_votes_get_the_prior_and_never_nan():
    shrunk = bayesian_average([np.nan, 0.0, 8.0, 8.0, 6.0], [np.nan, 0, np.nan, 1000, 1000])
    assert shrunk[0] == shrunk[1]
    assert 6.0 < shrunk[0] < shrunk[2] < shrunk[3] < 8.0
    assert np.isfinite(bayesian_average([np.nan] * 3, [np.nan] * 3)).all()
    assert bayesian_average([], []).shape == (0,)


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


TITLES = pd.DataFrame(
    {
        "work_id": range(1, 9),
        "media_type": ["movie"] * 6 + ["series"] * 2,
        "title": list("HGFEDCBA"),
        "vote_average": [7.0] * 8,
        "vote_count": [100.0] * 8,
        "episodes_total": [np.nan] * 6 + [10.0, 10.0],
    }
)


def log(*plays: tuple) -> pd.DataFrame:
    """Plays as (user, work, days ago, further columns)."""
    rows = [
        {
            "user_id": user,
            "work_id": work,
            "played_at": days_ago(days),
            "completion": 1.0,
            "plays": 1,
            "episode_id": None,
        }
        | dict(*more)
        for user, work, days, *more in plays
    ]
    return pd.DataFrame(rows)


def picks(plays: pd.DataFrame, titles: pd.DataFrame = TITLES, **rules) -> pd.DataFrame:
    return top_picks(plays, titles, PickRules(**rules), as_of=NOW)


def test_more_viewers_rank_higher():
    found = picks(log(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("a", 2, 1), ("b", 2, 1)))
    assert found["work_id"].tolist() == [1, 2] and found["viewers"].tolist() == [3, 2]
    assert list(found.columns) == list(TOP_PICKS_COLUMNS) and found["rank"].tolist() == [1, 2]
    assert found["score"].between(0, 1).all() and not found["relaxed"].any()
    assert found.dtypes.astype(str).tolist() == ["int64"] * 4 + ["float64"] * 2 + ["bool"]


def test_a_play_counts_half_when_it_is_half_the_window_older():
    twice_long_ago = [(user, 1, days) for user in "ab" for days in (20, 21)]
    found = picks(log(*twice_long_ago, ("a", 2, 1), ("b", 2, 1)))
    assert found["work_id"].tolist() == [2, 1]


def test_completion_counts():
    half = {"completion": 0.2}
    assert picks(log(("a", 1, 1, half), ("b", 1, 1, half), ("a", 2, 1), ("b", 2, 1)))["work_id"].tolist() == [2, 1]


def test_plays_outside_the_window_are_ignored():
    found = picks(log(("a", 1, -1), ("b", 1, -400), ("a", 2, 31), ("b", 2, 1), ("c", 2, 1)))
    assert found["work_id"].tolist() == [2] and found["viewers"].tolist() == [2]


def test_a_past_day_can_be_computed_again():
    early = log(("a", 1, 20), ("b", 1, 20))
    later = pd.concat([early, log(("a", 2, 1), ("b", 2, 1), ("c", 2, 1))])
    then = days_ago(10)
    first, again = (top_picks(plays, TITLES, PickRules(), as_of=then) for plays in (early, later))
    assert again.equals(first)


def test_titles_with_fewer_viewers_fill_the_list_and_are_marked_as_relaxed():
    plays = log(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("a", 2, 1), ("b", 2, 1), ("a", 3, 1))
    found = picks(plays, min_viewers=3, limit=2)
    assert found["work_id"].tolist() == [1, 2] and found["relaxed"].tolist() == [False, True]
    found = picks(plays, min_viewers=3, limit=10)
    assert found["work_id"].tolist() == [1, 2, 3] and found["relaxed"].tolist() == [False, True, True]
    assert not picks(plays, min_viewers=1)["relaxed"].any()


def test_titles_with_fewer_viewers_are_left_out_when_enough_have_the_minimum():
    plays = log(*((user, work, 1) for work in (1, 2) for user in "ab"), *(("z", 3, 0.1) for _ in range(50)))
    assert set(picks(plays, limit=2)["work_id"]) == {1, 2}
    found = picks(plays, limit=3)
    assert found["work_id"].tolist()[-1] == 3 and found["relaxed"].tolist() == [False, False, True]


def test_a_title_below_the_minimum_of_viewers_never_outranks_one_that_meets_it():
    old_and_left = {"completion": 0.05}
    plays = log(*((user, 1, 29, old_and_left) for user in "abc"), *((user, 2, 0.1) for user in "ab" for _ in range(20)))
    found = picks(plays, min_viewers=3)
    assert found["work_id"].tolist() == [1, 2] and found["relaxed"].tolist() == [False, True]
    assert found["score"][0] < found["score"][1], "only the rule puts the first one first"


def test_many_plays_by_one_person_do_not_beat_three_viewers():
    plays = log(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), *(("z", 2, 0.5) for _ in range(30)))
    assert picks(plays)["work_id"].tolist() == [1, 2]


def test_few_viewers_are_shrunk_towards_the_mean():
    low = {"completion": 0.1}
    plays = log(("a", 1, 1), *((user, 2, 1) for user in "abcd"), ("a", 3, 1, low), ("b", 3, 1, low))
    completion = picks(plays, min_viewers=1).set_index("work_id")["completion"]
    assert completion[1] < completion[2] < 1.0 and completion[3] > 0.1


def test_ties_are_broken_by_rating_and_title_not_by_the_order_of_plays():
    titles = TITLES.assign(vote_average=[7.0, 9.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0])
    plays = log(*((user, work, 1) for work in (1, 2, 3) for user in "ab"))
    found = picks(plays, titles)
    assert found["work_id"].tolist() == [2, 3, 1]
    for seed in range(5):
        shuffled = plays.sample(frac=1.0, random_state=seed)
        assert picks(shuffled, titles.sample(frac=1.0, random_state=seed)).equals(found)


def test_a_series_counts_plays_of_episodes_and_is_complete_by_distinct_ones():
    episodes = [("a", 7, 1, {"episode_id": e}) for e in range(8)] + [("b", 7, 1, {"episode_id": e}) for e in range(6)]
    twice = [(user, 8, 1, {"episode_id": 1}) for user in "ab" for _ in range(7)]
    found = picks(log(*episodes, *twice)).set_index("work_id")
    assert found.loc[7, "plays"] == found.loc[8, "plays"] == 14
    assert found.loc[7, "completion"] > 0.5 > found.loc[8, "completion"]
    assert found.loc[7, "rank"] == 1


def test_without_usable_plays_the_list_is_empty_but_has_its_columns():
    unknown_title, no_date = log(("a", 99, 1)), log(("a", 1, 1)).assign(played_at=pd.NaT)
    for plays in (pd.DataFrame(), log(("a", 1, 99)), unknown_title, no_date, log(("a", 1, 1, {"plays": 0}))):
        found = picks(plays)
        assert found.empty and list(found.columns) == list(TOP_PICKS_COLUMNS)
    assert picks(log(("a", 1, 1)), limit=0).empty


def listed(works: list[int], plays: pd.DataFrame, **rules) -> pd.DataFrame:
    return top_picks(plays, TITLES, PickRules(local_weight=0.0, **rules), as_of=NOW, works=works)


def test_a_list_from_outside_keeps_its_order_and_shows_what_was_watched_here():
    plays = log(("a", 1, 1), ("b", 1, 1), ("a", 4, 99))
    found = listed([3, 99, 1, 4], plays)
    assert found["work_id"].tolist() == [3, 1, 4] and found["rank"].tolist() == [1, 2, 3]
    assert found["viewers"].tolist() == [0, 2, 0] and found["plays"].tolist() == [0, 2, 0]
    assert found["score"].is_monotonic_decreasing and found["score"].between(0, 1).all()
    assert not found["relaxed"].any() and list(found.columns) == list(TOP_PICKS_COLUMNS)
    unwatched = listed([3, 1], pd.DataFrame(), limit=1)
    assert unwatched[["work_id", "viewers", "plays", "completion"]].to_numpy().tolist() == [[3, 0, 0, 0]]


def hybrid(works: list[int], plays: pd.DataFrame, **rules) -> pd.DataFrame:
    return top_picks(plays, TITLES, PickRules(**{"local_weight": 0.5} | rules), as_of=NOW, works=works)


def test_in_a_hybrid_list_the_best_of_both_sides_weigh_the_same():
    # The household's best score is far below 1: one viewer of many, long ago, who gave up.
    plays = log(("a", 1, 29, {"completion": 0.1}))
    assert picks(plays)["score"][0] < 0.9
    found = hybrid([2], plays, min_viewers=1).set_index("work_id")
    assert found.loc[1, "score"] == found.loc[2, "score"] == 0.5


def test_a_hybrid_list_is_weighted():
    plays = log(*((user, 1, 1) for user in "abc"), ("a", 2, 1), ("b", 2, 1))
    assert hybrid([3, 2, 1], plays, local_weight=0.0)["work_id"].tolist() == [3, 2, 1]
    assert hybrid([3, 2, 1], plays, local_weight=1.0)["work_id"].tolist() == [1, 2, 3]
    assert hybrid([3, 2, 1], plays)["work_id"].tolist()[0] in (1, 2)
    assert hybrid([3, 2, 1], plays, limit=2)["rank"].tolist() == [1, 2]


def test_in_a_hybrid_list_only_titles_that_are_not_on_the_list_need_the_minimum_of_viewers():
    plays = log(*(("z", 1, 0.1) for _ in range(20)), ("a", 2, 29))
    found = hybrid([3, 4, 2], plays)
    assert found["work_id"].tolist()[-1] == 1 and found["relaxed"].tolist() == [False, False, False, True]


def test_a_hybrid_list_without_plays_is_the_list_and_without_the_list_the_plays():
    assert hybrid([5, 4], pd.DataFrame())["work_id"].tolist() == [5, 4]
    plays = log(("a", 1, 1), ("b", 1, 1))
    assert hybrid([], plays)["work_id"].tolist() == [1]
    assert hybrid([], pd.DataFrame()).empty
    assert top_picks(plays, TITLES.head(0), PickRules(local_weight=0.5), as_of=NOW, works=[1]).empty
