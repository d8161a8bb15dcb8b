"""The ranked lists, and the order of the parts of a collection in them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import COLUMNS, COMPONENTS, RankingConfig, RankingInputs, TasteMix
from aperture_dagster.taste.ranking.links import links_of
from aperture_dagster.taste.ranking.recommend import in_order, prepare
from aperture_dagster_tests.taste.conftest import NOW, SPACE, days_ago, history, inputs, topic_of, watched


def recommend(given: RankingInputs, config: RankingConfig | None = None) -> dict[Hashable, pd.DataFrame]:
    model = prepare(given, config)
    return {user: model.for_user(user) for user in model.people.users}


NOTHING_ALIKE = TasteMix(description=0, people=0, genres=0, era=0)
LOVE = [work + 1 for work in SPACE]


def test_lists_follow_the_taste_and_give_reasons(library, vectors):
    found = recommend(inputs(library, vectors, watched("ann", SPACE)))["ann"]
    assert list(found.columns) == list(COLUMNS)
    assert [topic_of(work) for work in found["work_id"][:8]] == ["space"] * 8
    for reasons in found["because"][:8]:
        assert 1 <= len(reasons) <= 3 and set(reasons) <= set(SPACE)
    assert not found["cold"].any()


def test_watched_started_and_rated_titles_are_never_recommended(library, vectors):
    rows = history(
        {"work_id": 100},
        {"work_id": 101, "plays": 0, "completion": 0.05},
        {"work_id": 102, "plays": 0, "completion": 0.0, "rating": 2},
        {"work_id": 103, "plays": 0, "completion": np.nan, "episodes_played": 1, "episodes_total": 9},
        {"work_id": 104, "plays": 0, "completion": 0.049},
        {"work_id": 105, "plays": 0, "completion": 0.0, "favorite": True},
    )
    found = set(recommend(inputs(library, vectors, rows), RankingConfig(limit=100))["ann"]["work_id"])
    assert not found & {100, 101, 102, 103}
    assert {104, 105} <= found


def test_a_film_left_early_comes_back_after_a_month_of_other_films_with_a_loss_that_fades(library, vectors):
    scores = {}
    for days in (29, 31, 61, 300):
        left = watched("ann", [141], completion=0.1, last_played_at=days_ago(days))
        model = prepare(inputs(library, vectors, pd.concat([watched("ann", SPACE), left])), RankingConfig(limit=100))
        scores[days] = model.for_user("ann").set_index("work_id")["score"]
    assert 141 not in scores[29], "it may still be finished"
    assert {*scores[31].index} == {*scores[300].index} == {*scores[29].index, 141}
    lost = [scores[300][141] - scores[days][141] for days in (31, 61)]
    assert 0.9 < lost[0] < 1.3 and 0.4 < lost[1] < 0.7
    others = scores[31].drop(141) - scores[300].drop(141)
    assert others.abs().max() < 0.2, "other films are hardly touched"


def test_a_list_has_as_many_titles_as_requested_or_as_there_are_candidates(library, vectors):
    histories = watched("ann", SPACE)
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=7))["ann"]) == 7
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=500))["ann"]) == 48
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=40))["ann"]) == 40
    everything = watched("ann", list(library["work_id"]))
    assert recommend(inputs(library, vectors, everything))["ann"].empty


def test_ranks_start_at_one_without_repeats_and_the_components_add_up_to_the_score(library, vectors):
    votes = library.assign(
        vote_count=np.arange(60) * 100.0, vote_average=np.linspace(5, 8, 60), popularity=np.arange(60)
    )
    edges = pd.DataFrame({"work_id": [100, 103], "recommended_work_id": [140, 141], "rank": [1, 2]})
    histories = pd.concat([watched("ann", SPACE), watched("bob", [*SPACE, 150])])
    found = recommend(inputs(votes, vectors, histories, edges=edges))["ann"]
    assert found["rank"].tolist() == list(range(1, len(found) + 1))
    assert found["work_id"].is_unique and np.isfinite(found["score"]).all()
    assert found[list(COMPONENTS)].sum(axis=1).to_numpy() == pytest.approx(found["score"].to_numpy(), abs=1e-5)
    assert (found[list(COMPONENTS)].std() > 0).sum() == len(COMPONENTS) - 1, "of one year, so all but era differ"


def test_a_cold_user_gets_a_list_led_by_popularity_that_is_marked_as_cold(library, vectors):
    famous = library.assign(vote_count=[20_000.0 if n >= 50 else 50.0 for n in range(60)])
    found = recommend(inputs(famous, vectors, watched("bob", SPACE), users=["new"]), RankingConfig(limit=10))["new"]
    assert found["cold"].all() and len(found) == 10
    assert (found["work_id"] >= 150).sum() >= 9
    assert all(reasons == [] for reasons in found["because"])


def test_titles_of_the_other_type_count_a_fifth_as_known(library, vectors):
    mixed = library.assign(media_type=["series" if work in LOVE else "movie" for work in library["work_id"]])
    model = prepare(inputs(mixed, vectors, watched("ann", SPACE)))
    assert model._known(model.people.titles["ann"], "movie") == 12
    assert model._known(model.people.titles["ann"], "series") == pytest.approx(2.4)
    found = model.for_user("ann").set_index("media_type")
    assert not found.loc["movie", "cold"].any() and found.loc["series", "cold"].all()


@pytest.mark.parametrize("column", ["directors", "genres", "year"])
def test_each_feature_alone_leads_to_titles_like_the_liked_ones(library, column: str):
    topics = library["work_id"].map(topic_of)
    values = topics.map({"space": 1950, "love": 1980, "crime": 2010}) if column == "year" else topics.map(lambda t: [t])
    bare = library[["work_id", "media_type"]].assign(**{column: values})
    found = recommend(inputs(bare, None, watched("ann", SPACE)), RankingConfig(limit=8))["ann"]
    assert {topic_of(work) for work in found["work_id"]} == {"space"}


def test_vectors_alone_lead_to_liked_topics_and_away_from_disliked_ones(library, vectors):
    bare = library[["work_id", "media_type"]]
    histories = pd.concat([watched("ann", SPACE[:6], rating=9), watched("ann", LOVE[:6], rating=1)])
    given = inputs(bare, vectors, histories)
    ranks = recommend(given, RankingConfig(diversity=0, by_facts=False))["ann"].set_index("work_id")["rank"]
    by_topic = ranks.groupby([topic_of(work) for work in ranks.index])
    assert by_topic.max()["space"] < by_topic.min()["crime"]
    assert by_topic.max()["crime"] < by_topic.min()["love"]


def test_popularity_counts_less_where_lists_lead_somewhere_and_in_full_where_they_do_not(library, vectors):
    histories = watched("ann", SPACE)
    there = pd.DataFrame({"work_id": [100], "recommended_work_id": [101], "rank": [1]})
    nowhere = pd.DataFrame({"work_id": [101], "recommended_work_id": [102], "rank": [1]})
    films, usual = library.assign(vote_count=np.arange(60) * 10.0 + 1), RankingConfig(limit=100, by_facts=False)
    found = {
        name: prepare(inputs(films, vectors, histories, edges=edges), usual).for_user("ann")
        for name, edges in (("none", None), ("nowhere", nowhere), ("there", there))
    }
    spread = {name: one["popularity"].max() - one["popularity"].min() for name, one in found.items()}
    assert spread["nowhere"] == spread["none"]
    assert spread["there"] == pytest.approx(spread["none"] * (1 - 0.7 * 12 / 42))


def test_what_others_disliked_does_not_go_along_with_what_they_liked(library):
    parts = [part for n in range(20) for part in (watched(f"user{n}", [100]), watched(f"user{n}", [150], rating=1))]
    given = inputs(library, None, pd.concat([*parts, watched("ann", [100])]), users=["ann", "new"])
    for user, components in recommend(given, RankingConfig(limit=60)).items():
        found = components.set_index("work_id")["co_watch"]
        assert found[150] <= found.drop([100, 150], errors="ignore").min(), user


def test_the_order_of_the_inputs_does_not_change_the_lists(library, vectors):
    histories = pd.concat(
        [watched("ann", SPACE, rating=8), watched("bob", LOVE), watched("cleo", SPACE[:3] + LOVE[:3])]
    )
    one = recommend(inputs(library, vectors, histories))
    other = recommend(inputs(library, vectors, histories.sample(frac=1.0, random_state=1)))
    order = np.random.default_rng(2).permutation(60)
    moved = recommend(inputs(library.iloc[order], vectors[order], histories))
    for user, found in one.items():
        assert found.drop(columns="score").equals(other[user].drop(columns="score"))
        assert found["work_id"].tolist() == moved[user]["work_id"].tolist()


def test_empty_histories_and_empty_libraries_give_empty_or_cold_lists(library, vectors):
    assert recommend(inputs(library, vectors, pd.DataFrame())) == {}
    assert recommend(inputs(library, vectors, pd.DataFrame(), users=["a"]))["a"]["cold"].all()
    nothing = recommend(inputs(library.head(0), vectors[:0], watched("ann", SPACE), users=["ann"]))["ann"]
    assert nothing.empty and list(nothing.columns) == list(COLUMNS)


@pytest.mark.filterwarnings("error")
def test_missing_vectors_and_nan_in_every_column_still_give_full_lists(library, vectors):
    bare = library[["work_id"]].assign(**{column: np.nan for column in library.columns if column != "work_id"})
    bare["media_type"] = "movie"
    broken = np.full_like(vectors, np.nan)
    for some in (None, broken, np.zeros_like(vectors)):
        found = recommend(inputs(bare, some, watched("ann", SPACE)))["ann"]
        assert len(found) == 48 and np.isfinite(found["score"]).all()
    masked = recommend(inputs(library, vectors, watched("ann", SPACE), vector_mask=np.arange(60) < 30))["ann"]
    assert len(masked) == 48


def test_inputs_that_do_not_fit_raise_an_error(library, vectors):
    with pytest.raises(ValueError, match="vectors for"):
        prepare(inputs(library, vectors[:5], watched("ann", SPACE)))
    with pytest.raises(ValueError, match="exclusions of 'ann'"):
        prepare(inputs(library, vectors, watched("ann", SPACE), excluded={"ann": np.zeros(3, dtype=bool)}))
    with pytest.raises(ValueError, match="twice"):
        prepare(inputs(pd.concat([library, library.head(1)]), None, watched("ann", SPACE)))


def test_links_that_exist_already_are_those_of_the_edges(library, vectors):
    edges = pd.DataFrame({"work_id": [100, 103, 131], "recommended_work_id": [131, 140, 152], "rank": [1, 2, 3]})
    given = inputs(library, vectors, watched("ann", SPACE), edges=edges)
    links = links_of(edges, {work: row for row, work in enumerate(library["work_id"])}, len(library))
    ready = prepare(replace(given, edges=None), links=links).for_user("ann")
    assert ready.equals(prepare(given).for_user("ann"))
    assert (ready["recommended_from"] > 0).any()


def test_diversity_may_choose_titles_from_beyond_the_length_of_the_list(library, vectors):
    given = inputs(library, vectors, watched("ann", SPACE))
    plain, diverse = (recommend(given, RankingConfig(limit=6, diversity=d))["ann"] for d in (0.0, 0.6))
    assert {topic_of(work) for work in plain["work_id"]} == {"space"}
    assert {topic_of(work) for work in diverse["work_id"]} > {"space"}


def test_factors_of_one_leave_the_lists_as_they_are_and_others_move_what_they_name(library, vectors):
    given = inputs(library.assign(vote_count=np.arange(60) * 10.0 + 1), vectors, watched("ann", SPACE))
    plain = recommend(given)["ann"]
    neutral = RankingConfig(factors=dict.fromkeys((*COMPONENTS, "recency"), 1.0) | {"recency": 0.0})
    assert recommend(given, neutral)["ann"].equals(plain)
    for name in COMPONENTS:
        doubled = recommend(given, RankingConfig(limit=60, factors={name: 2.0}))["ann"].set_index("work_id")
        usual = recommend(given, RankingConfig(limit=60))["ann"].set_index("work_id").loc[doubled.index]
        assert np.allclose(doubled[name], 2 * usual[name]), name
        others = [one for one in COMPONENTS if one != name]
        assert doubled[others].equals(usual[others]), name


def test_recent_titles_rise_where_that_is_wanted_and_those_without_a_date_are_average(library, vectors):
    dated = library.assign(year=[None, *range(1951, 2010)])
    given = inputs(dated, vectors, watched("new", []))
    years = dated.set_index("work_id")["year"]

    def first(**factors: float) -> float:
        lists = prepare(replace(given, users=["new"]), RankingConfig(limit=60, diversity=0, factors=factors))
        return float(years.loc[lists.for_user("new")["work_id"][:10]].mean())

    assert first(recency=5.0) > 1999 > first(recency=0.0)
    found = prepare(replace(given, users=["new"]), RankingConfig(limit=60, factors={"recency": 1.0})).for_user("new")
    assert abs(found.set_index("work_id")["era"][dated["work_id"][0]]) < 1e-9


def test_each_media_type_has_rules_of_its_own(library, vectors):
    mixed = library.assign(media_type=["series" if work in LOVE else "movie" for work in library["work_id"]])
    mixed["vote_count"] = np.arange(60) * 10.0
    configs = {"movie": RankingConfig(limit=3), "series": RankingConfig(limit=5, factors={"popularity": 0.0})}
    found = prepare(inputs(mixed, vectors, watched("ann", SPACE)), configs).for_user("ann")
    assert found["media_type"].value_counts().to_dict() == {"movie": 3, "series": 5}
    assert found.groupby("media_type")["popularity"].apply(lambda one: bool(one.any())).to_dict() == {
        "movie": True, "series": False,
    }  # fmt: skip


NONE = np.nan


@pytest.mark.parametrize(
    ("listed", "seen", "ordered"),
    [
        ([5, 2, 7, 0], [], [5, 0, 7, 1]),
        ([5, 2, 7, 0], [0], [5, 1, 7, 2]),
        ([2, 5, 6, 7], [0, 1], [2, 5, 6, 7]),
        ([4, 3], [], [3, 4]),
    ],
)
def test_the_places_of_a_collection_go_to_its_earliest_unseen_parts(listed, seen, ordered):
    """Titles 0 to 2 are one collection, 3 and 4 another, of which one has no date; 5 to 7 are none."""
    collections = np.array([10.0, 10, 10, 20, 20, NONE, NONE, NONE])
    released = np.array([2001.2, 2002.5, 2005.0, 1990.0, NONE, 1980.0, 1981.0, 1982.0])
    candidates = np.setdiff1d(np.arange(8), seen)
    assert in_order(np.array(listed), candidates, collections, released).tolist() == ordered


def test_at_most_two_of_a_collection_are_among_the_first_ten():
    collections = np.array([*[1.0] * 5, *[NONE] * 15])
    listed = np.arange(20)
    found = in_order(listed, listed, collections, listed.astype(float))
    assert found.tolist() == [0, 1, *range(5, 13), 2, 3, 4, *range(13, 20)]
    short = in_order(listed[:6], listed, collections, listed.astype(float))
    assert short.tolist() == [0, 1, 5, 2, 3, 4], "a short list keeps all of them"
    assert in_order(listed[:0], listed, collections, listed.astype(float)).tolist() == []


def test_a_list_has_the_first_film_of_a_trilogy_that_its_user_has_not_seen():
    items = pd.DataFrame(
        {
            "work_id": np.arange(1, 31),
            "vote_count": np.arange(30) * 10.0,
            "collection": [7.0, NONE, 7.0, *[NONE] * 26, 7.0],
            "year": [1999, *[2000] * 29],
            "released": [NONE, NONE, 1999.5, *[NONE] * 26, 2000.9],
        }
    )
    inputs = RankingInputs(items=items, histories=history({"work_id": 9}), as_of=NOW)
    found = prepare(inputs, RankingConfig(limit=5)).for_user("ann")
    assert found["work_id"].tolist() == [3, 29, 28, 27, 26], "the third has the most votes"
    assert found["popularity"].is_monotonic_decreasing is False, "with its own score"
    seen = RankingInputs(items=items, histories=history({"work_id": 3}), as_of=NOW)
    assert prepare(seen, RankingConfig(limit=5)).for_user("ann")["work_id"].iloc[0] == 1
