"""On real histories the lists are far better than popularity; the whole measurement is in ``benchmarks``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not (DATA / "ratings.csv.gz").exists(), reason=f"the real histories are not there ({DATA.name} beside the project)"
)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "recommendation_quality", PROJECT / "benchmarks" / "recommendation_quality.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(benchmark):
    pytest.importorskip("wordllama", reason="the local embedding model is not installed")
    return benchmark.load(DATA)


@pytest.fixture(scope="module")
def by_votes(benchmark, world):
    return benchmark.by_score(world, lambda _: world.votes)


def test_the_protocol_is_that_of_the_reference_figures(benchmark, world, by_votes):
    votes = benchmark.judge(world, "TMDb votes", by_votes)
    assert votes.users == 388
    assert votes.ndcg == pytest.approx(0.047, abs=0.002) and votes.hit_rate == pytest.approx(0.26, abs=0.01)


def test_nothing_that_is_held_out_is_known(world):
    for user, hits in world.hits.items():
        assert not hits & set(world.seen[user].tolist())


def test_the_lists_beat_popularity_by_far_without_being_more_popular(benchmark, world, by_votes):
    people = sorted(world.seen)
    lists = benchmark.lists_of(world, benchmark.household_model(world, people, world.users))
    ours, votes = benchmark.judge(world, "ours", lists), benchmark.judge(world, "TMDb votes", by_votes)
    assert ours.ndcg >= 1.4 * votes.ndcg
    assert ours.hit_rate > 1.4 * votes.hit_rate and ours.recall > 1.4 * votes.recall
    assert ours.votes < 0.8 * votes.votes and ours.coverage > 3 * votes.coverage


def test_a_person_alone_is_served_better_than_by_popularity(benchmark, world, by_votes):
    alone = [user for user in world.users if user > 200][::4]
    lists = {}
    for user in alone:
        lists |= benchmark.lists_of(world, benchmark.household_model(world, [user], [user]))
    ours, votes = (benchmark.judge(world, "", found, alone) for found in (lists, by_votes))
    assert ours.ndcg >= 1.2 * votes.ndcg
