"""Components earn their weight on a server's own past: what does harm loses it, chance changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.settings import Settings
from aperture_dagster.settings.lists import RecommendationRules
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.earned import read_earned, write_earned
from aperture_dagster.taste.quality import describe_weights
from aperture_dagster.taste.ranking import earning
from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.crowd import Crowd
from aperture_dagster.taste.ranking.earning import Change, Earned, best_change, crowd_with, earn_on, earn_weights
from aperture_dagster.taste.ranking.evaluation import World, judge, rank_household, worlds_of_server
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.recommend import blend_shares
from aperture_dagster.taste.recommendations import ranking_configs
from aperture_dagster_tests.shelf import Shelf
from aperture_dagster_tests.taste.conftest import NOW, days_ago, history

FANS, FILMS, THEMES, PLAYED = 54, 120, 3, 30


def figures(mean: float, spread: float = 0.1, users: int = 100) -> np.ndarray:
    """NDCG of users: half of them above a mean, half below."""
    return mean + spread * np.resize([1.0, -1.0], users)


# Decisions


def test_a_component_loses_weight_only_if_less_is_better_beyond_the_noise():
    base = figures(0.1)
    wave = 0.1 * np.resize([1.0, 1.0, -1.0, -1.0], 100)
    # The margin of the mean of 100 differences of ± .1 is .028.
    change = best_change({}, base, {("crowd", 0.0): base + 0.030 + wave, ("era", 0.0): base - 0.05})
    assert change is not None and (change.component, change.before, change.after) == ("crowd", 1.0, 0.0)
    assert change.difference == pytest.approx(0.030) and change.margin == pytest.approx(0.0282, abs=1e-3)
    assert best_change({}, base, {("crowd", 0.0): base + 0.026 + wave}) is None
    assert best_change({}, base, {("crowd", 0.0): base}) is None
    assert best_change({}, base, {}) is None


def test_of_several_the_most_harmful_goes_first_and_of_equals_the_first():
    base = figures(0.1)
    worse = {("crowd", 0.0): base + 0.02, ("era", 0.0): base + 0.03}
    assert best_change({}, base, worse) == Change("era", 1.0, 0.0, *earning.paired(base + 0.03, base))
    equal = {("crowd", 0.0): base + 0.02, ("co_watch", 0.0): base + 0.02}
    change = best_change({}, base, equal)
    assert change is not None and change.component == "crowd"


def test_weight_comes_back_when_more_is_no_worse_and_not_before():
    base, lost = figures(0.1), {"crowd": 0.0}
    assert best_change(lost, base, {("crowd", 1.0): base - 0.001, ("crowd", 0.5): base - 0.002}) is None
    more = best_change(lost, base, {("crowd", 0.5): base + 0.002, ("crowd", 1.0): base + 0.001})
    assert more is not None and more.after == 1.0, "the usual weight, if nothing speaks against it"
    some = best_change(lost, base, {("crowd", 0.5): base + 0.002, ("crowd", 1.0): base - 0.001})
    assert some is not None and some.after == 0.5
    equal = best_change(lost, base, {("crowd", 0.5): base, ("crowd", 1.0): base})
    assert equal is not None and equal.after == 1.0, "what makes no difference has its usual weight"


def test_what_is_harmful_in_full_may_be_worth_half_and_weeks_of_noise_change_nothing():
    random = np.random.default_rng(1)
    people = random.normal(0.1, 0.05, 200)
    worth = {1.0: -0.05, 0.5: 0.02, 0.0: 0.0}

    def measure(weights, noise=0.0):
        return people + worth[weights.get("crowd", 1.0)] + noise

    weights, changes = earn_weights(measure, {}, ("crowd", "era"))
    assert weights == {"crowd": 0.5} and [one.after for one in changes] == [0.5]
    for _ in range(20):
        noise = {weight: random.normal(0.0, 0.05, 200) for weight in worth}
        weights, changes = earn_weights(
            lambda given, noise=noise: measure(given, noise[given.get("crowd", 1.0)]), weights, ("crowd",)
        )
        assert not changes and weights == {"crowd": 0.5}


def test_what_lost_its_place_among_the_components_has_its_usual_weight():
    weights, changes = earn_weights(lambda weights: figures(0.1), {"crowd": 0.0}, ("era",))
    assert weights == {} and not changes


# In the ranking


def test_a_component_that_lost_its_weight_leaves_what_fades_for_it_as_it_was():
    usual = blend_shares(RankingConfig(), 40, 30, has_lists=True)
    neither = blend_shares(RankingConfig(), 40, 1, has_lists=False)
    earned = {"co_watch": 0.0, "recommended_from": 0.0}
    assert blend_shares(RankingConfig(earned=earned), 40, 30, has_lists=True) == neither != usual
    for name, shown in (("similarity", "similarity"), ("era", "era"), ("rating", "rating"), ("popularity", "votes")):
        half = blend_shares(RankingConfig(earned={name: 0.5}), 40, 30, has_lists=True)
        assert half[shown] == usual[shown] / 2
        assert {key for key in usual if half[key] != usual[key]} <= {shown, "trend"}


@pytest.fixture(scope="module")
def fans() -> World:
    """People who watch the films of one of three themes, one a day, each in an order of their own."""
    random = np.random.default_rng(5)
    numbers = np.arange(FILMS)
    themes = np.eye(THEMES)[numbers % THEMES] + random.normal(0.0, 0.4, (FILMS, THEMES))
    items = pd.DataFrame(
        {"work_id": numbers, "media_type": "movie", "title": [f"Film {one}" for one in numbers], "year": 2000,
         "vote_count": 100, "vote_average": 7.0}
    )  # fmt: skip
    plays = []
    for fan in range(FANS):
        own = random.permutation(numbers[numbers % THEMES == fan % THEMES])[:PLAYED]
        plays += [
            {"user_id": f"fan {fan:02}", "work_id": int(work), "last_played_at": days_ago(PLAYED - day)}
            for day, work in enumerate(own)
        ]
    hidden = {f"fan {fan:02}": np.zeros(FILMS, dtype=bool) for fan in range(FANS)}
    library = library_of(items, themes)
    return worlds_of_server(items, library, history(*plays), added={}, hidden=hidden, as_of=NOW.to_pydatetime())[
        "movie"
    ]


def links_between_themes() -> Crowd:
    """A crowd for which each film speaks for those of the next theme: harmful to everybody here."""
    sources, targets = np.meshgrid(np.arange(FILMS), np.arange(FILMS))
    wrong = (sources + 1) % THEMES == targets % THEMES
    return Crowd(sources[wrong], targets[wrong], np.full(int(wrong.sum()), 0.3, dtype=np.float32), people=50_000)


def test_a_harmful_crowd_loses_its_weight_alone_and_the_lists_recover(fans: World):
    crowd, members, config = links_between_themes(), fans.users, RankingConfig(limit=20)
    earned = earn_on(fans, members, config, crowd=crowd)
    assert earned.is_enough and earned.titles >= 300 and dict(earned.weights) == {"crowd": 0.0}
    usual, sound = (judge(fans, rank_household(fans, members, config, crowd=one)).ndcg for one in (crowd, None))
    config = replace(config, earned=earned.weights)
    recovered = judge(fans, rank_household(fans, members, config, crowd=crowd_with(crowd, earned.weights))).ndcg
    assert usual < 0.7 * sound and recovered == pytest.approx(sound)


def test_a_sound_server_changes_nothing_and_neither_do_few_titles(fans: World, monkeypatch: pytest.MonkeyPatch):
    config, members = RankingConfig(limit=20), fans.users
    unchanged = earn_on(fans, members, config)
    assert unchanged.is_enough and unchanged.weights == {} and not unchanged.changes
    monkeypatch.setattr(earning, "ENOUGH_TITLES", 10_000)
    few = earn_on(fans, members, replace(config, earned={"era": 0.0}), crowd=links_between_themes())
    assert not few.is_enough and few.weights == {} and not few.changes
    assert "too few" in describe_weights(few)


def test_a_weight_that_the_operator_gave_is_left_alone(fans: World):
    config = RankingConfig(limit=20)
    given = earn_on(fans, fans.users, config, crowd=links_between_themes(), given={"crowd", "co_watch"})
    assert not given.weights.keys() & {"crowd", "co_watch"}


def test_a_crowd_counts_as_much_as_it_has_earned():
    crowd = links_between_themes()
    assert crowd_with(crowd, {}) is crowd and crowd_with(None, {"crowd": 0.5}) is None
    assert crowd_with(crowd, {"crowd": 0.0}) is None
    half = crowd_with(crowd, {"crowd": 0.5})
    assert half is not None and half.people == 25_000 and half.strengths[0] == pytest.approx(0.15)


# Kept between the evaluation and the lists


def test_weights_are_kept_and_those_of_a_crowd_only_for_that_crowd(shelf: Shelf, settings: Settings):
    with shelf.open() as connection:
        assert read_earned(connection, settings) == {}
        write_earned(connection, settings, {"movie": {"crowd": 0.0, "era": 0.5}, "series": {}})
        assert read_earned(connection, settings) == {"movie": {"crowd": 0.0, "era": 0.5}, "series": {}}
        table_in_use(settings).parent.mkdir(parents=True)
        table_in_use(settings).write_bytes(b"another table")
        earned = read_earned(connection, settings)
    assert earned == {"movie": {"era": 0.5}, "series": {}}
    experts = settings.model_copy(update={"recommendations_movies": RecommendationRules(weights={"era": 2.0})})
    assert ranking_configs(settings, earned)["movie"].earned == {"era": 0.5}
    assert ranking_configs(experts, earned)["movie"].earned == {}


def test_changes_are_told_in_words():
    lost = Change("crowd", 1.0, 0.0, 0.031, 0.012)
    told = describe_weights(Earned({"crowd": 0.0, "era": 0.5}, [lost], 412, is_enough=True))
    assert "what the crowd watched does not count from now on, which changes NDCG@50 by +0.031 (± 0.012)" in told
    assert "closeness in years counts half;" in told and "judged by 412 titles" in told
    again = describe_weights(Earned({}, [Change("era", 0.5, 1.0, 0.002, 0.01)], 412, is_enough=True))
    assert again.startswith("closeness in years counts in full again") and "every other" in again
    assert describe_weights(Earned({}, [], 412, is_enough=True)).startswith("every component keeps its weight (judged")
