"""What members put aside, as playlists of theirs on the media server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.members.choices import Choices, write_choices
from aperture_dagster.members.for_later import put_aside, take_off
from aperture_dagster.publishing.manifest import Manifest
from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.publishing import READS, Publishing, publishing
from aperture_dagster_tests.e2e.reading import read_histories
from aperture_dagster_tests.e2e.test_lists_follow_plays import ADA, Viewers, viewers
from aperture_dagster_tests.e2e.test_published_lists import found, titles
from aperture_dagster_tests.e2e.test_publishing import film, series
from aperture_dagster_tests.killing import Killed, killed_at
from aperture_dagster_tests.marks import at_night

pytestmark = pytest.mark.e2e

__all__ = ["viewers"]
ANNAS, KIMS = "For Later - anna", "For Later - kim"
EARLIER = datetime.now(UTC) - timedelta(days=3)
PLAYLISTS = ("for_later_playlists",)
servers = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "emby")])


class Aside:
    """A household that puts titles aside."""

    def __init__(self, place: Publishing) -> None:
        self.place, self.moment = place, EARLIER

    def _act(self, act: Callable[..., Any], user: str, title: str, *more: Any, **how: Any) -> None:
        work = self.place.home.value("SELECT work_id FROM titles WHERE title = :title", title=title)
        with self.place.home.database.transaction() as connection:
            act(connection, self.place.user_id(user), work, *more, **how)

    def put(self, user: str, *names: str) -> None:
        """Put titles aside, one a minute."""
        for title in names:
            self.moment += timedelta(minutes=1)
            self._act(put_aside, user, title, title, now=self.moment)

    def take(self, user: str, title: str) -> None:
        """Take a title off the page again."""
        self._act(take_off, user, title)

    def publish(self) -> None:
        """Publish in the way the nightly job does."""
        self.place.home.must("sync_libraries", users=self.place.home.everyone(), assets=["for_later_playlists"])

    def there(self, user: str) -> dict[str, list[str]]:
        """The playlists of a user on the server, and what they hold."""
        return {name: titles(self.place, "Playlist", name, user) for name in found(self.place, "Playlist", user)}

    def playlist(self, name: str) -> str:
        """The id of Anna's playlist on the server."""
        with self.place.writer() as writer:
            listed = writer.playlists(self.place.user_id("anna"))
        return next(playlist.list_id for playlist in listed if playlist.name == name)

    def item(self, title: str) -> str:
        """The id of a title on the server."""
        return self.place.home.value("SELECT server_item_id FROM present_titles WHERE title = :title", title=title)


@contextmanager
def house(household: Any, tmp_path: Path, **how: Any) -> Iterator[Aside]:
    """Anna, Ben, and Kim, who may see titles up to the age of ten; film 7 is for adults."""
    works = [film(number) for number in range(1, 7)] + [film(7, official_rating="R"), series(1, 2, 2)]
    users = [WorldUser("anna", is_administrator=True), WorldUser("ben"), WorldUser("kim", max_parental_rating=10)]
    world = World("a home", works, users=users)
    with publishing(household, world, tmp_path, after=READS, publish_lists=PLAYLISTS, **how) as place:
        yield Aside(place)


@servers
def test_each_member_has_what_they_put_aside_as_a_playlist_that_follows_their_page(
    household: Any, tmp_path: Path, server: str
):
    with house(household, tmp_path, server=server) as aside:
        place = aside.place
        with place.writer() as writer:
            # Somebody has a list of this name already.
            writer.create_playlist(ANNAS, place.user_id("anna"), [aside.item("Film 6")])
        theirs, ours = {ANNAS: ["Film 6"]}, f"{ANNAS} (Aperture)"
        aside.put("anna", "Film 1", "Series 1", "Film 7", "Film 2")
        aside.put("kim", "Film 7", "Film 3")
        aside.publish()
        (episode,) = {name for name in aside.there("anna")[ours] if not name.startswith("Film")}
        assert aside.there("anna") == {**theirs, ours: ["Film 2", "Film 7", episode, "Film 1"]}
        members = place.state.lists.members_of(found(place, "Playlist", "anna")[ours])
        assert [member.item.kind for member in members] == ["Movie", "Movie", "Episode", "Movie"], "not all episodes"
        assert aside.there("kim") == {KIMS: ["Film 3"]}, "nothing above her limit"
        assert aside.there("ben") == {}, "nothing put aside, no playlist"
        with place.writer() as writer:
            assert writer.playlists(place.user_id("ben")) == [], "and nobody else's"
        place.state.reset_counters()
        aside.publish()
        assert place.changes() == 0

        # Taken off, watched, hidden, gone from the library, and put there.
        aside.take("anna", "Film 7")
        place.state.play(Play("anna", "movie:2", datetime.now(UTC)))
        read_histories(place.home)
        aside.put("anna", "Film 4")
        aside.publish()
        assert aside.there("anna") == {**theirs, ours: ["Film 4", episode, "Film 1"]}
        place.home.rows("UPDATE titles SET removed_at = now() WHERE title = 'Series 1' RETURNING 1")
        place.home.rows(
            "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
            "SELECT :user, work_id, 'movie', title, now() FROM titles WHERE title = 'Film 1' RETURNING 1",
            user=place.user_id("anna"),
        )
        aside.publish()
        assert aside.there("anna") == {**theirs, ours: ["Film 4"]}

        # An empty list is no playlist, and only ours goes.
        aside.take("anna", "Film 4")
        aside.publish()
        assert aside.there("anna") == theirs and aside.there("kim") == {KIMS: ["Film 3"]}
        place.state.reset_counters()
        aside.publish()
        assert place.changes() == 0


