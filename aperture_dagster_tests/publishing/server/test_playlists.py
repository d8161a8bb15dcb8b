"""Collections and playlists on the media server: in rank order, with what others added, and nothing else touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.publishing.placed import PlacedList
from aperture_dagster.publishing.server.playlists import DesiredList, ListKind, kept_items, marker_of, target_items
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.publishing.place import Place, a_place

SERVERS = ["10.10.7", "12.0.0", "emby"]
KINDS: list[ListKind] = ["collection", "playlist"]


class Lists:
    """Lists of one kind, by titles."""

    def __init__(self, place: Place, kind: ListKind) -> None:
        self.place, self.kind = place, kind
        self.owner = "" if kind == "collection" else place.user("bo")
        self.names = {item.server_item_id: name for name, item in place.items.items()}

    def wanted(self, *titles: str, name: str = "Picks", key: str = "top_picks/movie") -> DesiredList:
        ids = tuple(self.place.items[title].server_item_id for title in titles)
        return DesiredList(key, self.kind, self.owner, name, ids)

    def publish(self, *wanted: DesiredList, errors: bool = False, **how: Any) -> list[Any]:
        outcomes = self.place.lists(*wanted, **how)
        for outcome in outcomes:
            if outcome.error is not None and not errors:
                raise outcome.error
        return outcomes

    def there(self) -> dict[str, list[str]]:
        """All lists of the server of this kind: their titles by name."""
        writer = self.place.writer
        if self.kind == "collection":
            found = {one.name: writer.collection_items(one.list_id) for one in writer.collections()}
            found.pop("Parts Collection", None)
        else:
            found = {
                one.name: [item for _, item in writer.playlist_entries(one.list_id, self.owner)]
                for one in writer.playlists(self.owner)
            }
        return {name: [self.names[item] for item in items] for name, items in found.items()}

    def list_id(self, name: str = "Picks") -> str:
        writer = self.place.writer
        listed = writer.collections() if self.kind == "collection" else writer.playlists(self.owner)
        return next(one.list_id for one in listed if one.name == name)

    def add(self, *titles: str, name: str = "Picks") -> None:
        """Add titles, as somebody at a client does."""
        ids = [self.place.items[title].server_item_id for title in titles]
        if self.kind == "collection":
            self.place.writer.add_to_collection(self.list_id(name), ids)
        else:
            self.place.writer.add_to_playlist(self.list_id(name), self.owner, ids)

    def somebody_makes(self, name: str, *titles: str) -> None:
        """Create a list that is not ours."""
        ids = [self.place.items[title].server_item_id for title in titles]
        if self.kind == "collection":
            self.place.writer.create_collection(name, ids)
        else:
            self.place.writer.create_playlist(name, self.owner, ids)

    def remove(self, title: str) -> None:
        """Remove a title from the server, which is not yet known."""
        self.place.state.remove_title(next(key for key, one in self.place.state.titles.items() if one.title == title))

    def begin(self, wanted: DesiredList) -> None:
        """Remember a list as a run does before it creates it."""
        with self.place.manifest.exclusively():
            self.place.manifest.write_list(
                PlacedList(wanted.list_key, wanted.kind, wanted.user_id, wanted.name, None, wanted.items)
            )

    def order(self, titles: Sequence[str]) -> Sequence[str]:
        """Titles in their order where the server keeps one, else sorted."""
        keeps = self.kind == "playlist" or self.place.writer.keeps_collection_order
        return list(titles) if keeps and self.place.writer.lists_collections_in_order else sorted(titles)

    def shown(self, name: str = "Picks") -> Sequence[str]:
        return self.order(self.there()[name])


@pytest.fixture(params=[(server, kind) for server in SERVERS for kind in KINDS], ids="-".join)
def lists(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lists]:
    server, kind = request.param
    with a_place(tmp_path, server) as place:
        yield Lists(place, kind)


@pytest.fixture(params=KINDS)
def modern(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lists]:
    """Lists on a server that keeps the order of collections."""
    with a_place(tmp_path) as place:
        yield Lists(place, request.param)


def test_a_list_is_created_changed_left_alone_when_nothing_changed_and_deleted_when_retired(lists: Lists):
    (outcome,) = lists.publish(lists.wanted("Part Two", "Alone", "Merged"))
    assert (outcome.added, outcome.removed, outcome.changed, outcome.created) == (3, 0, 0, True)
    assert (outcome.kind, outcome.entries, outcome.name) == (lists.kind, 3, "Picks")
    assert outcome.user_id == (lists.owner or None)
    assert lists.shown() == lists.order(["Part Two", "Alone", "Merged"])
    (placed,) = lists.place.manifest.lists()
    assert (placed.server_list_id, placed.changed, placed.name) == (lists.list_id(), 3, "Picks")
    writes, noted = lists.place.writes(), len(lists.place.manifest.writes)
    (outcome,) = lists.publish(lists.wanted("Part Two", "Alone", "Merged"))
    assert (outcome.changes, outcome.created) == (0, False) and lists.place.writes() == writes
    assert lists.place.manifest.lists()[0].changed == 0 and len(lists.place.manifest.writes) == noted + 1
    lists.publish(lists.wanted("Part Two", "Alone", "Merged"))
    assert len(lists.place.manifest.writes) == noted + 1
    (outcome,) = lists.publish(lists.wanted("Part Two", "Two Files", "Merged"))
    assert (outcome.added, outcome.removed) == (1, 1)
    assert lists.shown() == lists.order(["Part Two", "Two Files", "Merged"])
    (placed,) = lists.place.manifest.lists()
    assert placed.server_list_id == lists.list_id() and placed.changed == 2
    lists.publish(lists.wanted("Merged", name="Others", key="top_picks/series"))
    (outcome,) = lists.publish(retired=[placed])
    assert (outcome.retired, outcome.removed, outcome.name) == (True, 3, "Picks")
    assert lists.there().keys() == {"Others"} and [one.name for one in lists.place.manifest.lists()] == ["Others"]
    assert "Parts Collection" in [one.name for one in lists.place.writer.collections()], "it is somebody else's"


def test_what_somebody_added_stays_after_ours(lists: Lists):
    lists.publish(lists.wanted("Alone", "Merged"))
    lists.add("Two Files")
    lists.publish(lists.wanted("Part One", "Alone"))
    assert lists.shown() == lists.order(["Part One", "Alone", "Two Files"])
    # It is theirs even while we want it as well.
    lists.publish(lists.wanted("Two Files", "Alone"))
    assert lists.shown() == lists.order(["Two Files", "Alone"])
    lists.publish(lists.wanted("Alone"))
    assert lists.shown() == lists.order(["Alone", "Two Files"])
    assert set(lists.place.manifest.lists()[0].others) == {lists.place.items["Two Files"].server_item_id}


def test_only_what_an_interrupted_run_made_is_taken_over_and_no_list_of_that_name_that_somebody_made(modern: Lists):
    modern.somebody_makes("picks", "Two Files")
    modern.publish(modern.wanted("Alone", "Merged"))
    assert modern.there() == {"picks": ["Two Files"], "Picks (Aperture)": ["Alone", "Merged"]}
    modern.publish(retired=modern.place.manifest.lists())
    assert modern.there() == {"picks": ["Two Files"]}
    # A run ended between the creation and the stamp; or before the creation, and somebody made one of that name.
    wanted = modern.wanted("Alone", "Merged", name="Tonight")
    modern.begin(wanted)
    modern.somebody_makes("Tonight", "Alone", "Merged")
    (outcome,) = modern.publish(wanted)
    assert not outcome.created and modern.there()["Tonight"] == ["Alone", "Merged"]
    assert modern.place.manifest.lists()[0].server_list_id == modern.list_id("Tonight")
    wanted = modern.wanted("Alone", "Merged", key="top_picks/series")
    modern.begin(wanted)
    modern.publish(wanted)
    assert modern.there() == {
        "picks": ["Two Files"], "Tonight": ["Alone", "Merged"], "Picks (Aperture)": ["Alone", "Merged"],
    }  # fmt: skip


def test_a_renamed_list_is_a_new_one_with_what_others_added_and_a_stamped_one_is_theirs(modern: Lists):
    modern.publish(modern.wanted("Alone", "Merged"))
    modern.add("Two Files")
    (outcome,) = modern.publish(modern.wanted("Merged", "Alone", name="Tonight"))
    assert outcome.created and modern.there() == {"Tonight": ["Merged", "Alone", "Two Files"]}
    assert [one.name for one in modern.place.manifest.lists()] == ["Tonight"]
    modern.publish(modern.wanted("Merged", name="Tonight"))
    assert modern.there() == {"Tonight": ["Merged", "Two Files"]}
    # Although it has our id.
    modern.place.writer.stamp(modern.list_id("Tonight"), "somebody else's", user_id=modern.owner or None)
    before = modern.there()
    (outcome,) = modern.publish(modern.wanted("Merged", name="Tonight"))
    assert outcome.created and modern.there() == before | {"Tonight (Aperture)": ["Merged"]}


def test_a_failure_costs_only_its_own_list(modern: Lists):
    first, second = modern.wanted("Alone"), modern.wanted("Merged", name="Others", key="top_picks/series")
    path = "/Collections" if modern.kind == "collection" else "/Playlists"
    modern.place.state.add_fault(FaultRule("jellyfin", path_contains=path, status=400, times=1))
    one, other = modern.publish(first, second, errors=True)
    assert one.error is not None and other.error is None
    assert modern.there() == {"Others": ["Merged"]}
    modern.publish(first, second)
    assert modern.there() == {"Others": ["Merged"], "Picks": ["Alone"]}


def test_a_title_that_left_the_server_costs_a_list_only_itself(lists: Lists):
    wanted = lists.wanted("Alone", "Merged", "Part One", "Two Files")
    lists.remove("Merged")
    (outcome,) = lists.publish(wanted)
    there = ["Alone", "Part One", "Two Files"]
    assert lists.shown() == lists.order(there)
    # The same for a list that is there already, and again on each run before the catalogue is read.
    lists.remove("Alone")
    lists.publish(wanted)
    assert lists.shown() == lists.order(there[1:])
    lists.publish(lists.wanted("Part One", "Two Files"))
    assert lists.shown() == lists.order(there[1:]) and len(lists.there()) == 1
    if lists.kind == "collection" and lists.place.server != "emby":
        assert len(outcome.skipped) == 1 and outcome.entries == 3
    wanted = lists.wanted("Part Two", name="Others", key="top_picks/series")
    lists.remove("Part Two")
    lists.publish(wanted)
    assert lists.there().get("Others", []) == [], "the server has nothing of it"


def test_a_plan_of_lists_writes_nothing(modern: Lists):
    modern.publish(modern.wanted("Alone", "Merged"))
    before, writes, noted = modern.there(), modern.place.writes(), list(modern.place.manifest.writes)
    outcomes = modern.publish(
        modern.wanted("Merged", "Part One"), modern.wanted("Alone", name="New", key="top_picks/series"),
        retired=modern.place.manifest.lists(), dry_run=True,
    )  # fmt: skip
    assert [one.removed for one in outcomes] == [2, 1, 0] and outcomes[1].added == 1
    assert (modern.there(), modern.place.writes(), modern.place.manifest.writes) == (before, writes, noted)


def test_the_playlist_of_a_user_who_was_deleted_is_forgotten(tmp_path: Path):
    with a_place(tmp_path) as place:
        lists = Lists(place, "playlist")
        lists.publish(lists.wanted("Alone"))
        (placed,) = place.manifest.lists()
        gone = replace(placed, user_id="0" * 32)
        with place.manifest.exclusively():
            place.manifest.write_list(gone)
        (outcome,) = lists.publish(retired=[gone])
        assert outcome.error is None and place.manifest.lists() == [placed] and lists.there() == {"Picks": ["Alone"]}


def test_every_list_has_a_stamp_of_its_own_that_stays_the_same_over_releases():
    stamps = {marker_of(key, kind, user) for key in ("a/b", "a") for kind in KINDS for user in ("", "b", "c")}
    assert len(stamps) == 12
    assert marker_of("top_picks/movie", "collection", "") == "6ee420af02069c51"


@pytest.mark.parametrize(
    ("current", "target", "kept"),
    [
        ("abc", "abc", 3), ("abc", "abd", 2), ("xabc", "abc", 3), ("bac", "abc", 1), ("", "abc", 0), ("abca", "abc", 0),
        ("abc", "", 0), ("acb", "abc", 2),
    ],
)  # fmt: skip
def test_only_the_beginning_of_a_list_can_stay(current: str, target: str, kept: int):
    assert kept_items(current, target) == kept


def test_ours_come_first_and_nothing_is_there_twice():
    assert target_items(["b", "a"], ["c", "a", "d"]) == ["b", "a", "c", "d"]


# What its owner may not see


@pytest.fixture(params=SERVERS)
def playlists(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lists]:
    with a_place(tmp_path, request.param) as place:
        yield Lists(place, "playlist")


def rate(lists: Lists, title: str, official_rating: str) -> None:
    """Give a title of the server an official rating."""
    known = next(one for one in lists.place.state.titles.values() if one.title == title)
    lists.place.state.add_title(replace(known, official_rating=official_rating))


def test_a_playlist_holds_only_what_its_owner_may_see(playlists: Lists):
    """The server drops the rest and says nothing, so every run would delete and add it again."""
    wanted, emby = playlists.wanted("Part Two", "Alone", "Merged"), playlists.place.server == "emby"
    rate(playlists, "Alone", "R")
    playlists.place.state.change_user("bo", max_parental_rating=12)
    for _ in range(2):
        (outcome,) = playlists.publish(playlists.wanted("Alone"))
        assert "may not see" in str(outcome.skipped)
    assert playlists.there() == {} and playlists.place.writes() == {}, "there would be nothing in it"
    (outcome,) = playlists.publish(wanted)
    assert (outcome.added, outcome.entries, playlists.there()["Picks"]) == (2, 2, ["Part Two", "Merged"])
    assert "1 title that its owner may not see" in str(outcome.skipped)
    writes = playlists.place.writes()
    for _ in range(2):
        (outcome,) = playlists.publish(wanted)
        assert outcome.changes == 0 and playlists.place.writes() == writes
        assert "may not see" in str(outcome.skipped)
    # The limit is lifted, and comes back.
    playlists.place.state.change_user("bo", max_parental_rating=None)
    playlists.publish(wanted)
    assert playlists.there()["Picks"] == ["Part Two", "Alone", "Merged"]
    playlists.place.state.change_user("bo", max_parental_rating=12)
    writes = playlists.place.writes()
    for _ in range(2):
        playlists.publish(wanted)
        # Emby goes on to list it, where it cannot be played.
        assert playlists.there()["Picks"] == ["Part Two", *(["Alone"] if emby else []), "Merged"]
        assert playlists.place.writes() == writes


def test_what_is_dropped_from_a_playlist_returns_with_the_next_change_of_the_list(tmp_path: Path):
    """By its owner, or by a server for reasons of its own."""
    with a_place(tmp_path, "12.0.0") as place:
        lists = Lists(place, "playlist")
        wanted = lists.wanted("Part Two", "Alone", "Merged")
        lists.publish(wanted)
        place.writer.remove_from_playlist(lists.list_id(), lists.owner, [place.items["Alone"].server_item_id])
        writes = place.writes()
        for _ in range(2):
            (outcome,) = lists.publish(wanted)
            assert outcome.changes == 0 and place.writes() == writes
        assert lists.there()["Picks"] == ["Part Two", "Merged"]
        lists.publish(lists.wanted("Part Two", "Alone", "Two Files"))
        assert lists.there()["Picks"] == ["Part Two", "Alone", "Two Files"]
