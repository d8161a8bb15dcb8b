"""Titles outside the library are ranked as recommendations are, and only those that may be suggested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.discovery.scoring import FATIGUE, FRESH_DAYS, MOST_FATIGUE, Titles, as_share, inputs_of
from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.recommend import prepare
from aperture_dagster_tests.taste.conftest import NOW, history, topic_of

OWNED = 30
"""The first titles of the fixture are the library, the others are the pool."""
SPACE = [100 + 3 * n for n in range(10)]
IN_ORDER = RankingConfig(diversity=0.0)


@pytest.fixture
def given(library: pd.DataFrame, vectors: np.ndarray) -> dict[str, Any]:
    """Thirty films in the library, thirty in the pool, and ann, who watched all films of the library about space."""
    there = np.ones(OWNED, dtype=bool)
    return {
        "library": Titles(library.iloc[:OWNED], vectors[:OWNED], there),
        "pool": Titles(library.iloc[OWNED:], vectors[OWNED:], there),
        "histories": history(*({"user_id": "ann", "work_id": work} for work in SPACE)),
        "as_of": NOW,
        "closed": {"ann": {}, "new": {}},
        "listed_days": {},
    }


def lists(given: dict[str, Any], user: str = "ann", **more: Any) -> pd.DataFrame:
    return prepare(replace(inputs_of(**given), users=["ann", "new"], **more), IN_ORDER).for_user(user)


def test_suggestions_follow_the_taste_and_say_why(given: dict[str, Any]):
    edges = pd.DataFrame({"work_id": [SPACE[6]], "recommended_work_id": [148], "rank": [1]})
    found = lists(given, edges=edges)
    assert set(found["work_id"]) == set(range(130, 160)), "only titles outside the library"
    assert [topic_of(work) for work in found["work_id"][:8]] == ["space"] * 8
    because = found.set_index("work_id")["because"]
    assert because[148][0] == SPACE[6], "the title whose list led to it"
    assert all(reasons and set(reasons) <= set(SPACE) for reasons in found["because"][:8])


def test_nothing_that_is_owned_watched_rated_or_unsuitable_is_suggested(given: dict[str, Any]):
    elsewhere = history({"user_id": "ann", "work_id": 130}, {"user_id": "ann", "work_id": 131, "plays": 0, "rating": 8})
    pool = given["pool"]
    owned_too = Titles(
        pd.concat([given["library"].table.iloc[[5]], pool.table]),
        np.concatenate([given["library"].vectors[[5]], pool.vectors]),
        np.ones(OWNED + 1, dtype=bool),
    )
    more = {"pool": owned_too, "histories": pd.concat([given["histories"], elsewhere]), "closed": {"ann": {132: "no"}}}
    assert set(lists(given | more)["work_id"]) == set(range(133, 160))


def test_a_user_without_history_gets_what_is_well_known(given: dict[str, Any]):
    pool = given["pool"]
    given["pool"] = replace(pool, table=pool.table.assign(vote_count=np.arange(OWNED) * 100.0))
    assert lists(given, "new")["work_id"].tolist() == list(range(159, 129, -1))


def test_titles_take_turns_over_weeks_and_the_best_come_back(given: dict[str, Any]):
    usual = prepare(replace(inputs_of(**given), users=["ann"]), IN_ORDER)
    best = usual.for_user("ann")["work_id"][0]
    since: dict[int, int] = {}
    tops = []
    for day in range(60):
        given["listed_days"] = {"ann": {work: day - first for work, first in since.items()}}
        top = replace(usual, fatigue=inputs_of(**given).fatigue).for_user("ann")["work_id"][:5].tolist()
        since = {work: since.get(work, day) for work in top}
        tops.append(top)
    assert all(top == tops[0] for top in tops[: FRESH_DAYS + 1]), "for a week, nothing changes by itself"
    absent = [day for day, top in enumerate(tops) if best not in top]
    assert absent and any(best in top for top in tops[absent[0] :]), "the best one comes back"


def test_a_title_loses_score_with_each_day_beyond_a_week_up_to_a_limit(given: dict[str, Any]):
    given["listed_days"] = {"ann": {130: FRESH_DAYS, 131: FRESH_DAYS + 2, 132: 900}}
    lost = inputs_of(**given).fatigue["ann"]
    assert lost[OWNED : OWNED + 4].tolist() == pytest.approx([0.0, 2 * FATIGUE, MOST_FATIGUE, 0.0])


def test_a_score_is_a_share_and_an_average_candidate_has_a_half():
    assert [as_share(score) for score in (-9.0, 0.0, 1.0)] == [0.0001, 0.5, 0.7311]