@pytest.mark.nightly(
    reason="A household with published lists of its own.",
    instead="e2e/test_for_later_playlists.py"
    "::test_each_member_has_what_they_put_aside_as_a_playlist_that_follows_their_page",
)
def test_what_a_member_adds_on_the_server_stays_and_what_they_remove_there_returns_with_the_next_change(
    household: Any, tmp_path: Path
):
    with house(household, tmp_path) as aside:
        anna = aside.place.user_id("anna")
        aside.put("anna", "Film 1", "Film 2")
        aside.publish()
        with aside.place.writer() as writer:
            list_id = aside.playlist(ANNAS)
            writer.add_to_playlist(list_id, anna, [aside.item("Film 5")])
            entries = dict((item, entry) for entry, item in writer.playlist_entries(list_id, anna))
            writer.remove_from_playlist(list_id, anna, [entries[aside.item("Film 1")]])
        aside.place.state.reset_counters()
        aside.publish()
        assert aside.there("anna") == {ANNAS: ["Film 2", "Film 5"]} and aside.place.changes() == 0
        aside.put("anna", "Film 3")
        aside.publish()
        assert aside.there("anna") == {ANNAS: ["Film 3", "Film 2", "Film 1", "Film 5"]}
        for title in ("Film 1", "Film 2", "Film 3"):
            aside.take("anna", title)
        aside.publish()
        assert aside.there("anna") == {ANNAS: ["Film 5"]}, "what they added themselves is not ours to delete"
        aside.place.state.reset_counters()
        aside.publish()
        assert aside.place.changes() == 0
        with aside.place.writer() as writer:
            (entry,) = [entry for entry, _ in writer.playlist_entries(list_id, anna)]
            writer.remove_from_playlist(list_id, anna, [entry])
        aside.publish()
        assert aside.there("anna") == {}


@pytest.mark.parametrize("ending", ["choice", "setting", "everything", "user"])
def test_a_playlist_goes_with_its_reason(household: Any, tmp_path: Path, ending: str):
    with house(household, tmp_path) as aside:
        place = aside.place
        aside.put("anna", "Film 1")
        aside.put("kim", "Film 2")
        aside.publish()
        kept = {KIMS: ["Film 2"]}
        if ending == "choice":
            with place.home.database.transaction() as connection:
                write_choices(connection, place.user_id("anna"), Choices(publish=False))
            aside.publish()
        elif ending == "setting":
            place.use(place.home.settings.model_copy(update={"publish_lists": ("recommendation_libraries",)}))
            aside.publish()
            kept = {}
        else:
            with place.publication() as publication:
                publication.unpublish(of=place.user_id("anna") if ending == "user" else None)
            kept = kept if ending == "user" else {}
        assert aside.there("anna") == {} and aside.there("kim") == kept
        assert len(place.home.rows("SELECT 1 FROM published_lists")) == len(kept)


@pytest.mark.nightly(
    reason="A kill at each step.",
    instead="publishing/server/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(household: Any, tmp_path: Path):
    with house(household, tmp_path) as aside:
        place = aside.place
        with place.writer() as writer:
            product = type(writer)
        steps = [
            *((product, name) for name in ("create_playlist", "stamp", "add_to_playlist", "delete_list")),
            (Manifest, "write_list"), (Manifest, "forget_list"),
        ]  # fmt: skip
        step = 0
        while True:
            step += 1
            with killed_at(steps, step) as done:
                try:
                    aside.put("anna", "Film 1", "Film 2")
                    _publish_here(place)
                    aside.put("anna", "Film 3")
                    _publish_here(place)
                    for title in ("Film 1", "Film 2", "Film 3"):
                        aside.take("anna", title)
                    _publish_here(place)
                except Killed:
                    pass
            if len(done) * 2 < step:
                break
            aside.put("anna", "Film 4")
            _publish_here(place)
            expected = [row["title"] for row in place.home.rows("SELECT title FROM for_later ORDER BY added_at DESC")]
            assert aside.there("anna") == {ANNAS: expected}, done[-1]
            place.home.rows("DELETE FROM for_later RETURNING 1")
            _publish_here(place)
            assert aside.there("anna") == {} and place.home.rows("SELECT 1 FROM published_lists") == [], done[-1]
        assert step > 10


def _publish_here(place: Publishing) -> None:
    with place.publication() as publication:
        errors = [one.error for one in publication.publish(["for_later"]).outcomes if one.error is not None]
    assert not errors, errors


@pytest.mark.parametrize(("viewers", "follows"), [({"publish": True}, True), ({}, False)], indirect=["viewers"])
def test_a_change_on_the_page_reaches_the_server_by_the_run_that_follows_members(viewers: Viewers, follows: bool):
    viewers.listen()
    viewers.look()
    user = viewers.home.value("SELECT user_id FROM users WHERE name = :name", name=ADA)
    work = viewers.home.value("SELECT min(work_id) FROM present_titles")
    for act in (
        lambda c: put_aside(c, user, work, "A film", now=viewers.clock.moment),
        lambda c: take_off(c, user, work),
    ):
        with viewers.home.database.transaction() as connection:
            act(connection)
        assert viewers.look().run_requests in (None, []), "they may go on"
        asked = viewers.look().run_requests or []
        assert [request.tags["dagster/asset_partition_range_start"] for request in asked] == [ADA] * follows
        assets = {key.to_user_string() for request in asked for key in request.asset_selection or ()}
        assert ("for_later_playlists" in assets) is follows
