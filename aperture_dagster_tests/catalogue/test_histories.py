"""What reading a history makes of answers that are incomplete, empty, or odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.history.progress import read_mark
from aperture_dagster.catalogue.history.reader import HistoryReader
from aperture_dagster.catalogue.removals import RemovalRefused
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.media_server.records import ItemState, Listing, ServerEpisode
from aperture_dagster.model import Clock
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster_tests.catalogue.viewers import furnish, histories, history_of, marked
from aperture_dagster_tests.shelf import NOW, Shelf, film, played

UNPLAYED: dict[str, Any] = {"played": False, "play_count": 0, "last_played_at": None}


class Server:
    """A media server that lists ``states``, of which ``unreadable`` ones come without content."""

    tells_unmarked = True

    def __init__(self) -> None:
        self.states: list[ItemState] = []
        self.unreadable: list[str] = []
        self.shifts = self.is_empty = False
        self.by_id: dict[str, list[ItemState]] = {}
        self.asked_since: list[Any] = []

    def changed_states(self, user_id: str, since: Any, listing: Listing) -> Iterator[list[ItemState]]:
        self.asked_since.append(since)
        return self._pages(listing)

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        self.asked_since.append(None)
        return self._pages(listing)

    def states_of(self, user_id: str, ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """What is asked for by id was unmarked by its user, unless told, or the server knows nothing at all."""
        unmarked = {one: [played(one, is_episode="show" in one, **UNPLAYED)] for one in ids}
        yield [] if self.is_empty else [state for one in ids for state in (unmarked | self.by_id)[one]]

    def _pages(self, listing: Listing) -> Iterator[list[ItemState]]:
        listing.total = listing.seen = len(self.states)
        listing.shifted = self.shifts
        listing.unreadable_ids += self.unreadable
        listing.problems += [f"{one} makes no sense" for one in self.unreadable]
        yield self.states


@pytest.fixture
def server(shelf: Shelf) -> Server:
    furnish(shelf)
    return Server()


def read(shelf: Shelf, server: Any, *, hours: float = 0, full: bool = False) -> Any:
    reader = HistoryReader(server, shelf.database, Clock(lambda: NOW + timedelta(hours=hours)), record_states)
    with shelf.open() as connection:
        ann = next(user for user in read_users(connection) if user.user_id == "ann")
    return reader.read(ann, full=full)


def watermark(shelf: Shelf) -> Any:
    with shelf.open() as connection:
        return read_mark(connection, "ann").watermark


def test_what_moved_while_it_was_listed_is_looked_for_again(shelf: Shelf, server: Server):
    server.states = [played("film-1")]
    read(shelf, server)
    later = NOW + timedelta(hours=1)
    server.states, server.shifts = [played("film-2", last_played_at=later)], True
    read(shelf, server, hours=2)
    assert watermark(shelf) == NOW, "a play of before that may have been missed"
    server.shifts = False
    read(shelf, server, hours=3)
    assert (server.asked_since[-1], watermark(shelf)) == (NOW, later)


def test_after_a_clock_that_was_ahead_everything_is_compared_and_no_play_is_hidden(shelf: Shelf, server: Server):
    server.states = [played("film-1")]
    read(shelf, server)
    server.states = [played("film-2", last_played_at=NOW + timedelta(hours=20))]
    read(shelf, server, hours=23)
    assert server.asked_since[-1] == NOW
    read(shelf, server, hours=3)
    assert server.asked_since[-1] is None, "plays of now are older than the mark"


def test_a_server_that_suddenly_knows_nothing_of_a_user_is_reported_and_takes_nothing_back(
    shelf: Shelf, server: Server
):
    server.states = [played("film-1"), played("film-2")]
    read(shelf, server)
    server.states, server.is_empty = [], True
    with pytest.raises(RemovalRefused, match="lists 0 items that ann watched"):
        read(shelf, server, hours=25)
    # It is no surprise of somebody who may see no library.
    shelf.do("UPDATE users SET all_libraries = false")
    assert read(shelf, server, hours=25).compared
    assert marked(shelf) == 2


def test_what_cannot_be_read_is_not_gone_and_is_looked_at_again_soon(shelf: Shelf, server: Server):
    server.states = [played("film-1"), played("film-2"), played("film-3")]
    read(shelf, server)
    server.states, server.unreadable = [played("film-1")], ["film-2"]
    found = read(shelf, server, full=True, hours=1)
    assert found.unmarked == 1 and marked(shelf) == 2, "only film-3 lost its mark"
    assert found.problems == ["film-2 makes no sense"]
    server.unreadable = []
    read(shelf, server, hours=24.5)
    assert server.asked_since[-1] is None, "the comparison with a problem does not count as the daily one"


def test_a_published_copy_that_leaves_its_list_is_no_loss_of_history(shelf: Shelf, server: Server):
    publish(shelf, "film-1")
    shelf.history("ann", played("film-1"), played("film-100"), played("copy of film-1"))
    assert shelf.value("SELECT count(*) FROM watch_state") == 3
    assert marked(shelf) == 2


def publish(shelf: Shelf, *originals: str) -> None:
    shelf.do(
        "INSERT INTO item_versions (server_item_id, item_id, primary_item_id, is_published) "
        "SELECT 'copy of ' || server_item_id, nextval('item_id_seq'), item_id, true FROM items "
        "WHERE server_item_id = ANY(:originals)",
        originals=[*originals],
    )


@pytest.mark.parametrize("still_has_it", [False, True])
def test_what_was_unmarked_counts_no_more_unless_the_server_has_a_copy_with_the_mark(
    shelf: Shelf, server: Server, still_has_it: bool
):
    publish(shelf, "film-0", "film-1", "film-2", "film-3", "show-1-1", "show-1-2")
    shelf.do("UPDATE item_versions SET is_published = false WHERE server_item_id = 'copy of film-1'")
    shelf.films(*(film(number) for number in range(5)), film(100, tmdb_id=1), film(200, tmdb_id=4))
    films = [played(one) for one in ("film-1", "film-100", "copy of film-1", "film-2", "film-3", "copy of film-3")]
    films += [played("film-4"), played("film-200")]
    films += [played(one, favorite=True) for one in ("film-2", "copy of film-2", "film-0", "copy of film-0")]
    episodes = [played(one, is_episode=True) for one in ("show-1-1", "copy of show-1-1", "copy of show-1-2")]
    server.states = films + episodes
    read(shelf, server)
    assert len(histories(shelf)) == 6
    shelf.films(*(film(number) for number in range(5)))
    shelf.do("UPDATE titles SET server_item_id = NULL WHERE server_item_id = 'film-200'")
    server.states = [films[3]._replace(play_count=0), played("film-0", favorite=True, **UNPLAYED)]
    for copy in (films[2], episodes[1]):
        server.by_id[copy.server_item_id] = [copy] * still_has_it
    server.by_id |= {"film-100": [], "film-3": [films[4]], **{f"copy of film-{one}": [] for one in (0, 2, 3)}}
    found = read(shelf, server, full=True, hours=1)
    assert found.unmarked == 3
    now = histories(shelf).set_index("work_id")
    watched, favorites = now.plays.to_dict(), [*now.index[now.favorite]]
    assert [watched.pop(one) for one in favorites] == [0] and favorites == [shelf.item("film-0")["work_id"]]
    show = shelf.item("show")["work_id"]
    assert watched.pop(shelf.item("film-2")["work_id"]) == 1
    assert watched.pop(shelf.item("film-3")["work_id"]) == 1
    assert watched.pop(shelf.item("film-4")["work_id"]) == 1, "of a copy whose id is another one's, nobody can know"
    assert watched.pop(show) == 1 + still_has_it, "nobody unmarked the second episode"
    assert len(watched) == still_has_it
    assert shelf.value("SELECT count(*) FROM watch_state WHERE played") == 6 + 2 * still_has_it
    assert shelf.value("SELECT count(*) FROM plays WHERE work_id = :show", show=show) == 2, "the log keeps them"
    # Emby lists what is unmarked among what has changed.
    server.states = [played("film-2", **UNPLAYED)]
    read(shelf, server, hours=2)
    assert server.asked_since[-1] and shelf.item("film-2")["work_id"] not in [*histories(shelf).work_id]


def test_a_quick_look_takes_back_single_favourites_and_likes_and_leaves_the_loss_of_many_to_the_daily_one(
    shelf: Shelf, server: Server
):
    """Where a server lists what is marked, and not what was."""
    server.tells_unmarked = False
    marks: dict[str, Any] = {"favorite": True, "rating": 10}
    server.states = [played(f"film-{one}", **marks) for one in range(5)] + [played("film-100", **marks)]
    read(shelf, server)

    def liked() -> tuple[int, int]:
        return (
            shelf.value("SELECT count(*) FROM watch_state WHERE favorite"),
            shelf.value("SELECT count(*) FROM ratings WHERE rating = 10"),
        )

    assert liked() == (6, 6)
    server.states = [one for one in server.states if one.server_item_id != "film-0"]
    server.by_id["film-0"] = [played("film-0", rating=1)]
    found = read(shelf, server, hours=1)
    assert not found.compared and liked() == (5, 5)
    assert history_of(shelf, "film-0")["rating"] == 1, "a thumb down in place of one up"
    server.states = []
    shelf.films(*(film(number) for number in range(6)), film(100, tmdb_id=1))
    shelf.history("ann", played("film-5", **marks))
    read(shelf, server, hours=2)
    assert liked() == (6, 6), "six of seven that are as new may be a server that has lost its data"
    server.by_id |= {one: [played(one)] for one in ("film-1", "film-2", "film-3", "film-4", "film-5", "film-100")}
    read(shelf, server, hours=3)
    assert liked() == (0, 0), "their plays are still there"


def test_episodes_without_a_season_that_were_watched_together_are_two_viewings(shelf: Shelf):
    furnish(shelf)
    shelf.episodes(
        ServerEpisode("extra-1", "show", "Extra 1", number=1), ServerEpisode("extra-2", "show", "Extra 2", number=1),
        complete=set(),
    )  # fmt: skip
    both = [played(one, is_episode=True) for one in ("extra-1", "extra-2")]
    assert shelf.history("ann", *both).plays == 2
