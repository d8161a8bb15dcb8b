"""What members mark on the media server counts as soon as a play does, on originals and on published copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.simulator.catalogue import item_number
from aperture_dagster_tests.clients import Client
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, shelf
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.killing import killed_at
from aperture_dagster_tests.marks import ANOTHER_CASE, at_night
from aperture_dagster_tests.sensors.runs import look

pytestmark = pytest.mark.e2e

FAVORITES = """
    SELECT DISTINCT n.title FROM watch_state JOIN work_names n USING (work_id) JOIN users u USING (user_id)
    WHERE u.name = 'anna' AND favorite ORDER BY 1"""


class Evening:
    """Anna with an app in her hand, and the sensor that looks every minute."""

    def __init__(self, place: Publishing, server: str = "jellyfin") -> None:
        self.place, self.is_emby = place, server == "emby"
        self.user = place.state.user_named("anna")
        self.clock, self.cursor = SetClock(datetime.now(UTC)), None
        self.sensor = place.home.definitions.resolve_sensor_def("plays_sensor")
        self._app: Client | None = None

    @property
    def app(self) -> Client:
        if self._app is None:
            self._app = Client(self.place.simulator, "anna", server="emby" if self.is_emby else "jellyfin")
        return self._app

    def prepare(self) -> None:
        """Publish the lists that the product makes."""
        home = self.place.home
        # Without any play, every reading would be a full one.
        self.place.state.play_item("anna", self.original(8).id, 1.0, datetime.now(UTC) - timedelta(days=30))
        home.must("sync_watch_history", users=home.everyone())
        home.must("generate_embeddings")
        home.must("generate_recommendations", users=home.everyone())
        home.must("sync_libraries", users=home.everyone())

    def original(self, number: int) -> Any:
        (item,) = self.place.state.catalogue.top_items(f"movie:{number}")
        return item

    def copy(self, title: str, library: str = ANNAS, item_type: str = "Movie") -> Any:
        catalogue, item_id = self.place.state.catalogue, self.place.items(library, item_type)[title].server_item_id
        return catalogue.find(item_id) or catalogue.at_number(item_id)

    def id_of(self, item: Any) -> str:
        return item_number(item) if self.is_emby else item.id

    def look(self) -> Any:
        """One look of the sensor, a minute later."""
        self.clock.moment += timedelta(minutes=1)
        home = self.place.home
        data = look(self.sensor, home.instance, home.definitions, self.cursor, database=home.database, clock=self.clock)
        self.cursor = data.cursor or self.cursor
        return data

    def follows(self) -> None:
        """One look, and the run that it starts; the next look starts none."""
        (asked,) = self.look().run_requests
        assets = [key.to_user_string() for key in asked.asset_selection]
        users = [asked.tags[RANGE_START_TAG], asked.tags[RANGE_END_TAG]]
        assert users == ["anna", "anna"]
        self.place.home.must("follow_plays", users=users, assets=assets)
        assert not self.look().run_requests, "what is moved from a copy to its original is no news"

    def sync(self) -> None:
        self.place.home.must("sync_watch_history", users=self.place.home.everyone())

    def has(self, item: Any) -> tuple[bool, float | None]:
        """Whether an item is her favourite on the server, and how she rated it there."""
        return self.user.of(item).favorite, self.user.of(item).rating

    def favorites(self) -> list[str]:
        """Her favourites as they count here."""
        return [row["title"] for row in self.place.home.rows(FAVORITES)]

    def ratings(self) -> dict[str, int | None]:
        """Her ratings as they count here, by title."""
        home, user_id = self.place.home, self.place.user_id("anna")
        with home.database.transaction() as connection:
            found = ratings_in_force(connection, user_id)
        titles = {row["work_id"]: row["title"] for row in home.rows("SELECT work_id, title FROM work_names")}
        return {titles[work]: rating.value for work, rating in found.items()}


NOTHING = (False, None)


@pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.11.11")])
def test_a_like_and_a_favourite_count_after_one_look_and_its_run_on_originals_and_on_copies(
    household: Any, tmp_path: Path, server: str
):
    with shelf(household, tmp_path, server=server) as place:
        anna = Evening(place)
        anna.prepare()
        assert not anna.look().run_requests
        app = anna.app
        assert not anna.look().run_requests, "she has come, and has said nothing yet"
        listed = [int(title.removeprefix("Film ")) for title in place.titles(ANNAS)]
        hearted, liked = listed[:2]
        (series,) = place.state.catalogue.top_items("series:901")
        copies = [anna.copy(f"Film {number}") for number in (hearted, liked)]
        shown = anna.copy("Series 1", SHOWS, "Series")
        for copy in (copies[0], shown):
            app.favorite(copy.id)
        app.like(copies[1].id)
        app.favorite(anna.original(8).id)
        app.like(series.id)
        anna.follows()
        # On the server: at the originals, and on the copies no more.
        assert [anna.has(one) for one in (*copies, shown)] == [NOTHING] * 3
        assert anna.has(anna.original(hearted)) == (True, None) and anna.has(anna.original(liked)) == (False, 10.0)
        assert anna.has(anna.original(8)) == (True, None) and anna.has(series) == (True, 10.0)
        # Here.
        assert anna.favorites() == sorted([f"Film {hearted}", "Film 8", "Series 1"])
        assert anna.ratings() == {f"Film {liked}": 10, "Series 1": 10}
        assert f"Film {liked}" not in place.titles(ANNAS), "what she has rated, she has seen"

        # What she takes back, and thinks better of.
        app.favorite(anna.original(8).id, False)
        app.like(anna.original(liked).id, False)
        app.like(series.id, None)
        anna.follows()
        assert anna.favorites() == sorted([f"Film {hearted}", "Series 1"])
        assert anna.ratings() == {f"Film {liked}": 1}

        # By the two-hourly reading, if nobody looks: the mark of somebody whose app was left open.
        app.favorite(anna.original(8).id)
        anna.sync()
        assert "Film 8" in anna.favorites()


@pytest.mark.nightly(
    reason="The same on the other kind of server.",
    instead="e2e/test_likes_and_favourites.py"
    "::test_a_like_and_a_favourite_count_after_one_look_and_its_run_on_originals_and_on_copies",
)
def test_on_emby_a_favourite_counts_after_one_look_and_is_the_originals_too(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, server="emby") as place:
        place.publish_now()
        anna = Evening(place, "emby")
        anna.place.state.play_item("anna", anna.original(8).id, 1.0, datetime.now(UTC) - timedelta(days=30))
        place.home.must("generate_embeddings")
        place.home.must("generate_recommendations", users=place.home.everyone())
        anna.sync()
        anna.look()
        app = anna.app
        anna.look()
        copy, original = anna.copy("Film 3"), anna.original(3)
        app.favorite(anna.id_of(copy))
        app.favorite(anna.id_of(anna.original(8)))
        (asked,) = anna.look().run_requests
        place.home.must("follow_plays", users=["anna", "anna"], assets=["watch_history"])
        assert asked.tags[RANGE_START_TAG] == "anna"
        assert anna.has(original)[0] and anna.favorites() == ["Film 3", "Film 8"]
        app.favorite(anna.id_of(anna.original(8)), False)
        assert anna.look().run_requests
        place.home.must("follow_plays", users=["anna", "anna"], assets=["watch_history"])
        assert anna.favorites() == ["Film 3"]


@pytest.mark.nightly(
    reason="Another write that a kill interrupts.",
    instead="e2e/test_one_watch_state.py::test_a_run_that_is_killed_around_a_write_is_repeated_and_ends_the_same",
)
@pytest.mark.parametrize(
    ("step", "occurrence"), [pytest.param("set_user_data", 1, marks=ANOTHER_CASE), ("set_rating", 1)]
)
def test_a_run_that_is_killed_around_a_mark_is_repeated_and_ends_the_same(
    household: Any, tmp_path: Path, step: str, occurrence: int
):
    """Also where a rating was given elsewhere before, which must not be taken for removed with the one on the copy."""
    with shelf(household, tmp_path) as place:
        place.publish_now()
        anna = Evening(place)
        place.state.play_item("anna", anna.original(8).id, 1.0, datetime.now(UTC) - timedelta(days=30))
        anna.sync()
        work = place.home.value("SELECT work_id FROM titles WHERE title = 'Film 3'")
        with place.home.database.transaction() as connection:
            rate_here(connection, place.user_id("anna"), work, 4, now=datetime.now(UTC))
        copy, original = anna.copy("Film 3"), anna.original(3)
        kept = anna.original(5)
        anna.user.edit(kept).rating = 8.0
        anna.user.edit(anna.copy("Film 5")).favorite = True
        anna.app.like(copy.id)
        anna.app.favorite(copy.id)
        with killed_at([(JellyfinWriter, step)], occurrence):
            assert not place.home.run("sync_watch_history", users=place.home.everyone()).success
        for _ in range(2):
            anna.sync()
            assert anna.has(original) == (True, 10.0) and anna.has(copy) == NOTHING
            assert anna.has(kept) == (True, 8.0), "a copy without a rating takes none away"
            assert anna.ratings()["Film 3"] == 10
            assert anna.favorites() == ["Film 3", "Film 5"]
        changes = place.home.rows("SELECT rating FROM rating_changes ORDER BY change_id")
        assert [row["rating"] for row in changes if row["rating"] in (4, 10)][:2] == [4, 10]
        assert place.home.rows("SELECT 1 FROM ratings WHERE rating IS NULL") == []


def test_a_thumb_down_on_a_copy_that_leaves_is_not_lost(household: Any, tmp_path: Path):
    """No list of the server names it, so it is read with the copy before that goes."""
    with shelf(household, tmp_path) as place:
        place.publish_now()
        anna = Evening(place)
        copy = anna.copy("Film 3")
        anna.app.like(copy.id, False)
        place.state.advance(180)
        place.recommend("anna", "Film 6", "Film 1")
        place.publish_now()
        assert "Film 3" not in place.titles(ANNAS)
        assert anna.has(anna.original(3)) == (False, 1.0) and anna.ratings() == {"Film 3": 1}
