"""On real histories the lists are far better than popularity; ``benchmarks`` has the whole measurement."""

from __future__ import annotations

import pytest

from .conftest import PROJECT

DATA = PROJECT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not (DATA / "ratings.csv.gz").exists(), reason=f"no real histories ({DATA.name} beside the project)"
)


@pytest.fixture(scope="module")
def world(benchmark):
    pytest.importorskip("wordllama", reason="the local embedding model is not installed")
    return benchmark.load(DATA)


@pytest.fixture(scope="module")
def by_votes(benchmark, world):
    return benchmark.by_score(world, lambda _: world.votes)


def test_the_baseline_has_its_known_figures(benchmark, world, by_votes):
    votes = benchmark.judge(world, "TMDb votes", by_votes)
    assert votes.users == 388
    assert votes.ndcg == pytest.approx(0.047, abs=0.002) and votes.hit_rate == pytest.approx(0.26, abs=0.01)


def test_held_out_films_are_not_in_the_training_data(world):
    for user, hits in world.hits.items():
        assert not hits & set(world.seen[user].tolist())


def test_lists_beat_popularity_by_far_without_being_more_popular(benchmark, world, by_votes):
    people = sorted(world.seen)
    lists = benchmark.lists_of(world, benchmark.household_model(world, people, world.users))
    ours, votes = benchmark.judge(world, "ours", lists), benchmark.judge(world, "TMDb votes", by_votes)
    assert ours.ndcg >= 2.74 * votes.ndcg, "2.79 is documented; 2.69 without vectors, 2.51 with a co-watch weight of .3"
    assert ours.hit_rate > 1.4 * votes.hit_rate and ours.recall > 1.4 * votes.recall
    assert ours.votes < 0.8 * votes.votes and ours.coverage > 3 * votes.coverage


def test_a_person_alone_gets_better_lists_than_by_popularity(benchmark, world, by_votes):
    alone = [user for user in world.users if user > 200][::4]
    lists = {}
    for user in alone:
        lists |= benchmark.lists_of(world, benchmark.household_model(world, [user], [user]))
    ours, votes = (benchmark.judge(world, "", found, alone) for found in (lists, by_votes))
    assert ours.ndcg >= 1.2 * votes.ndcg
