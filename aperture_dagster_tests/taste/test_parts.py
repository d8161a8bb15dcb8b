"""The order of the parts of a collection."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.recommend import in_order, prepare
from aperture_dagster_tests.taste.conftest import NOW, history

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
