from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking import user_weights
from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.recommend import RankingModel, prepare
from aperture_dagster.taste.ranking.user_weights import COLUMNS, FACTS, UserWeights, effect, fitted
from aperture_dagster_tests.taste.conftest import SPACE, crowd_of, days_ago, inputs, watched

FILMS = 400


def lists(given: RankingInputs, config: RankingConfig | None = None) -> list[pd.DataFrame]:
    """Ann's list with weights that follow facts, and without."""
    usual = config or RankingConfig()
    return [prepare(given, replace(usual, by_facts=by_facts)).for_user("ann") for by_facts in (True, False)]


def films_of(years: np.ndarray, votes: np.ndarray | None = None) -> pd.DataFrame:
    n = len(years)
    return pd.DataFrame(
        {
            "work_id": np.arange(1_000, 1_000 + n),
            "media_type": "movie",
            "year": years,
            "genres": [["Drama"]] * n,
            "vote_average": 6.5,
            "vote_count": np.full(n, 1_000.0) if votes is None else votes,
        }
    )


def seen(user: str, works: list[int], last: pd.Timestamp | None = None, **more: Any) -> pd.DataFrame:
    """A film a day, the last one at ``last``."""
    last = last or days_ago(1)
    days = [last - pd.Timedelta(days=len(works) - 1 - day) for day in range(len(works))]
    frames = [watched(user, [work], last_played_at=day, **more) for work, day in zip(works, days, strict=True)]
    return pd.concat(frames, ignore_index=True)


def first_twenty(model: RankingModel, user: str = "ann") -> list[int]:
    return model.for_user(user)["work_id"].tolist()[:20]


def model_of(films: pd.DataFrame, histories: pd.DataFrame, **more: Any) -> RankingModel:
    config = RankingConfig(limit=FILMS, diversity=0, by_facts=more.pop("by_facts", True))
    return prepare(inputs(films, None, histories, **more), config)


