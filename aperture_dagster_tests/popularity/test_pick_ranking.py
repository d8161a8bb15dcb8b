"""Top Picks of the household."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.popularity.pick_ranking import TOP_PICKS_COLUMNS, PickRules, top_picks
from aperture_dagster_tests.taste.conftest import NOW, days_ago

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


def test_more_viewers_rank_higher():
    found = picks(log(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("a", 2, 1), ("b", 2, 1)))
    assert found["work_id"].tolist() == [1, 2] and found["viewers"].tolist() == [3, 2]
    assert list(found.columns) == list(TOP_PICKS_COLUMNS) and found["rank"].tolist() == [1, 2]
    assert found["score"].between(0, 1).all() and not found["relaxed"].any()
    assert found.dtypes.astype(str).tolist() == ["int64"] * 4 + ["float64"] * 2 + ["bool"]


def test_plays_outside_the_window_are_ignored():
    found = picks(log(("a", 1, -1), ("b", 1, -400), ("a", 2, 31), ("b", 2, 1), ("c", 2, 1)))
    assert found["work_id"].tolist() == [2] and found["viewers"].tolist() == [2]


def test_titles_with_fewer_viewers_fill_the_list_and_are_marked_as_relaxed():
    plays = log(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("a", 2, 1), ("b", 2, 1), ("a", 3, 1))
    for limit in (2, 10):
        found = picks(plays, min_viewers=3, limit=limit)
        assert found["work_id"].tolist() == [1, 2] and found["relaxed"].tolist() == [False, True]
    assert not picks(plays, min_viewers=1)["relaxed"].any()


def test_nobody_sees_what_one_person_alone_watched_unless_the_operator_wants_that():
    plays = log(*(("a", 3, 1) for _ in range(30)), ("a", 1, 1), ("b", 1, 1), ("b", 2, 1))
    assert picks(plays)["work_id"].tolist() == [1]
    assert sorted(picks(plays, min_viewers=1)["work_id"]) == [1, 2, 3]
    # On a list from outside such a title stands where that list has it.
    found = hybrid([2, 3], plays).set_index("work_id")
    assert found.loc[[2, 3], ["viewers", "plays", "completion"]].to_numpy().sum() == 0
    assert found.loc[2, "score"] > found.loc[3, "score"]


def test_a_title_below_the_minimum_of_viewers_never_outranks_one_that_meets_it():
    old_and_left = {"completion": 0.05}
    plays = log(*((user, 1, 29, old_and_left) for user in "abc"), *((user, 2, 0.1) for user in "ab" for _ in range(20)))
    found = picks(plays, min_viewers=3)
    assert found["work_id"].tolist() == [1, 2] and found["relaxed"].tolist() == [False, True]
    assert found["score"][0] < found["score"][1], "only the rule puts the first one first"
    assert picks(plays, min_viewers=3, limit=1)["work_id"].tolist() == [1]


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
    assert picks(plays, min_viewers=1)["score"][0] < 0.9
    found = hybrid([2], plays, min_viewers=1).set_index("work_id")
    assert found.loc[1, "score"] == found.loc[2, "score"] == 0.5


def test_a_hybrid_list_is_weighted():
    plays = log(*((user, 1, 1) for user in "abc"), ("a", 2, 1), ("b", 2, 1))
    assert hybrid([3, 2, 1], plays, local_weight=0.0)["work_id"].tolist() == [3, 2, 1]
    assert hybrid([3, 2, 1], plays, local_weight=1.0)["work_id"].tolist() == [1, 2, 3]
    assert hybrid([3, 2, 1], plays)["work_id"].tolist()[0] in (1, 2)
    assert hybrid([3, 2, 1], plays, limit=2)["rank"].tolist() == [1, 2]


def test_in_a_hybrid_list_only_titles_that_are_not_on_the_list_need_the_minimum_of_viewers():
    plays = log(*((user, 1, 0.1) for user in "yz" for _ in range(20)), ("a", 2, 29), ("b", 2, 29))
    found = hybrid([3, 4, 2], plays, min_viewers=3)
    assert found["work_id"].tolist()[-1] == 1 and found["relaxed"].tolist() == [False, False, False, True]


def test_a_hybrid_list_without_plays_is_the_list_and_without_the_list_the_plays():
    assert hybrid([5, 4], pd.DataFrame())["work_id"].tolist() == [5, 4]
    plays = log(("a", 1, 1), ("b", 1, 1))
    assert hybrid([], plays)["work_id"].tolist() == [1]
    assert hybrid([], pd.DataFrame()).empty
    assert top_picks(plays, TITLES.head(0), PickRules(local_weight=0.5), as_of=NOW, works=[1]).empty
