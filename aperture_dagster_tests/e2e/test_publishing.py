"""Lists on the media server: the right titles, in the right order, visible to the right users and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.publishing import (
    READS,
    ROOT_ON_SERVER,
    Publishing,
    at_night,
    publishing,
)

pytestmark = pytest.mark.e2e

ANNAS, BENS = "anna's AI Picks - Movies", "ben's AI Picks - Movies"
SHOWS = "anna's AI Picks - TV Series"


def film(number: int, title: str | None = None, **facts: Any) -> WorldTitle:
    given: dict[str, Any] = {"runtime_minutes": 100, "official_rating": "PG", "overview": f"About film {number}."}
    name = title if title is not None else f"Film {number}"
    return WorldTitle(f"movie:{number}", "movie", name, 2000 + number % 20, tmdb_id=1000 + number, **given | facts)


def series(number: int, *episodes: int, **facts: Any) -> WorldTitle:
    given: dict[str, Any] = {"episodes_per_season": episodes, "official_rating": "TV-PG", "overview": "A series."}
    return WorldTitle(
        f"series:{900 + number}", "series", f"Series {number}", 2010, tmdb_id=5000 + number, tvdb_id=7000 + number,
        **given | facts,
    )  # fmt: skip


def home_of(*titles: WorldTitle, users: tuple[str, ...] = ("anna", "ben")) -> World:
    return World("a home", list(titles), users=[WorldUser(name, is_administrator=name == "anna") for name in users])


@contextmanager
def shelf(household: Any, tmp_path: Path, *titles: WorldTitle, **how: Any) -> Iterator[Publishing]:
    """Anna and Ben with eight films and a series, of which Anna gets five and Ben three."""
    world = home_of(*(titles or [*(film(number) for number in range(1, 9)), series(1, 2, 2)]))
    with publishing(household, world, tmp_path, after=READS, **how) as place:
        if not titles:
            place.recommend("anna", "Film 3", "Film 1", "Film 5", "Film 2", "Film 4")
            place.recommend("anna", "Series 1", media_type="series")
            place.recommend("ben", "Film 6", "Film 3", "Film 7")
        yield place


@pytest.mark.parametrize(
    "server", [*at_night("jellyfin@12.0.0", "jellyfin@10.9.11", "jellyfin@10.10.7", "jellyfin@10.11.11"), "emby"]
)
def test_the_right_titles_are_shown_in_order_to_the_right_users(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert place.titles(BENS) == ["Film 6", "Film 3", "Film 7"]
        assert place.titles(SHOWS, "Series") == ["Series 1"]
        assert {name for name in place.views("anna") if "AI Picks" in name} == {ANNAS, SHOWS}
        assert {name for name in place.views("ben") if "AI Picks" in name} == {BENS}
        files = place.files()
        place.state.reset_counters()
        recorded = place.must_publish()
        assert place.changes() == 0
        assert place.files() == files
        assert not any(one.get(name) for one in recorded.values() for name in ("added", "changed", "removed"))


@pytest.mark.parametrize("server", [*at_night("jellyfin@10.11.11"), "emby"])
def test_options_that_somebody_changed_are_put_right_with_the_next_change(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        before = place.libraries()[ANNAS].options
        with place.writer() as writer:
            changed = before | {"EnableRealtimeMonitor": True, "MetadataSavers": ["Nfo"]}
            writer.set_library_options(place.libraries()[ANNAS], changed)
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5")
        place.must_publish()
        assert place.libraries()[ANNAS].options == before


def test_an_empty_list_keeps_the_last_good_one(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.home.rows("DELETE FROM recommendations RETURNING 1")
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("jellyfin@12.0.0", "emby")])
def test_a_play_on_a_published_copy_counts_once_for_the_original(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server, publish_as="symlink") as place:
        place.must_publish()
        place.home.must("sync_watch_history", users=place.home.everyone())
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[ANNAS], "Movie")
        copy = next(item for item in items if item.name == "Film 5")
        place.state.play_item("anna", copy.server_item_id, 1.0, datetime.now(UTC))
        place.home.must("sync_watch_history", users=place.home.everyone())
        plays = place.home.rows(
            "SELECT t.title, p.completion, p.play_count FROM plays p JOIN titles t USING (item_id) "
            "JOIN users u USING (user_id) WHERE u.name = 'anna'"
        )
        assert plays == [{"title": "Film 5", "completion": 1.0, "play_count": 1}]


def test_published_libraries_never_come_back_as_input(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        before = place.home.rows("SELECT item_id, title, removed_at FROM titles ORDER BY item_id")
        for job in ("sync_users", "sync_movies", "sync_series"):
            place.home.must(job)
        assert place.home.rows("SELECT item_id, title, removed_at FROM titles ORDER BY item_id") == before
        versions = place.home.rows("SELECT library_ids FROM users")
        assert ROOT_ON_SERVER not in str(versions)


def test_nothing_happens_while_publishing_is_off(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, publish=False) as place:
        place.state.reset_counters()
        recorded = place.must_publish()
        assert place.changes() == 0 and place.files() == {}
        assert "APERTURE_PUBLISH is off" in str(recorded)


def test_the_next_season_follows_when_one_was_watched_wherever_that_was(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:

        def watch(library: str) -> None:
            """Watch the whole season that a library of series holds first."""
            with place.writer() as writer:
                found = next(one for one in writer.libraries() if one.name == library)
                episodes = [one for one in writer.library_items(found, "Episode") if one.season == seasons()[0]]
            for one in episodes:
                place.state.play_item("anna", one.server_item_id, 1.0, datetime.now(UTC))
            place.home.must("sync_watch_history", users=place.home.everyone())
            place.state.advance(180)
            place.must_publish()

        def seasons() -> list[int | None]:
            with place.writer() as writer:
                found = next(one for one in writer.libraries() if one.name == SHOWS)
                return [one.season for one in writer.library_items(found, "Episode")]

        place.must_publish()
        assert seasons() == [1, 1]
        assert place.raw_items(SHOWS, "Series")["Series 1"]["Overview"] == (
            "This is season 1. All seasons are in TV Shows.\n\nA series."
        )
        watch(SHOWS)
        assert seasons() == [2, 2], "watched on the copies"
        watch("TV Shows")
        assert seasons() == [1, 1], "there is no more"


@pytest.mark.parametrize("server", [*at_night("jellyfin@12.0.0"), "emby"])
def test_a_copy_has_the_pictures_of_its_original(household: Any, tmp_path: Path, server: str):
    kinds: tuple[Any, ...] = ("Backdrop", "Logo", "Thumb")
    films = [film(1, artwork=kinds), film(2, artwork=("Backdrop",)), series(1, 2, 2, artwork=kinds)]
    with shelf(household, tmp_path, *films, server=server) as place:
        place.recommend("anna", "Film 1", "Film 2")
        place.recommend("anna", "Series 1", media_type="series")
        place.state.add_fault(FaultRule(server.partition("@")[0], path_contains="/Images/Logo", status=404))
        place.must_publish()
        place.state.clear_faults()
        place.state.advance(180)
        place.must_publish()
        shown = [(ANNAS, "Movies", "Movie", ["Film 1", "Film 2"]), (SHOWS, "TV Shows", "Series", ["Series 1"])]
        for published, library, item_type, titles in shown:
            for title in titles:
                copy, original = (place.items(one, item_type)[title].server_item_id for one in (published, library))
                with place.writer() as writer:
                    files = writer.original_files([copy, original])
                    assert [one.kind for one in files[copy].artwork] == [one.kind for one in files[original].artwork]
                    assert files[copy].artwork
                    for one in files[copy].artwork:
                        assert writer.picture(copy, one.kind) == writer.picture(original, one.kind) is not None
        files = place.files()
        place.state.reset_counters()
        place.must_publish()
        assert place.changes() == 0 and place.files() == files
        with place.publication() as publication:
            publication.unpublish()
        assert list(place.root.rglob("*")) == []


def test_the_page_of_a_recommended_title_says_why_until_that_means_something_else(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        works = {row["title"]: row["work_id"] for row in place.home.rows("SELECT title, work_id FROM present_titles")}

        def like(*titles: str) -> None:
            place.home.rows(
                "UPDATE recommendations SET because = :because WHERE user_id = :user RETURNING 1",
                because=[works[title] for title in titles],
                user=place.user_id("anna"),
            )
            place.state.advance(180)
            place.must_publish()

        def tagline() -> str:
            copy = place.items(ANNAS)["Film 3"].server_item_id
            return place.state.catalogue.by_id[copy].title.tagline

        like("Film 6", "Film 7", "Film 8")
        assert tagline() == "Because you liked Film 6 and Film 7"
        files = place.files()
        place.state.reset_counters()
        like("Film 8", "Film 7", "Film 6")
        assert place.files() == files and place.changes() == 0
        like("Film 8", "Film 7")
        assert tagline() == "Because you liked Film 8 and Film 7"
        assert place.items(BENS)["Film 3"].name == "Film 3"
