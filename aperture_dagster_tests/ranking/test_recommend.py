"""The lists, and what is promised of them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking.recommend import (
    COLUMNS,
    COMPONENTS,
    BlendWeights,
    RankingConfig,
    RankingInputs,
    blend_shares,
    exclusions,
    library_of,
    prepare,
    recommend,
)
from aperture_dagster.ranking.taste import taste_weights

from .conftest import NOW, days_ago, history, kind_of


def inputs(library: pd.DataFrame, vectors: np.ndarray | None, histories: pd.DataFrame, **more) -> RankingInputs:
    return RankingInputs(items=library, histories=histories, as_of=NOW, vectors=vectors, **more)


def watched(user: str, works: list[int], **more) -> pd.DataFrame:
    return history(*({"user_id": user, "work_id": work} | more for work in works))


SPACE = [100 + 3 * n for n in range(12)]
LOVE = [work + 1 for work in SPACE]


def test_a_taste_leads_to_more_of_it_and_says_why(library, vectors):
    found = recommend(inputs(library, vectors, watched("ann", SPACE)))["ann"]
    assert list(found.columns) == list(COLUMNS)
    assert [kind_of(work) for work in found["work_id"][:8]] == ["space"] * 8
    for reasons in found["because"][:8]:
        assert 1 <= len(reasons) <= 3 and set(reasons) <= set(SPACE)
    assert not found["cold"].any()


def test_different_people_get_different_lists(library, vectors):
    both = pd.concat([watched("ann", SPACE), watched("bob", LOVE)])
    lists = recommend(inputs(library, vectors, both), RankingConfig(limit=8))
    assert not set(lists["ann"]["work_id"]) & set(lists["bob"]["work_id"])


def test_a_low_rating_pushes_similar_titles_down(library, vectors):
    liked = watched("ann", SPACE[:6], rating=9)
    before = prepare(inputs(library, vectors, liked)).for_user("ann").set_index("work_id")["rank"]
    disliked = pd.concat([liked, watched("ann", LOVE[:6], rating=1)])
    after = prepare(inputs(library, vectors, disliked)).for_user("ann").set_index("work_id")["rank"]
    rest = [work for work in before.index if kind_of(work) == "love" and work in after.index]
    others = [work for work in before.index if kind_of(work) == "crime" and work in after.index]
    assert after[rest].mean() - after[others].mean() > before[rest].mean() - before[others].mean() + 5
    assert after[rest].mean() > after[others].mean()


def test_what_was_watched_started_or_rated_is_never_recommended(library, vectors):
    rows = history(
        {"work_id": 100},
        {"work_id": 101, "plays": 0, "completion": 0.06},
        {"work_id": 102, "plays": 0, "completion": 0.0, "rating": 2},
        {"work_id": 103, "plays": 0, "completion": np.nan, "episodes_played": 1, "episodes_total": 9},
        {"work_id": 104, "plays": 0, "completion": 0.01},
        {"work_id": 105, "plays": 0, "completion": 0.0, "favorite": True},
    )
    found = set(recommend(inputs(library, vectors, rows), RankingConfig(limit=100))["ann"]["work_id"])
    assert not found & {100, 101, 102, 103}
    assert {104, 105} <= found


def test_exclusions_by_the_caller_hold(library, vectors):
    mask = np.zeros(60, dtype=bool)
    mask[::2] = True
    found = recommend(inputs(library, vectors, watched("ann", SPACE), excluded={"ann": mask}))["ann"]
    assert not set(found["work_id"]) & set(100 + np.flatnonzero(mask))


def test_lists_are_as_long_as_asked_or_as_candidates_allow(library, vectors):
    histories = watched("ann", SPACE)
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=7))["ann"]) == 7
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=500))["ann"]) == 48
    assert len(recommend(inputs(library, vectors, histories), RankingConfig(limit=40, pool=5))["ann"]) == 40
    everything = watched("ann", list(library["work_id"]))
    assert recommend(inputs(library, vectors, everything))["ann"].empty


def test_ranks_count_from_one_without_repeats_and_components_are_quantiles(library, vectors):
    found = recommend(inputs(library, vectors, watched("ann", SPACE)))["ann"]
    assert found["rank"].tolist() == list(range(1, len(found) + 1))
    assert found["work_id"].is_unique and np.isfinite(found["score"]).all()
    assert ((found[list(COMPONENTS)] >= 0) & (found[list(COMPONENTS)] <= 1)).all(axis=None)


def test_a_cold_user_gets_a_list_led_by_popularity_and_is_told_so(library, vectors):
    famous = library.assign(vote_count=[20_000.0 if n >= 50 else 50.0 for n in range(60)])
    found = recommend(inputs(famous, vectors, watched("bob", SPACE), users=["new"]), RankingConfig(limit=10))["new"]
    assert found["cold"].all() and len(found) == 10
    assert (found["work_id"] >= 150).sum() >= 9
    assert all(reasons == [] for reasons in found["because"])


def test_popularity_leads_until_about_ten_titles_are_known():
    config = RankingConfig()
    for known in range(10):
        for people in (1, 20, 100_000):
            shares = blend_shares(config, known, people)
            personal = sum(shares[name] for name in COMPONENTS if name not in ("rating", "popularity"))
            assert shares["rating"] + shares["popularity"] >= personal - 1e-9
    experienced = blend_shares(config, 200, 400)
    assert experienced["similarity"] > experienced["popularity"]


def test_co_watch_gains_weight_with_the_household_and_with_the_history():
    weights = [blend_shares(RankingConfig(), 100, people)["co_watch"] for people in (1, 2, 5, 20, 50, 200, 400)]
    assert weights[0] == 0.0 and weights == sorted(weights) and weights[2] < 0.1 * weights[-1]
    by_history = [blend_shares(RankingConfig(), known, 200)["co_watch"] for known in (0, 5, 20, 100)]
    assert by_history[0] == 0.0 and by_history == sorted(by_history)


def test_what_others_watched_together_is_recommended(library):
    others = pd.concat([watched(f"user{n}", [100, 101, 110, 111]) for n in range(40)])
    histories = pd.concat([others, watched("ann", [100, 101])])
    config = RankingConfig(weights=BlendWeights(similarity=0, popularity=0, rating=0, novelty=0), limit=2)
    found = recommend(inputs(library, None, histories, users=["ann"]), config)["ann"]
    assert set(found["work_id"]) == {110, 111}


def test_a_crowd_from_outside_helps_who_lives_alone(library):
    crowd = pd.concat([watched(f"user{n}", [100, 101, 110, 111]) for n in range(40)])
    config = RankingConfig(weights=BlendWeights(similarity=0, popularity=0, rating=0, novelty=0), limit=2)
    found = recommend(inputs(library, None, watched("ann", [100, 101]), crowd=crowd), config)
    assert list(found) == ["ann"] and set(found["ann"]["work_id"]) == {110, 111}


def test_titles_recommended_from_what_was_liked_rise(library):
    edges = pd.DataFrame({"work_id": [100, 103], "recommended_work_id": [140, 140], "rank": [1, 2]})
    histories = watched("ann", SPACE)
    plain = prepare(inputs(library, None, histories)).for_user("ann")
    found = prepare(inputs(library, None, histories, edges=edges)).for_user("ann")
    rank = {name: frame.set_index("work_id")["rank"].get(140, 99) for name, frame in (("p", plain), ("f", found))}
    assert rank["f"] == 1 < rank["p"]
    assert found["recommended_from"].iloc[0] == 1.0


def test_films_and_series_have_a_list_each(library, vectors):
    mixed = library.assign(media_type=["series" if n % 2 else "movie" for n in range(60)])
    model = prepare(inputs(mixed, vectors, watched("ann", SPACE)), RankingConfig(limit=5))
    found = model.for_user("ann")
    assert found.groupby("media_type")["rank"].apply(list).to_dict() == {
        k: [1, 2, 3, 4, 5] for k in ("movie", "series")
    }
    assert set(model.for_user("ann", media_type="series")["media_type"]) == {"series"}
    assert model.for_user("ann", media_type="song").empty


def test_kept_weights_are_used_in_the_place_of_computed_ones(library, vectors):
    histories = pd.concat([watched("ann", SPACE), watched("ann", LOVE)])
    kept = taste_weights(histories, as_of=NOW)[["user_id", "work_id", "weight"]]
    kept.loc[kept["work_id"].isin(LOVE), "weight"] *= -1
    found = prepare(inputs(library, vectors, histories, weights=kept), RankingConfig(limit=6)).for_user("ann")
    assert {kind_of(work) for work in found["work_id"]} == {"space"}


def test_a_favourite_that_was_not_watched_is_no_reason_for_itself(library, vectors):
    rows = pd.concat(
        [watched("ann", SPACE[:4]), history({"work_id": 130, "plays": 0, "completion": 0, "favorite": True})]
    )
    found = recommend(inputs(library, vectors, rows))["ann"]
    assert all(work not in reasons for work, reasons in zip(found["work_id"], found["because"], strict=True))


def test_the_same_inputs_in_another_order_give_the_same_lists(library, vectors):
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


def test_a_library_of_one_title_is_a_list_of_one(library, vectors):
    one = library.head(1)
    assert recommend(inputs(one, vectors[:1], watched("ann", [999]), users=["ann"]))["ann"]["work_id"].tolist() == [100]
    assert recommend(inputs(one, vectors[:1], watched("ann", [100])))["ann"].empty


@pytest.mark.filterwarnings("error")
def test_missing_vectors_and_nan_everywhere_still_give_whole_lists(library, vectors):
    bare = library[["work_id"]].assign(**{column: np.nan for column in library.columns if column != "work_id"})
    bare["media_type"] = "movie"
    broken = np.full_like(vectors, np.nan)
    for some in (None, broken, np.zeros_like(vectors)):
        found = recommend(inputs(bare, some, watched("ann", SPACE)))["ann"]
        assert len(found) == 48 and np.isfinite(found["score"]).all()
    masked = recommend(inputs(library, vectors, watched("ann", SPACE), vector_mask=np.arange(60) < 30))["ann"]
    assert len(masked) == 48


def test_only_work_ids_are_needed():
    found = recommend(inputs(pd.DataFrame({"work_id": [1, 2, 3]}), None, watched("ann", [1])))["ann"]
    assert found["work_id"].tolist() == [2, 3]


def test_works_that_left_the_library_do_not_matter(library, vectors):
    with_gone = pd.concat([watched("ann", SPACE), watched("ann", [9001, 9002])])
    one, other = (recommend(inputs(library, vectors, h))["ann"] for h in (watched("ann", SPACE), with_gone))
    assert one["work_id"].tolist() == other["work_id"].tolist()


def test_what_does_not_fit_is_refused(library, vectors):
    with pytest.raises(ValueError, match="vectors for"):
        prepare(inputs(library, vectors[:5], watched("ann", SPACE)))
    with pytest.raises(ValueError, match="exclusions of 'ann'"):
        prepare(inputs(library, vectors, watched("ann", SPACE), excluded={"ann": np.zeros(3, dtype=bool)}))
    with pytest.raises(ValueError, match="twice"):
        prepare(inputs(pd.concat([library, library.head(1)]), None, watched("ann", SPACE)))


def test_a_library_made_before_gives_the_same_lists(library, vectors):
    given = inputs(library, vectors, watched("ann", SPACE))
    ready = prepare(given, library=library_of(library, vectors)).for_user("ann")
    assert ready.equals(prepare(given).for_user("ann"))


def test_diversity_does_not_change_who_is_first(library, vectors):
    model = prepare(inputs(library, vectors, watched("ann", SPACE)))
    first = {replace(model, config=RankingConfig(diversity=d)).for_user("ann")["work_id"][0] for d in (0, 0.1, 0.5)}
    assert len(first) == 1


def test_exclusions_know_history_hiding_libraries_and_parental_limits(library):
    histories = pd.concat([watched("ann", [100]), watched("bob", [101])])
    levels = np.array([18.0] * 10 + [np.nan] * 10 + [6.0] * 40)

    def shut(**more) -> set[int]:
        return set(library["work_id"][exclusions(library, histories, "ann", as_of=NOW, **more)])

    assert shut() == {100}
    assert shut(hidden=[105, 7]) == {100, 105}
    assert shut(visible=range(100, 110)) == {100, *range(110, 160)}
    assert shut(age_ratings=levels, age_limit=12) == set(range(100, 110))
    assert shut(age_ratings=levels, age_limit=12, block_unrated=True) == set(range(100, 120))
    assert not exclusions(library, pd.DataFrame(), "ann", as_of=NOW).any()
    with pytest.raises(ValueError, match="age_ratings"):
        shut(age_ratings=levels[:3], age_limit=12)


def test_a_large_library_is_ranked_for_many_users_in_seconds():
    random = np.random.default_rng(0)
    n, users = 20_000, 20
    items = pd.DataFrame(
        {"work_id": np.arange(n), "vote_count": random.pareto(1, n), "year": random.integers(1950, 2024, n)}
    )
    vectors = random.normal(size=(n, 64)).astype(np.float32)
    histories = pd.concat(
        [
            pd.DataFrame(
                {"user_id": user, "work_id": random.choice(n, 200, replace=False), "last_played_at": days_ago(1)}
            )
            for user in range(users)
        ]
    )
    start = time.perf_counter()
    lists = recommend(inputs(items, vectors, histories))
    assert len(lists) == users and time.perf_counter() - start < 15
