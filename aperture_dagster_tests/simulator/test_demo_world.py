"""The packaged demo world: real facts, original overviews, and users with distinct tastes."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from aperture_dagster.simulator.demo_world import (
    SERIES_ID_BASE,
    load_demo_world,
)
from aperture_dagster.simulator.world import MediaType, World, WorldTitle
from aperture_dagster_tests.conftest import HISTORIES

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return load_demo_world(now=NOW)


@pytest.fixture(scope="module")
def real_facts() -> dict[int, dict]:
    """The facts of real films by TMDb id, those of the demo among them."""
    with gzip.open(HISTORIES / "movies.jsonl.gz", "rt", encoding="utf-8") as lines:
        return {row["tmdbId"]: row for row in map(json.loads, lines) if row["tmdbId"]}


def of_type(titles: list[WorldTitle] | tuple[WorldTitle, ...], media_type: MediaType) -> list[WorldTitle]:
    return [title for title in titles if title.media_type == media_type]


def test_the_demo_has_about_400_films_and_60_series_and_stays_small(world: World) -> None:
    owned = [title for title in world.titles if title.copies]
    films, series = of_type(owned, "movie"), of_type(owned, "series")
    assert 390 <= len(films) <= 440
    assert 55 <= len(series) <= 60
    assert 1_500 <= sum(sum(title.episodes_per_season) for title in series) <= 2_600
    assert all(1 <= len(title.episodes_per_season) <= 8 for title in series)
    assert all(1 <= count <= 13 for title in series for count in title.episodes_per_season)


def test_keys_and_ids_are_unique(world: World) -> None:
    assert len({title.key for title in world.titles}) == len(world.titles)
    for media_type in ("movie", "series"):
        ids = [title.tmdb_id for title in of_type(world.titles, media_type)]
        assert None not in ids
        assert len(set(ids)) == len(ids)
    imdb_ids = [title.imdb_id for title in of_type(world.titles, "movie") if title.imdb_id]
    assert len(set(imdb_ids)) == len(imdb_ids)


def test_series_and_collections_have_no_real_ids(world: World) -> None:
    for title in of_type(world.titles, "series"):
        assert title.tmdb_id is not None and title.tmdb_id > SERIES_ID_BASE
        assert title.tvdb_id is not None and title.tvdb_id > SERIES_ID_BASE
        assert title.imdb_id is None
    collections = {title.collection for title in world.titles if title.collection}
    assert all(number > SERIES_ID_BASE for number, _ in collections)
    assert len({number for number, _ in collections}) == len(collections) == len({name for _, name in collections})


def real_films(world: World) -> list[WorldTitle]:
    return [title for title in of_type(world.titles, "movie") if (title.tmdb_id or 0) < SERIES_ID_BASE]


def test_the_facts_of_every_film_are_the_real_ones(world: World, real_facts: dict[int, dict]) -> None:
    for title in real_films(world):
        row = real_facts[title.tmdb_id or 0]
        assert (title.imdb_id, title.year, title.release_date) == (row["imdbId"], row["year"], row["release_date"])
        assert title.vote_average == row["vote_average"]
        assert [member.name for member in title.cast] == row["cast"]
        assert set(title.keywords) <= {keyword.strip().lower() for keyword in row["keywords"]} | {"film noir"}


def test_no_overview_repeats_the_real_one(world: World, real_facts: dict[int, dict]) -> None:
    def phrases(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[\w']+", text.lower())
        return {tuple(words[start : start + 6]) for start in range(len(words) - 5)}

    for title in real_films(world):
        row = real_facts[title.tmdb_id or 0]
        theirs = phrases(row["overview"] or "") | phrases(row["tagline"] or "")
        assert title.overview != row["overview"]
        assert not phrases(title.overview) & theirs, title.title
        assert not title.tagline


def test_the_world_is_the_same_at_every_hour_of_a_day(world: World) -> None:
    evening = NOW.replace(hour=23, minute=59).astimezone(timezone(timedelta(hours=-7)))
    again = load_demo_world(now=evening)
    assert again.plays == world.plays
    assert again.users == world.users
    assert again.titles == world.titles


def test_on_another_day_only_the_times_have_moved(world: World) -> None:
    later = load_demo_world(now=NOW + timedelta(days=45))
    assert len(later.plays) == len(world.plays)
    for now, then in zip(later.plays, world.plays, strict=True):
        assert now.played_at - then.played_at == timedelta(days=45)
        assert (now.user, now.title_key, now.rating) == (then.user, then.title_key, then.rating)


@pytest.mark.parametrize("clock", [(0, 0), (12, 0), (23, 59)])
def test_no_play_is_in_the_future_or_much_older_than_two_years(clock: tuple[int, int]) -> None:
    now = datetime(2026, 1, 1, *clock, tzinfo=UTC)
    plays = load_demo_world(now=now).plays
    assert plays == sorted(plays, key=lambda play: play.played_at)
    assert plays[-1].played_at <= now
    assert now - plays[-1].played_at < timedelta(days=3)
    assert timedelta(days=700) < now - plays[0].played_at < timedelta(days=740)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        load_demo_world(now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_the_child_only_watches_titles_within_the_parental_limit(world: World) -> None:
    (child,) = [user for user in world.users if user.max_parental_rating is not None]
    titles = {title.key: title for title in world.titles}
    watched = {titles[play.title_key].official_rating for play in world.plays if play.user == child.name}
    assert watched <= {"G", "PG", "TV-Y", "TV-Y7", "TV-G", "TV-PG"}


# What nobody owns


def test_a_few_unowned_titles_should_not_be_suggested_to_everybody(world: World) -> None:
    titles = {title.title: title for title in world.titles if title.copies == 0}
    today = NOW.date().isoformat()
    later = {name for name, title in titles.items() if (title.release_date or "") > today}
    assert later == {"The Long Way to Vega", "The Orchard Line"}
    cinema = titles["Second Curtain"]
    assert today > (cinema.release_date or "") > (NOW - timedelta(days=30)).date().isoformat()
    assert {release.type for release in cinema.releases or ()} == {3}
    assert [name for name, title in titles.items() if title.adult] == ["Velvet Hours"]
    assert {name for name, title in titles.items() if "softcore" in title.keywords} == {"The Lodger's Summer"}
    assert titles["The Salt Road"].official_rating is None
    assert (titles["Small Hours"].vote_count or 0) < 10
    editions = {release.certification for release in titles["The Clockwork Forest"].releases or ()}
    assert editions >= {"PG", "PG-13"}
    assert titles["The Little Lighthouse"].certifications == (("DE", "0"),)


def test_what_is_not_released_yet_never_comes_out(world: World) -> None:
    later = load_demo_world(now=NOW + timedelta(days=400))
    for now, then in zip(world.titles, later.titles, strict=True):
        if (now.release_date or "") > NOW.date().isoformat():
            assert (then.release_date or "") > (NOW + timedelta(days=400)).date().isoformat()
        assert now.key == then.key
