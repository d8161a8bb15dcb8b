"""The numbers of discovery, compared with results computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.ranking.discovery import (
    DISCOVERY_COMPONENTS,
    DiscoveryConfig,
    DiscoveryInputs,
    DiscoveryWeights,
    discovery_shares,
    prepare_discovery,
)
from aperture_dagster.ranking.signals import standardise

from .conftest import NOW, crowd_of, days_ago, history

YEAR = 365.25
POOL = [11, 12, 13, 14]


@pytest.fixture
def given() -> DiscoveryInputs:
    """Three films in the library, which ann watched, and four in the pool, all alike."""
    return DiscoveryInputs(
        items=pd.DataFrame({"work_id": [1, 2, 3], "media_type": "movie", "year": [2026, 2023, 2000]}),
        pool=pd.DataFrame({"work_id": POOL, "media_type": "movie"}),
        histories=history(*({"work_id": work} for work in (1, 2, 3))),
        as_of=NOW,
    )


def lists(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "work_id", "source", "seed", "rank"])


def test_the_shares_of_the_components():
    found = discovery_shares(DiscoveryConfig(), 18, 31, fondness=0.25)
    taste = 18 / 24
    assert found == pytest.approx(
        {
            "similarity": taste,
            "co_watch": 30 / 120 * 18 / 38,
            "agreement": taste,
            "quality": 0.5,
            "recency": 0.05 * (0.25 + 0.75 * 0.5),
        }
    )
    usual = discovery_shares(DiscoveryConfig(), 18, 0)
    assert usual["recency"] == pytest.approx(0.05) and usual["co_watch"] == 0.0


def test_a_release_counts_half_after_three_years_and_one_to_come_in_full(given):
    dates = [days_ago(3 * YEAR), days_ago(6 * YEAR), days_ago(-YEAR), None]
    model = prepare_discovery(replace(given, pool=given.pool.assign(release_date=dates)))
    known = [0.5, 0.25, 1.0]
    assert model.freshness[3:6] == pytest.approx(known)
    assert model.freshness[[0, 6]] == pytest.approx([np.mean(known)] * 2)
    assert not prepare_discovery(given).freshness.any()


def test_fondness_of_new_releases_is_weighted_by_liking(given):
    histories = history(
        {"work_id": 1, "rating": 10, "last_played_at": pd.Timestamp("2026-02-01", tz="UTC")},
        {"work_id": 2, "last_played_at": pd.Timestamp("2026-02-01", tz="UTC")},
        {"work_id": 3, "rating": 1, "last_played_at": pd.Timestamp("2026-02-01", tz="UTC")},
        {"user_id": "bob", "work_id": 1, "last_played_at": pd.Timestamp("2025-12-01", tz="UTC")},
        {"user_id": "cem", "work_id": 3, "rating": 1},
        {"user_id": "dan", "work_id": 2, "last_played_at": None},
        {"user_id": "eve", "work_id": 2},
    )
    model = prepare_discovery(replace(given, histories=histories, users=["bob", "ann", "cem", "dan", "new"]))
    ann = {1: 1.0, 2: 0.5}
    assert model.fondness == pytest.approx([1.0, (ann[1] * 1.0 + ann[2] * 0.5) / sum(ann.values()), 0.5, 0.5, 0.5])


def test_other_lists_add_up_by_rank_for_their_user_alone(given):
    suggestions = lists(
        ("ann", 11, "trakt", "", 1), ("ann", 11, "discover", "x", 3), ("ann", 12, "discover", "x", None),
        ("ann", 13, "recommendations", "1", 1), ("bob", 14, "trakt", "", 1), ("ann", 99, "trakt", "", 1),
        ("ann", 14, "trakt", "", 0),
    )  # fmt: skip
    model = prepare_discovery(replace(given, suggestions=suggestions))
    assert model.listed[3:, 0] == pytest.approx([1 + 1 / 2, 1 / np.log2(101), 0.0, 1.0])
    # The one of the source "recommendations" is a link from its seed instead.
    assert model.linked[3:, 0] == pytest.approx([0.0, 0.0, 0.5, 0.0])


def test_links_count_directly_and_over_one_title_in_between(given):
    edges = pd.DataFrame({"work_id": [1, 11], "recommended_work_id": [11, 12], "rank": [1, 1]})
    model = prepare_discovery(replace(given, edges=edges))
    root = 2**-0.5
    assert model.linked[3:, 0] == pytest.approx([0.5 * root, 0.0, 0.0, 0.0])
    assert model.linked_twice[3:, 0] == pytest.approx([0.0, 0.5 * root, 0.0, 0.0])


def test_the_score_is_the_logistic_of_the_weighted_components(given):
    edges = pd.DataFrame({"work_id": [1, 11, 2], "recommended_work_id": [11, 12, 13], "rank": [1, 2, 9]})
    pool = given.pool.assign(
        vote_count=[10.0, 1_000.0, 200.0, 50.0], vote_average=[6.0, 7.0, 8.0, 9.0],
        release_date=[days_ago(days) for days in (900, 10, 5_000, 300)], year=[2026, 2020, 2001, 1980],
    )  # fmt: skip
    crowd = crowd_of(history(*({"user_id": f"c{n}", "work_id": work} for n in range(9) for work in (1, 2, 14))))
    config = DiscoveryConfig(
        diversity=0.0, votes=0.7, second_order=1.5, lists=0.3,
        weights=DiscoveryWeights(similarity=0.9, co_watch=30.0, agreement=0.8, quality=0.4, recency=0.6),
    )  # fmt: skip
    suggestions = lists(("ann", 14, "trakt", "", 2))
    full = replace(given, edges=edges, pool=pool, crowd=crowd, suggestions=suggestions)
    model = prepare_discovery(full, config)
    rows = np.array([3, 4, 5, 6])
    priors = model.library.priors
    quality = standardise(standardise(priors.rating[rows]) + 0.7 * standardise(priors.votes[rows]))
    linked, twice = (np.sign(v) * np.sqrt(np.abs(v)) for v in (model.linked[rows, 0], model.linked_twice[rows, 0]))
    agreement = standardise(standardise(linked) + 1.5 * standardise(twice) + 0.3 * standardise(model.listed[rows, 0]))
    co_watch = standardise(np.sign(c := model.people.co_watch[0, rows]) * np.sqrt(np.abs(c)))
    era = standardise(model.library.features.era(np.array([0.5] * 3 + [0.0] * 4), 4.0)[rows])
    parts = {
        "similarity": standardise(era), "co_watch": co_watch, "agreement": agreement, "quality": quality,
        "recency": standardise(model.freshness[rows]),
    }  # fmt: skip
    shares = discovery_shares(config, 3, 10, float(model.fondness[0]))
    blend = sum(shares[name] * parts[name] for name in DISCOVERY_COMPONENTS)
    score = 1 / (1 + np.exp(-blend / np.sqrt(sum(share**2 for share in shares.values()))))
    found = model.for_user("ann").set_index("work_id")
    assert found.loc[POOL, "score"].tolist() == pytest.approx(score.tolist(), abs=1e-5)
    for name in DISCOVERY_COMPONENTS:
        assert found.loc[POOL, name].tolist() == pytest.approx((shares[name] * parts[name]).tolist()), name
        assert found[name].nunique() > 1, f"{name} tells titles apart"


def test_a_title_loses_score_with_each_day_beyond_a_week_up_to_a_limit(given):
    model = prepare_discovery(given, DiscoveryConfig(diversity=0.0))
    found = replace(model, listed_days={"ann": {11: 7, 12: 8, 13: 37, 14: 300}}).for_user("ann")
    assert found[["work_id", "score"]].to_numpy().tolist() == [[11, 0.5], [12, 0.49], [13, 0.2], [14, 0.2]]
    strict = replace(model, config=replace(model.config, most_fatigue=0.9), listed_days={"ann": {12: 300}})
    assert strict.for_user("ann")["score"].tolist() == [0.5, 0.5, 0.5, 0.0], "never below zero"


def test_vectors_of_the_pool_and_the_library_are_put_together_row_by_row(given):
    pool = pd.DataFrame({"work_id": [11, 2, 12], "media_type": "movie"})
    vectors = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    mask = np.array([True, False, True])
    whole = replace(given, pool=pool, vectors=vectors, pool_vectors=vectors[[2, 1, 0]], vector_mask=mask)
    centred = prepare_discovery(whole).library.centred
    assert not centred[1].any() and (centred[0] == centred[4]).all() and (centred[2] == centred[3]).all()
    unmasked = prepare_discovery(replace(whole, vector_mask=None, pool_mask=mask)).library.centred
    assert unmasked[:, :2].any(axis=1).all(), "the masked row of the pool is one that the library has"
    half = prepare_discovery(replace(whole, pool_vectors=None)).library.centred
    assert half.shape == (5, 3) and not half[3:].any() and half[0].any()
    with pytest.raises(ValueError, match="mask"):
        prepare_discovery(replace(whole, vector_mask=mask[:2]))