@pytest.fixture
def alternating() -> pd.DataFrame:
    """Films of the 2000s and of the 2020s in turn."""
    return films_of(np.where(np.arange(FILMS) % 2, 2_022, 2_006) + np.arange(FILMS) // 2 % 4)


def lead_of_new_films(films: pd.DataFrame, histories: pd.DataFrame, *, by_facts: bool = True) -> float:
    """How much more the component era adds to the scores of films from the 2020s than to those from the 2000s."""
    ranked = model_of(films, histories, by_facts=by_facts).for_user("ann")
    years = ranked["work_id"].map(dict(zip(films["work_id"], films["year"], strict=True)))
    return float(ranked["era"][years > 2_020].mean() - ranked["era"][years < 2_020].mean())


def test_what_somebody_watches_now_leads_before_what_they_watched_over_the_years(alternating):
    old, new = list(range(1_000, 1_060, 2)), list(range(1_001, 1_021, 2))
    now_new, now_old = seen("ann", [*old, *new]), seen("ann", [*new, *old])
    assert lead_of_new_films(alternating, now_new) > 0 > lead_of_new_films(alternating, now_new, by_facts=False)
    assert lead_of_new_films(alternating, now_old) < 0


def test_who_watches_what_few_people_know_gets_less_of_what_everybody_knows():
    votes = np.where(np.arange(FILMS) % 2, 20_000.0, 150.0)
    films = films_of(np.full(FILMS, 2_010), votes)
    known = dict(zip(films["work_id"], votes, strict=True))
    famous, obscure = list(range(1_001, 1_121, 2)), list(range(1_000, 1_120, 2))

    def spread(works: list[int], *, by_facts: bool) -> float:
        ranked = model_of(films, seen("ann", works), by_facts=by_facts).for_user("ann")
        return float(ranked["popularity"].max())

    assert spread(obscure, by_facts=True) < spread(obscure, by_facts=False)
    assert spread(famous, by_facts=True) > spread(obscure, by_facts=True)
    assert known[first_twenty(model_of(films, seen("ann", famous)))[0]] == 20_000


def test_weights_of_films_follow_facts_only_where_neither_lists_nor_a_crowd_say_more(library, vectors):
    histories = seen("ann", SPACE)
    there = pd.DataFrame({"work_id": [100], "recommended_work_id": [101], "rank": [1]})
    nowhere = pd.DataFrame({"work_id": [101], "recommended_work_id": [102], "rank": [1]})

    def differs(films: pd.DataFrame = library, config: RankingConfig | None = None, **more: Any) -> bool:
        with_facts, without = lists(inputs(films, vectors, histories, **more), config)
        return not with_facts.equals(without)

    assert differs()
    assert differs(edges=nowhere), "lists that lead to nothing"
    assert not differs(edges=there)
    others = pd.concat([watched(f"other {number}", SPACE[:8]) for number in range(5)])
    assert not differs(crowd=crowd_of(others))
    mixed = library.assign(media_type=["movie", "series"] * 30)
    ranked = lists(inputs(mixed, vectors, histories))
    films, series = ([table[table["media_type"] == name] for table in ranked] for name in ("movie", "series"))
    assert not films[0].equals(films[1])
    pd.testing.assert_frame_equal(*series)
    unearned = RankingConfig(earned={"recommended_from": 0.0})
    assert differs(config=unearned, edges=there), "lists that have lost their weight count as none"


def test_few_films_change_little_and_none_or_none_with_a_date_nothing(library, vectors):
    assert effect(0) == 0
    assert effect(5) < 0.06 < 0.5 == effect(20) < effect(60) < 1
    undated = watched("ann", SPACE, last_played_at=pd.NaT)
    nobody = watched("bob", [100])
    for histories in (undated, nobody):
        pd.testing.assert_frame_equal(*lists(inputs(library, vectors, histories, users=["ann"])))


def test_disliked_films_are_not_what_somebody_watches_now(alternating):
    old, new = list(range(1_000, 1_060, 2)), list(range(1_001, 1_021, 2))
    liked, disliked = (
        pd.concat([seen("ann", old, days_ago(20), rating=8.0), seen("ann", new, rating=rating)])
        for rating in (9.0, 1.0)
    )
    assert lead_of_new_films(alternating, liked) > 0 > lead_of_new_films(alternating, disliked)


def test_a_component_that_earned_no_weight_gets_none_from_the_facts(library, vectors):
    histories = seen("ann", SPACE)
    earned = {"popularity": 0.0, "era": 0.0, "similarity": 0.0, "rating": 0.0}
    ranked = prepare(inputs(library, vectors, histories), RankingConfig(earned=earned)).for_user("ann")
    assert not ranked[list(earned)].to_numpy().any()
    given = prepare(inputs(library, vectors, histories), RankingConfig(factors={"popularity": 0.0})).for_user("ann")
    assert not given["popularity"].any()


def test_odd_years_and_votes_leave_finite_scores():
    years = np.where(np.arange(FILMS) % 3 == 0, np.nan, 2_030.0)
    films = films_of(years, np.where(np.arange(FILMS) % 2, np.nan, 5.0))
    ranked = model_of(films, seen("ann", list(range(1_000, 1_060)))).for_user("ann")
    assert len(ranked) == FILMS - 60
    assert np.isfinite(ranked["score"]).all()
    assert user_weights.facts_of(
        library_of(films), prepare(inputs(films, None, seen("ann", [1_000]))).people.titles["ann"],
        user_weights.LatestFilms(rows=np.array([0]), known=1, year=2_026),
    ).tolist()[:2] == [0.0, 0.0]  # fmt: skip


def test_facts_beyond_those_of_the_fit_count_as_its_limits():
    weights = UserWeights(np.zeros(3), np.ones(3), np.ones((1 + len(FACTS), len(COLUMNS))))
    assert set(weights.for_user(np.array([100.0, -50.0, 1.0])).values()) == {1 + 2.5 - 2.5 + 1.0}
    assert set(fitted().for_user(fitted().means)) == set(COLUMNS)
