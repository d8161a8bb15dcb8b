"""Generated worlds: sizes and reproducibility; and the odd world."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest

from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import FIRST_INVENTED_ID, WorldSize, generate_world, odd_world

SIZE = WorldSize(movies=300, series=20, episodes=777, users=8, plays=2_000)


def test_a_generated_world_has_exactly_the_requested_sizes(now: datetime) -> None:
    world = generate_world(SIZE, seed=1, now=now)
    assert Counter(title.media_type for title in world.titles) == {"movie": 300, "series": 20}
    assert sum(sum(title.episodes_per_season) for title in world.titles) == 777
    assert (len(world.users), len(world.plays)) == (8, 2_000)


def test_only_the_same_seed_gives_the_same_world(now: datetime) -> None:
    assert generate_world(SIZE, seed=1, now=now) == generate_world(SIZE, seed=1, now=now)
    assert generate_world(SIZE, seed=1, now=now) != generate_world(SIZE, seed=2, now=now)


def test_generated_titles_have_no_real_ids(now: datetime) -> None:
    for title in generate_world(SIZE, seed=1, now=now).titles:
        for number in (title.tmdb_id, title.tvdb_id, title.imdb_id and int(title.imdb_id.removeprefix("tt"))):
            assert number is None or number >= FIRST_INVENTED_ID


def test_plays_are_in_chronological_order_and_not_in_the_future(now: datetime) -> None:
    times = [play.played_at for play in generate_world(SIZE, seed=1, now=now).plays]
    assert times == sorted(times)
    assert times[-1] <= now
    assert times[0] >= now - timedelta(days=731)


def test_generated_users_watch_series_in_order_and_prefer_some_genres(now: datetime) -> None:
    world = generate_world(SIZE, seed=1, now=now)
    titles = {title.key: title for title in world.titles}
    first_episodes = [play for play in world.plays if play.season == 1 and play.episode == 1]
    assert len(first_episodes) < len([play for play in world.plays if play.episode]) / 3
    busiest = Counter(play.user for play in world.plays).most_common(1)[0][0]
    genres = Counter(genre for play in world.plays if play.user == busiest for genre in titles[play.title_key].genres)
    assert genres.most_common(1)[0][1] > 2 * sum(genres.values()) / 18


def test_worlds_with_one_media_type_are_possible_and_impossible_ones_are_refused(now: datetime) -> None:
    empty = generate_world(WorldSize(), seed=1, now=now)
    assert (empty.titles, empty.users, empty.plays) == ([], [], [])
    assert generate_world(WorldSize(movies=5, users=1, plays=50), seed=1, now=now).plays
    assert generate_world(WorldSize(series=2, episodes=7, users=1, plays=50), seed=1, now=now).plays
    with pytest.raises(ValueError, match="something to play"):
        WorldSize(series=2, users=1, plays=1)
    with pytest.raises(ValueError, match="must not be negative"):
        WorldSize(movies=-1)


@pytest.fixture
def odd(now: datetime) -> World:
    return odd_world(now)


def test_the_odd_world_has_everything_that_breaks_names_queries_and_pages(odd: World) -> None:
    names = [title.title for title in odd.titles]
    for part in ('"', "'", "/", "\\", "%", "🎬", "فيلم", "\t", "<script>"):
        assert any(part in name for name in names), part
    assert max(map(len, names)) == 500
    assert any(not name.strip() for name in names)
    assert any("\n" in title.overview for title in odd.titles)
    assert any(title.year is None for title in odd.titles)
    assert any(title.tmdb_id is None and title.imdb_id is None for title in odd.titles)
    assert any(title.copies == 2 for title in odd.titles)
    assert any(title.media_type == "series" and not title.episodes_per_season for title in odd.titles)
    twins = [title for title in odd.titles if title.title == "Twins"]
    assert twins[0].year == twins[1].year and twins[0].tmdb_id != twins[1].tmdb_id


def test_the_odd_world_has_users_whose_names_differ_only_in_case(odd: World) -> None:
    names = [user.name for user in odd.users]
    assert {"Casey", "casey", "CASEY"} <= set(names)
    assert max(map(len, names)) == 500
    for part in ('"', "🙂", "م", "/", "\\", " ", "%"):
        assert any(part in name for name in names), part
    assert any(user.is_disabled for user in odd.users) and any(user.is_hidden for user in odd.users)
    assert {user.name for user in odd.users} - {play.user for play in odd.plays} == {"never played"}


def test_no_two_items_of_the_odd_world_share_an_id_or_a_path(odd: World) -> None:
    catalogue = SimulatorState(odd).catalogue
    items = [item for kind in ("Movie", "Series", "Season", "Episode") for item in catalogue.items(kind)]
    assert len({item.id for item in items}) == len(items)
    assert len({item.path for item in items}) == len(items)
    assert all(".." not in item.path.split("/") for item in items)
