"""Reasons: what each liked title contributes to the score of a recommended one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.lists import reason_of, why_recommended
from aperture_dagster.taste.ranking.config import BlendWeights, RankingConfig, RankingInputs, TasteMix
from aperture_dagster.taste.ranking.histories import as_utc
from aperture_dagster.taste.ranking.recommend import Contributions, RankingModel, contributions, prepare, reasons
from aperture_dagster_tests.taste.conftest import NOW, crowd_of, history, topic_of, watched

NOTHING_ALIKE = TasteMix(description=0, people=0, genres=0, era=0)
BY_OTHERS = RankingConfig(weights=BlendWeights(rating=0, votes=0, trend=0), mix=NOTHING_ALIKE, limit=3)


def model_of(library: pd.DataFrame, vectors: np.ndarray | None, histories: pd.DataFrame, config=None, **more):
    return prepare(
        RankingInputs(items=library, histories=histories, as_of=as_utc(str(NOW)), vectors=vectors, **more), config
    )


def because(model: RankingModel, user: str = "ann") -> dict[int, list[int]]:
    found = model.for_user(user)
    return dict(zip(found["work_id"], found["because"], strict=True))


def test_the_reasons_are_the_titles_whose_removal_lowers_the_score_most(library, vectors):
    """The contributions of a model agree with what happens without a title, for the parts that are no roots of sums."""
    liked = [100, 103, 101, 104, 102]
    weights = BlendWeights(rating=0, votes=0, trend=0)
    config = RankingConfig(weights=weights, mix=replace(NOTHING_ALIKE, description=1.0), limit=20, diversity=0)
    whole = model_of(library, vectors, watched("ann", liked), config)
    for work, named in list(because(whole).items())[:6]:
        kinds = {topic_of(one) for one in named}
        assert kinds == {topic_of(work)}, "one of another topic does not speak for it"
        total = whole.contributions("ann", np.array([work])).total[0]
        rows = whole.contributions("ann", np.array([work])).liked
        found = {int(library["work_id"][row]): value for row, value in zip(rows, total, strict=True)}
        assert found[named[0]] == max(found.values())
        raw = {
            one: float(
                (whole.library.centred[whole.library.index[work]] @ whole.library.centred[whole.library.index[one]])
                ** 3
            )
            for one in liked
        }
        assert sorted(found, key=lambda one: -found[one])[:2] == sorted(raw, key=lambda one: -raw[one])[:2]


def test_contributions_divide_all_that_the_liked_titles_add(library, vectors):
    edges = pd.DataFrame({"work_id": [100, 103], "recommended_work_id": [140, 140], "rank": [1, 2]})
    histories = pd.concat(
        [watched("ann", [100, 101, 103]), watched("bob", [100, 140]), watched("cem", [101, 140, 143])]
    )
    model = model_of(library, vectors, histories, edges=edges)
    found = model.for_user("ann").set_index("work_id").loc[140]
    picked = np.array([40])
    for name in ("co_watch", "recommended_from"):
        lifts = {name: np.array([found[name]])}
        adds = contributions(model.library, model.people, model.links, "ann", picked, lifts)
        assert adds.total.sum() == pytest.approx(found[name]) and found[name] > 0
    similar = model.contributions("ann", np.array([140])).total.sum() - found["co_watch"] - found["recommended_from"]
    assert similar >= max(found["similarity"], 0.0) - 1e-4, "parts below the average are not due to any title"


def test_of_two_titles_that_resemble_it_equally_the_one_that_is_liked_more_contributes_more(library, vectors):
    alike = vectors.copy()
    alike[3] = alike[0]
    liked = pd.concat([watched("ann", [100], rating=10.0), watched("ann", [103], rating=6.0), watched("ann", [106])])
    config = RankingConfig(mix=replace(NOTHING_ALIKE, description=1.0), limit=20)
    model = model_of(library, alike, liked, config)
    titles = model.people.titles["ann"]
    weights = dict(zip(library["work_id"].to_numpy()[titles.rows], titles.weights, strict=True))
    assert weights[100] > 1.5 * weights[103] > 0
    picked = model.for_user("ann")["work_id"].to_numpy()[:3] - 100
    lifts = {"description": np.ones(3)}
    found = contributions(model.library, model.people, model.links, "ann", picked, lifts)
    column = {int(library["work_id"][row]): place for place, row in enumerate(found.liked)}
    description = found.total
    more, less = description[:, column[100]], description[:, column[103]]
    assert more == pytest.approx(less * weights[100] / weights[103]) and more.all()


def test_what_others_watched_together_is_explained_by_the_title_that_they_share(library):
    others = [watched(f"user{n}", [100, 110]) for n in range(20)] + [watched(f"else{n}", [101, 120]) for n in range(20)]
    histories = pd.concat([*others, watched("ann", [100, 101, 102])])
    named = because(model_of(library, None, histories, BY_OTHERS, users=["ann"]))
    assert named[110] == [100] and named[120] == [101]


def test_a_crowd_explains_like_a_household(library):
    crowd = crowd_of(pd.concat([watched(f"user{n}", [100, 110]) for n in range(9)] + [watched("x", [101, 120])]))
    named = because(model_of(library, None, watched("ann", [100, 101, 102]), BY_OTHERS, crowd=crowd))
    assert named[110] == [100]


def test_of_two_titles_that_others_watched_with_it_the_one_that_is_liked_more_contributes_more(library):
    others = [watched(f"else{n}", [115, 116]) for n in range(9)]
    crowd = crowd_of(pd.concat([watched(f"user{n}", [100, 101, 110]) for n in range(9)] + others))
    liked = pd.concat([watched("ann", [100], rating=7.0), watched("ann", [101], rating=10.0), watched("ann", [102])])
    found = model_of(library, None, liked, BY_OTHERS, crowd=crowd).contributions("ann", np.array([110]))
    adds = dict(zip(library["work_id"].to_numpy()[found.liked], found.total[0], strict=True))
    assert adds[101] > 1.2 * adds[100] > 0


def test_lists_of_titles_explain_in_both_directions(library):
    edges = pd.DataFrame({"work_id": [100, 120], "recommended_work_id": [110, 101], "rank": [1, 1]})
    named = because(model_of(library, None, watched("ann", [100, 101, 102]), BY_OTHERS, edges=edges))
    assert named[110] == [100] and named[120] == [101]


def test_a_disliked_title_is_no_reason_even_for_its_like(library, vectors):
    histories = pd.concat([watched("ann", [100, 103, 106], rating=9), watched("ann", [109, 112], rating=1)])
    for named in because(model_of(library, vectors, histories)).values():
        assert not {109, 112} & set(named)


def test_a_cold_list_and_what_no_title_contributes_to_are_widely_liked(library, vectors):
    assert not any(because(model_of(library, vectors, watched("ann", [100, 103]))).values())
    only_votes = RankingConfig(mix=NOTHING_ALIKE, by_facts=False)
    famous = library.assign(vote_count=np.arange(60) * 100.0)
    assert not any(because(model_of(famous, vectors, watched("ann", [100, 103, 106]), only_votes)).values())


def test_a_reason_is_named_with_others_only_if_it_contributes_nearly_as_much():
    found = Contributions(np.array([4, 5, 6, 7, 8]), np.array([[0.5, 0.1, 0.3, 0.2, 0.15]]))
    assert reasons(found, {"a": np.array([2.0])})[0].tolist() == [4, 6, 7], "at most three"
    few = Contributions(np.array([4, 5, 6]), np.array([[0.5, 0.19, 0.2]]))
    assert reasons(few, {"a": np.array([2.0])})[0].tolist() == [4, 6], "each at least 40 % of the first"
    named = [
        reasons(found, {"a": np.array([lift]), "b": np.array([1.0]), "c": np.array([-9.0])})[0].tolist()
        for lift in (5.6, 5.7)
    ]
    assert named == [[4, 6, 7], []], "15 % of all that lifts the title is enough"
    nothing = Contributions(np.array([4]), np.zeros((1, 1)))
    assert reasons(nothing, {"a": np.zeros(1)})[0].tolist() == []


def test_two_titles_in_a_row_do_not_name_the_same_ones():
    liked = np.array([4, 5, 6, 7])

    def named(*adds: list[float]) -> list[list[int]]:
        return [rows.tolist() for rows in reasons(Contributions(liked, np.array(adds)), {"a": np.ones(len(adds))})]

    assert named([0.9, 0.8, 0, 0], [0.9, 0.8, 0, 0], [0.9, 0.8, 0, 0]) == [[4, 5], [4], [4, 5]]
    assert named([0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0.1, 0, 0.9, 0]) == [[4], [4, 5], [6]]
    assert named([0.9, 0, 0, 0], [0.9, 0, 0, 0]) == [[4], [4]], "there is no other reason"


def test_the_wording_says_what_dominates():
    assert why_recommended([]) == "Widely liked"
    assert why_recommended(["Alien"]) == "Because you liked Alien"
    assert (
        why_recommended(["Alien", "Heat", "Up"], together=True) == "People who liked Alien, Heat and Up also liked this"
    )
    row = {"because": ["Alien"], "components": {"similarity": 0.6, "co_watch": 0.4, "recommended_from": 0.3}}
    assert reason_of(row) == "People who liked Alien also liked this"
    row["components"]["similarity"] = 0.8
    assert reason_of(row) == "Because you liked Alien"
    assert reason_of(row | {"because": []}) == "Widely liked"


def test_an_unwatched_favourite_is_a_reason_for_others_and_none_for_itself(library, vectors):
    wished = {"user_id": "ann", "work_id": 100, "favorite": True, "plays": 0, "completion": 0.0, "last_played_at": None}
    histories = pd.concat([watched("ann", [103, 106, 109]), history(wished)])
    model = model_of(library, vectors, histories, RankingConfig(limit=60))
    assert 100 in because(model)
    found = model.contributions("ann", np.array([100, 112]))
    own = library["work_id"].to_numpy()[found.liked] == 100
    assert found.total[0][own].sum() == 0 < found.total[1][own].sum()
