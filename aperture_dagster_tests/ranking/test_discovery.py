"""Suggestions of titles that are not in the library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking.crowd import Crowd
from aperture_dagster.ranking.discovery import (
    DISCOVERY_COLUMNS,
    DISCOVERY_COMPONENTS,
    DiscoveryConfig,
    DiscoveryInputs,
    DiscoveryWeights,
    discovery_shares,
    prepare_discovery,
)

from .conftest import NOW, crowd_of, days_ago, history, topic_of

OWNED = 30
"""The first titles of the fixture are the library, the others are the pool."""
SPACE = [100 + 3 * n for n in range(10)]
LOVE = [work + 1 for work in SPACE]
NO_WEIGHTS = DiscoveryWeights(0.0, 0.0, 0.0, 0.0, 0.0)
IN_ORDER = DiscoveryConfig(diversity=0.0)


@pytest.fixture
def given(library, vectors) -> DiscoveryInputs:
    """Thirty films in the library, thirty in the pool, and ann, who watched all films of the library about space."""
    films = library.assign(release_date=pd.Timestamp("2000-05-01"))
    return DiscoveryInputs(
        items=films.iloc[:OWNED],
        pool=films.iloc[OWNED:].reset_index(drop=True),
        histories=watched("ann", SPACE),
        as_of=NOW,
        vectors=vectors[:OWNED],
        pool_vectors=vectors[OWNED:],
    )


def watched(user: str, works: list[int], **more: Any) -> pd.DataFrame:
    return history(*({"user_id": user, "work_id": work} | more for work in works))


def links(*pairs: tuple[int, int], rank: float = 1) -> pd.DataFrame:
    """ "Recommended from this title" lists: pairs of a title and one on its list."""
    return pd.DataFrame(pairs, columns=["work_id", "recommended_work_id"]).assign(rank=rank)


def suggested(user: str, works: list[int], *, source: str = "trakt", seed: str = "", rank: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"user_id": user, "work_id": works, "source": source, "seed": seed, "rank": rank})


def suggestions_of(given: DiscoveryInputs, config: DiscoveryConfig = IN_ORDER, user: str = "ann") -> pd.DataFrame:
    return prepare_discovery(given, config).for_user(user)


def place(found: pd.DataFrame, work: int) -> int:
    return found["work_id"].tolist().index(work)


# Lists


def test_suggestions_follow_the_taste_and_give_reasons(given):
    found = suggestions_of(given, DiscoveryConfig())
    assert list(found.columns) == list(DISCOVERY_COLUMNS)
    assert [topic_of(work) for work in found["work_id"][:8]] == ["space"] * 8
    assert found["rank"].tolist() == list(range(1, len(found) + 1))
    assert set(found["work_id"]) == set(given.pool["work_id"]), "only titles outside the library"
    for reasons in found["because"][:8]:
        assert 1 <= len(reasons) <= 3 and set(reasons) <= set(SPACE)
    assert found["score"].between(0, 1).all() and found["score"].nunique() > 20
    for name in DISCOVERY_COMPONENTS:
        assert np.isfinite(found[name]).all(), name


def test_without_diversity_a_list_is_sorted_by_score(given):
    assert suggestions_of(given)["score"].is_monotonic_decreasing


def test_near_copies_do_not_fill_a_list(given):
    same = given.pool_vectors.copy()
    space = np.array([topic_of(work) == "space" for work in given.pool["work_id"]])
    same[space] = same[space][0]
    given = replace(given, pool_vectors=same)

    def near_the_top(diversity: float) -> int:
        found = suggestions_of(given, DiscoveryConfig(diversity=diversity))
        return sum(topic_of(work) == "space" for work in found["work_id"][:10])

    assert near_the_top(0.0) == 10 > near_the_top(0.8)


def test_different_people_are_suggested_different_titles(given):
    both = pd.concat([given.histories, watched("bob", LOVE)])
    model = prepare_discovery(replace(given, histories=both), DiscoveryConfig(limit=8))
    assert not set(model.for_user("ann")["work_id"]) & set(model.for_user("bob")["work_id"])


def test_films_and_series_are_ranked_apart_and_both_follow_the_taste(given):
    kinds = ["movie", "series"] * 15
    found = suggestions_of(replace(given, pool=given.pool.assign(media_type=kinds)))
    for media_type in ("movie", "series"):
        own = found[found["media_type"] == media_type]
        assert own["rank"].tolist() == list(range(1, 16))
        assert {topic_of(work) for work in own["work_id"][:5]} == {"space"}


def test_the_limit_is_per_media_type(given):
    kinds = ["movie"] * 20 + ["series"] * 10
    found = suggestions_of(replace(given, pool=given.pool.assign(media_type=kinds)), DiscoveryConfig(limit=4))
    assert found["media_type"].value_counts().to_dict() == {"movie": 4, "series": 4}


def test_titles_take_turns_over_weeks_and_the_best_come_back(given):
    model = prepare_discovery(given, replace(IN_ORDER, limit=5))
    since: dict[int, int] = {}
    tops = []
    for day in range(60):
        listed = {"ann": {work: day - first for work, first in since.items()}}
        top = replace(model, listed_days=listed).for_user("ann")["work_id"].tolist()
        assert len(set(top)) == 5
        since = {work: since.get(work, day) for work in top}
        tops.append(top)
    first = tops[0]
    assert all(top == first for top in tops[:8]), "for a week, nothing changes by itself"
    assert tops[30] != first and len({work for top in tops for work in top}) > 7
    absent = [day for day, top in enumerate(tops) if first[0] != top[0]]
    assert absent and any(top[0] == first[0] for top in tops[absent[0] :]), "the best one comes back"


# Components


def twins(given: DiscoveryInputs, **columns: Any) -> DiscoveryInputs:
    """Two candidates, 200 and 201, that differ in nothing but the given columns; ties would go to 200."""
    pool = pd.DataFrame([{"work_id": 200 + n, "media_type": "movie", "year": 2000, "vote_count": 9} for n in range(2)])
    columns = {"release_date": [pd.Timestamp("2000-05-01")] * 2} | columns
    return replace(given, pool=pool.assign(**columns), pool_vectors=np.zeros((2, 12)))


def crowd() -> Crowd:
    """Twenty people who like films about space and title 201, and twenty who like those about love and title 200."""
    people = [watched(f"s{n}", [*SPACE, 201]) for n in range(20)] + [watched(f"l{n}", [*LOVE, 200]) for n in range(20)]
    return crowd_of(pd.concat(people))


DIFFERENCES = {
    "similarity": lambda given: replace(twins(given), pool_vectors=given.vectors[[1, 0]]),
    "co_watch": lambda given: replace(twins(given), crowd=crowd()),
    "agreement": lambda given: replace(twins(given), suggestions=suggested("ann", [201])),
    "quality": lambda given: twins(given, vote_count=[9, 9_000], vote_average=[6.0, 8.0]),
    "recency": lambda given: twins(given, release_date=[days_ago(3_000), days_ago(30)]),
}


@pytest.mark.parametrize("component", DISCOVERY_COMPONENTS)
def test_each_component_matters_in_proportion_to_its_weight(given, component):
    given = DIFFERENCES[component](given)
    found = suggestions_of(given, IN_ORDER).set_index("work_id")
    assert found.index[0] == 201
    assert found[component][201] == -found[component][200] > 0
    others = [name for name in DISCOVERY_COMPONENTS if name != component]
    assert not found[others].any(axis=None), "nothing else tells the two apart"
    without = replace(IN_ORDER, weights=replace(IN_ORDER.weights, **{component: 0.0}))
    assert suggestions_of(given, without)["work_id"].tolist() == [200, 201]


def test_similarity_compares_names_and_years_too(given):
    for column, values in (
        ("directors", [["director of love"], ["director of space"]]),
        ("genres", [["love"], ["space"]]),
        ("year", [1950, 2000]),
    ):
        found = suggestions_of(twins(given, **{column: values}))
        assert found["work_id"].tolist() == [201, 200], column


def test_a_disliked_title_pushes_away_what_resembles_it_and_what_it_recommends(given):
    disliked = pd.concat([watched("ann", SPACE[:5], rating=9), watched("ann", LOVE[:1], rating=1)])
    given = replace(given, histories=disliked)
    resembling = replace(twins(given), pool_vectors=np.stack([given.vectors[1], given.vectors[2]]))
    assert suggestions_of(resembling)["work_id"].tolist() == [201, 200]
    recommended = replace(twins(given), edges=links((LOVE[0], 200)))
    assert suggestions_of(recommended)["work_id"].tolist() == [201, 200]


def test_agreement_counts_seeds_ranks_and_sources(given):
    def first(**more: Any) -> int:
        return suggestions_of(replace(twins(given), **more))["work_id"][0]

    two = links((SPACE[0], 201), (SPACE[1], 201))
    assert first(edges=pd.concat([links((SPACE[2], 200)), two])) == 201, "two seeds beat one"
    assert first(edges=pd.concat([links((SPACE[0], 200), rank=30), links((SPACE[1], 201))])) == 201, "rank 1 beats 30"
    lists = [suggested("ann", [200, 201]), suggested("ann", [201], source="discover", seed="genre:space")]
    assert first(suggestions=pd.concat(lists)) == 201, "two sources beat one"
    assert first(edges=links((201, SPACE[0]))) == 201, "the candidate's own list counts"
    assert first(edges=pd.concat([links((SPACE[0], 110), (110, 201)), links((LOVE[8], 200))])) == 201, "in two steps"


def test_a_recommendation_counts_once_however_often_it_is_told(given):
    one = replace(twins(given), edges=links((SPACE[0], 200), (SPACE[1], 201)))
    told = suggested("ann", [200], source="recommendations", seed=str(SPACE[0]))
    again = replace(one, edges=pd.concat([one.edges, links((SPACE[0], 200), rank=7)]), suggestions=told)
    pd.testing.assert_frame_equal(suggestions_of(one), suggestions_of(again))


def test_suggestions_of_the_source_recommendations_are_links_from_their_seed(given):
    told = suggested("ann", [201], source="recommendations", seed=str(SPACE[3]))
    found = suggestions_of(replace(twins(given), suggestions=told))
    assert found["work_id"].tolist() == [201, 200]
    assert found["because"][0] == [SPACE[3]]


def test_a_title_on_the_list_of_everything_does_not_lead(given):
    everything = links(*((work, 200) for work in [*SPACE, *LOVE, *(work + 2 for work in SPACE)]))
    given = replace(twins(given), edges=pd.concat([everything, links(*((work, 201) for work in SPACE))]))
    assert suggestions_of(given)["work_id"].tolist() == [201, 200]


def test_other_users_suggestions_are_not_mine(given):
    given = replace(twins(given), suggestions=suggested("bob", [201]))
    assert suggestions_of(given)["work_id"].tolist() == [200, 201]


def test_a_title_without_a_date_is_neither_new_nor_old(given):
    given = twins(given)
    pool = pd.concat([given.pool, given.pool.assign(work_id=[202, 203])], ignore_index=True)
    pool["release_date"] = [days_ago(9_000), pd.NaT, days_ago(9_000), days_ago(10)]
    found = suggestions_of(replace(given, pool=pool, pool_vectors=np.zeros((4, 12))))
    assert found["work_id"].tolist() == [203, 201, 200, 202]


@pytest.mark.parametrize("by", ["vectors", "names"])
def test_films_count_less_for_series_and_series_less_for_films(given, by):
    kinds = np.where(np.arange(OWNED) % 3 == 1, "series", "movie")
    pool = pd.DataFrame(
        {
            "work_id": range(200, 204),
            "media_type": ["movie", "movie", "series", "series"],
            "directors": [[f"director of {topic}"] for topic in ("love", "space", "space", "love")],
        }
    )
    vectors = given.vectors[[1, 0, 0, 1]]
    if by == "vectors":
        pool = pool.drop(columns="directors")
    names = [] if by == "vectors" else ["directors"]
    given = replace(
        given,
        items=given.items.assign(media_type=kinds)[["work_id", "media_type", *names]],
        vectors=given.vectors if by == "vectors" else None,
        pool=pool,
        pool_vectors=vectors if by == "vectors" else None,
        histories=pd.concat([watched("ann", SPACE[:5]), watched("ann", LOVE[:5])]),
    )
    assert suggestions_of(given)["work_id"].tolist() == [201, 200, 203, 202]


def test_who_likes_old_films_gets_no_bonus_for_new_ones(given):
    def weight_of_recency(year: int) -> float:
        model = prepare_discovery(replace(given, items=given.items.assign(year=year)))
        shares = discovery_shares(model.config, 1_000, 0, fondness=float(model.fondness[0]))
        return shares["recency"] / model.config.weights.recency

    assert weight_of_recency(2026) == pytest.approx(2.0, abs=0.02), "they watch what is new"
    assert 0.1 < weight_of_recency(2023) < 1.5
    assert weight_of_recency(1950) == pytest.approx(0.0, abs=0.02)
    dateless = given.histories.assign(last_played_at=pd.NaT)
    assert prepare_discovery(replace(given, histories=dateless)).fondness.tolist() == [0.5]


# Reasons


def test_reasons_are_first_the_titles_that_led_there_then_the_most_similar(given):
    edges = pd.concat([links((SPACE[6], 148)), links((148, SPACE[4]), rank=9), links((LOVE[0], 148))])
    found = suggestions_of(replace(given, edges=edges)).set_index("work_id")["because"]
    assert found[148][:2] == [SPACE[6], SPACE[4]]
    assert len(found[148]) == 3 and set(found[148]) <= set(SPACE)


def test_a_disliked_title_is_no_reason(given):
    disliked = pd.concat([watched("ann", SPACE[1:], rating=9), watched("ann", SPACE[:1], rating=1)])
    found = suggestions_of(replace(given, histories=disliked, edges=links((SPACE[0], 148))))
    assert all(SPACE[0] not in reasons for reasons in found["because"])


def test_an_unwatched_favourite_may_be_suggested_but_not_because_of_itself(given):
    favourite = history({"work_id": 148, "plays": 0, "completion": 0.0, "favorite": True})
    found = suggestions_of(replace(given, histories=pd.concat([given.histories, favourite]), edges=links((148, 151))))
    because = found.set_index("work_id")["because"]
    assert because[151][0] == 148
    assert because[148] and 148 not in because[148]


# Who is known, and what is closed


def test_a_user_without_history_gets_what_is_well_liked(given):
    votes = np.arange(30) * 100.0
    known = replace(given, pool=given.pool.assign(vote_count=votes), users=["ann", "new"])
    model = prepare_discovery(known, IN_ORDER)
    best = sorted(given.pool["work_id"], reverse=True)
    for user in ("new", "nobody knows them"):
        found = model.for_user(user)
        assert found["work_id"].tolist() == best
        assert not found["similarity"].any() and found["because"].tolist() == [[]] * 30


def test_the_taste_weighs_more_the_more_titles_are_known():
    shares = [discovery_shares(DiscoveryConfig(), known, 100) for known in (0, 1, 10, 1_000)]
    for name in ("similarity", "co_watch", "agreement"):
        values = [one[name] for one in shares]
        assert values[0] == 0 and values == sorted(values) and len(set(values)) == 4
    assert len({one["quality"] for one in shares}) == 1
    small, large = (discovery_shares(DiscoveryConfig(), 100, people)["co_watch"] for people in (5, 500))
    assert small < large / 5, "five people say little about a sixth"


def test_nothing_that_is_owned_watched_rated_or_excluded_is_suggested(given):
    elsewhere = history(
        {"work_id": 130},
        {"work_id": 131, "plays": 0, "completion": 0.0, "rating": 8},
        {"work_id": 140, "user_id": "bob"},
    )
    given = replace(given, histories=pd.concat([given.histories, elsewhere]), users=["ann", "bob"])
    mask = np.zeros(31, dtype=bool)
    mask[3] = True
    with_owned = replace(
        given,
        pool=pd.concat([given.items.iloc[[5]], given.pool], ignore_index=True),
        pool_vectors=np.concatenate([given.vectors[[5]], given.pool_vectors]),
        excluded={"ann": mask},
    )
    model = prepare_discovery(with_owned, IN_ORDER)
    assert set(model.for_user("ann")["work_id"]) == set(range(133, 160))
    assert set(model.for_user("bob")["work_id"]) == set(range(130, 160)) - {140}, "what ann dismissed is closed to her"
    bob = prepare_discovery(given, IN_ORDER).for_user("bob")
    pd.testing.assert_frame_equal(bob, model.for_user("bob"))


def test_titles_rated_elsewhere_count_for_the_taste(given):
    rated = watched("ann", [130 + 3 * n for n in range(5)], rating=9, plays=0, completion=0.0)
    found = suggestions_of(replace(given, histories=rated))
    topic = topic_of(130)
    assert [topic_of(work) for work in found["work_id"][:5]] == [topic] * 5


def test_a_user_gets_the_same_list_alone_and_among_others(given):
    everybody = pd.concat([given.histories, *(watched(f"user {n}", LOVE[n:]) for n in range(5))])
    edges = links(*zip(SPACE, range(130, 140), strict=True))
    given = replace(given, histories=everybody, edges=edges)
    alone = prepare_discovery(replace(given, users=["ann"])).for_user("ann")
    pd.testing.assert_frame_equal(alone, prepare_discovery(given).for_user("ann"))


# Odd input


def test_the_order_of_rows_makes_no_difference(given):
    random = np.random.default_rng(3)
    edges = links(*((int(a), int(b)) for a, b in random.integers(100, 160, size=(80, 2))))
    edges = edges.assign(rank=random.integers(1, 41, size=80))
    lists = pd.concat([suggested("ann", list(range(130, 160)), seed=s, source="discover", rank=4) for s in "abc"])
    mask = np.arange(30) == 7
    votes = random.integers(0, 5_000, size=30)
    given = replace(
        given, edges=edges, suggestions=lists, excluded={"ann": mask}, pool=given.pool.assign(vote_count=votes)
    )
    own, pool = random.permutation(30), random.permutation(30)
    shuffled = replace(
        given,
        items=given.items.iloc[own],
        vectors=given.vectors[own],
        pool=given.pool.iloc[pool],
        pool_vectors=given.pool_vectors[pool],
        excluded={"ann": mask[pool]},
        histories=given.histories.sample(frac=1, random_state=1),
        edges=edges.sample(frac=1, random_state=2),
        suggestions=lists.sample(frac=1, random_state=3),
    )
    pd.testing.assert_frame_equal(suggestions_of(given, DiscoveryConfig()), suggestions_of(shuffled, DiscoveryConfig()))


def test_equal_candidates_are_ranked_by_work_id(given):
    found = suggestions_of(twins(given))
    assert found["work_id"].tolist() == [200, 201]
    assert found["score"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("empty", ["pool", "items", "histories", "both tables"])
def test_empty_input_gives_empty_or_general_lists(given, empty):
    nothing = {name: getattr(given, name).iloc[:0] for name in ("pool", "items", "histories")}
    no_vectors = {"pool": {"pool_vectors": np.zeros((0, 12))}, "items": {"vectors": np.zeros((0, 12))}, "histories": {}}
    names = ["pool", "items"] if empty == "both tables" else [empty]
    for name in names:
        given = replace(given, **{name: nothing[name]}, **no_vectors[name])
    found = suggestions_of(replace(given, edges=links().iloc[:0], suggestions=suggested("ann", [])))
    assert list(found.columns) == list(DISCOVERY_COLUMNS)
    assert len(found) == (0 if "pool" in names else 30)


def test_frames_without_columns_are_empty_input(given):
    bare = DiscoveryInputs(
        items=pd.DataFrame({"work_id": []}), pool=given.pool, histories=pd.DataFrame(), as_of=NOW, users=["ann"]
    )
    found = suggestions_of(bare)
    assert len(found) == 30 and found["score"].between(0, 1).all()


def test_missing_values_cost_only_that_value(given):
    nan = float("nan")
    pool = given.pool.astype({"vote_count": float, "year": float})
    for column in ("vote_average", "vote_count", "popularity", "year", "release_date", "genres"):
        pool[column] = pool[column].astype(object)
        pool.loc[:4, column] = None
    vectors = given.pool_vectors.copy()
    vectors[0], vectors[1] = nan, np.inf
    edges = pd.concat([links((SPACE[0], 140), rank=nan), links((SPACE[0], 999), (999, 140))])
    lists = suggested("ann", [141, 999]).assign(rank=[None, 1])
    odd_seed = suggested("ann", [142], source="recommendations", seed="genre:space")
    mask = np.ones(30, dtype=bool)
    mask[2] = False
    given = replace(
        given, pool=pool, pool_vectors=vectors, pool_mask=mask, edges=edges, suggestions=pd.concat([lists, odd_seed])
    )
    found = suggestions_of(given)
    assert set(found["work_id"]) == set(given.pool["work_id"])
    assert np.isfinite(found[["score", *DISCOVERY_COMPONENTS]].to_numpy()).all()


def test_a_pool_without_vectors_is_ranked_by_everything_else(given):
    found = suggestions_of(replace(given, pool_vectors=None))
    assert {topic_of(work) for work in found["work_id"][:5]} == {"space"}
    assert suggestions_of(replace(given, vectors=None, pool_vectors=None))["score"].nunique() > 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"vectors": np.zeros((29, 12))},
        {"pool_vectors": np.zeros((29, 12))},
        {"pool_mask": np.ones(29, dtype=bool)},
        {"excluded": {"ann": np.zeros(29, dtype=bool)}},
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(given, wrong):
    with pytest.raises(ValueError, match="29"):
        prepare_discovery(replace(given, **wrong))


def test_a_title_twice_in_the_pool_is_refused(given):
    with pytest.raises(ValueError, match="twice"):
        prepare_discovery(replace(given, pool=given.pool.assign(work_id=130)))
