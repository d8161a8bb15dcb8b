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
from aperture_dagster_tests.e2e.publishing import READS, ROOT_ON_SERVER, Publishing, publishing
from aperture_dagster_tests.e2e.reading import read_histories
from aperture_dagster_tests.marks import at_night

pytestmark = pytest.mark.e2e

ANNAS, BENS = "anna's AI Picks - Movies", "ben's AI Picks - Movies"
SHOWS = "anna's AI Picks - TV Series"
TITLES = "SELECT item_id, title, removed_at FROM titles ORDER BY item_id"


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
def test_the_right_titles_are_shown_in_order_to_the_right_users_and_stay_right(
    household: Any, tmp_path: Path, server: str
):
    with shelf(household, tmp_path, server=server) as place:
        works = {row["title"]: row["work_id"] for row in place.home.rows("SELECT title, work_id FROM present_titles")}
        place.home.rows(
            "UPDATE recommendations SET because = :because WHERE user_id = :user RETURNING 1",
            because=[works["Film 6"], works["Film 7"]],
            user=place.user_id("anna"),
        )
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert place.titles(BENS) == ["Film 6", "Film 3", "Film 7"]
        assert place.titles(SHOWS, "Series") == ["Series 1"]
        assert {name for name in place.views("anna") if "AI Picks" in name} == {ANNAS, SHOWS}
        assert {name for name in place.views("ben") if "AI Picks" in name} == {BENS}
        catalogue, copy = place.state.catalogue, place.items(ANNAS)["Film 3"].server_item_id
        shown = catalogue.find(copy) or catalogue.at_number(copy)
        assert shown.title.tagline == "Because you liked Film 6 and Film 7"
        files = place.files()
        place.state.reset_counters()
        recorded = place.must_publish()
        assert place.changes() == 0
        assert place.files() == files
        assert not any(one.get(name) for one in recorded.values() for name in ("added", "changed", "removed"))

        # What is published never comes back as input.
        titles = place.home.rows(TITLES)
        for job in READS:
            place.home.must(job)
        assert place.home.rows(TITLES) == titles
        assert ROOT_ON_SERVER not in str(place.home.rows("SELECT library_ids FROM users"))

        # Options that somebody changed are put right with the next change.
        before = place.libraries()[ANNAS].options
        with place.writer() as writer:
            changed = before | {"EnableRealtimeMonitor": True, "MetadataSavers": ["Nfo"]}
            writer.set_library_options(place.libraries()[ANNAS], changed)
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5")
        place.publish_now()
        assert place.libraries()[ANNAS].options == before

        # An empty list keeps the last good one.
        place.home.rows("DELETE FROM recommendations RETURNING 1")
        place.publish_now()
        assert place.titles(ANNAS) == ["Film 8", "Film 5"]


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
            read_histories(place.home)
            place.state.advance(180)
            place.publish_now()

        def seasons() -> list[int | None]:
            with place.writer() as writer:
                found = next(one for one in writer.libraries() if one.name == SHOWS)
                return [one.season for one in writer.library_items(found, "Episode")]

        place.publish_now()
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
        place.publish_now()
        place.state.clear_faults()
        place.state.advance(180)
        place.publish_now()
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
        place.publish_now()
        assert place.changes() == 0 and place.files() == files
        with place.publication() as publication:
            publication.unpublish()
        assert list(place.root.rglob("*")) == []
