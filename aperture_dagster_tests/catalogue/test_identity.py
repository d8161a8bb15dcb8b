"""Matching of incoming items to known titles, and of titles to works."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest

from aperture_dagster.catalogue.identity import Assignment, Identities, Incoming, Known, ProviderIds, assign_identities


class Shelf:
    """A catalogue in memory: the result of a sync is the input of the next one."""

    def __init__(self) -> None:
        self.known: dict[int, Known] = {}
        self.works: dict[int, ProviderIds] = {}
        self._items, self._works = itertools.count(1), itertools.count(101)

    def sync(self, *incoming: Incoming) -> dict[str, Assignment]:
        self.last: Identities = assign_identities(
            incoming,
            self.known.values(),
            self.works,
            new_item_id=lambda: next(self._items),
            new_work_id=lambda: next(self._works),
        )
        self.works |= self.last.works
        by_id = {item.server_item_id: item for item in incoming}
        for one in self.last.assignments:
            item = by_id[one.server_item_id]
            self.known[one.item_id] = Known(
                one.item_id, one.work_id, item.server_item_id, item.ids, item.path, title=item.title
            )
        return {one.server_item_id: one for one in self.last.assignments}

    def settle(self, *incoming: Incoming) -> dict[str, Assignment]:
        """Sync the same listing twice; the second time must give the same result and change nothing."""
        first = self.sync(*incoming)
        assert self.sync(*incoming) == first
        assert not self.last.works
        return first


def film(server_id: str, *, tmdb: int | None = None, imdb: str | None = None, path: str | None = None) -> Incoming:
    return Incoming(server_id, ProviderIds(tmdb, imdb), path)


def test_new_items_are_numbered_in_the_order_of_the_listing_and_keep_their_numbers():
    ids = Shelf().settle(film("z"), film("y", tmdb=1), film("x", tmdb=2, imdb="tt2"), film("w", imdb="tt3", path="/w"))
    assert [ids[name].item_id for name in "zyxw"] == [1, 2, 3, 4]
    assert len({one.work_id for one in ids.values()}) == 4


@pytest.mark.parametrize(
    "ids", [ProviderIds(tmdb_id=603), ProviderIds(imdb_id="tt0133093"), ProviderIds(tvdb_id=7), ProviderIds(603, "tt1")]
)
def test_a_title_with_a_new_server_id_is_recognised_by_its_provider_ids(ids: ProviderIds):
    shelf = Shelf()
    before = shelf.sync(Incoming("old", ids, "/old.mkv"))["old"]
    after = shelf.sync(Incoming("new", ids, "/moved.mkv"))["new"]
    assert (after.item_id, after.work_id) == (before.item_id, before.work_id)
    assert shelf.last.recognised == 1


def test_a_title_without_ids_is_recognised_by_its_path():
    shelf = Shelf()
    before = shelf.sync(film("old", path="/films/Home Video.mkv"))["old"]
    after = shelf.sync(film("new", path="/films/Home Video.mkv"))["new"]
    assert (after.item_id, after.work_id) == (before.item_id, before.work_id)


def test_a_different_film_at_the_path_of_an_old_one_is_a_new_title():
    shelf = Shelf()
    before = shelf.sync(film("old", tmdb=1, path="/film.mkv"))["old"]
    after = shelf.sync(film("new", tmdb=2, path="/film.mkv"))["new"]
    assert after.item_id != before.item_id
    assert after.work_id != before.work_id


def test_titles_with_the_same_name_are_not_merged():
    shelf = Shelf()
    before = shelf.sync(replace(film("old"), title="Alien"))["old"]
    assert shelf.sync(replace(film("new"), title="Alien"))["new"].work_id != before.work_id


@pytest.mark.parametrize(
    "item",
    [film("a", tmdb=2, path="/b"), replace(film("a", path="/b"), title="Another"), film("a", tmdb=2, imdb="tt1")],
    ids=["other ids", "another name, no ids", "another most trusted id"],
)
def test_a_reused_server_id_is_a_new_title(item: Incoming):
    """Otherwise the history of the old title would move to the new one."""
    shelf = Shelf()
    known = replace(film("a", path="/a"), title="One") if item.title else film("a", tmdb=1, imdb="tt1", path="/a")
    before = shelf.sync(known)["a"]
    after = shelf.sync(item)["a"]
    assert after.item_id != before.item_id
    assert after.work_id != before.work_id


@pytest.mark.parametrize(
    "item",
    [film("a", tmdb=2, path="/a"), film("a", tmdb=1, path="/b"), replace(film("a", path="/b"), title="One")],
    ids=["corrected ids", "moved file", "same name, no ids"],
)
def test_a_server_id_that_still_refers_to_the_same_file_or_film_is_the_same_title(item: Incoming):
    shelf = Shelf()
    before = shelf.sync(replace(film("a", tmdb=None if item.title else 1, path="/a"), title=item.title))["a"]
    assert shelf.sync(item)["a"].item_id == before.item_id


def test_a_title_that_may_just_be_unread_is_recognised_only_at_its_own_path():
    """Otherwise a new copy would take over a title that merely could not be read."""
    unread = Known(1, 101, "old", ProviderIds(7), "/films/a.mkv", "films", missing=False)

    def assign(item: Incoming) -> Identities:
        return assign_identities(
            [item], [unread], {101: ProviderIds(7)}, new_item_id=lambda: 2, new_work_id=lambda: 102
        )

    copy = Incoming("new", ProviderIds(7), "/uhd/a.mkv", "uhd")
    assert assign(copy).assignments == [Assignment("new", 2, 101)]
    assert assign(replace(copy, library_id="films")).recognised == 0
    assert assign(replace(copy, path="/films/a.mkv")).recognised == 0, "two libraries may share a folder"
    assert assign(replace(copy, path="/films/a.mkv", library_id="films")).assignments == [Assignment("new", 1, 101)]


def test_a_title_that_is_still_listed_does_not_count_as_moved():
    shelf = Shelf()
    before = shelf.sync(film("first", tmdb=1))
    after = shelf.sync(film("first", tmdb=1), film("second", tmdb=1))
    assert after["first"] == before["first"]
    assert after["second"].item_id != after["first"].item_id
    assert after["second"].work_id == after["first"].work_id


def test_two_copies_with_new_ids_are_told_apart_by_their_paths():
    shelf = Shelf()
    before = shelf.sync(film("hd", tmdb=1, path="/hd.mkv"), film("uhd", tmdb=1, path="/uhd.mkv"))
    # The first one in the listing has moved; it must not take the place of the other one.
    after = shelf.sync(film("new hd", tmdb=1, path="/moved/hd.mkv"), film("new uhd", tmdb=1, path="/uhd.mkv"))
    assert after["new uhd"].item_id == before["uhd"].item_id
    assert after["new hd"].item_id == before["hd"].item_id


def test_a_known_title_is_matched_to_only_one_new_item():
    shelf = Shelf()
    before = shelf.sync(film("old", tmdb=1))["old"]
    after = shelf.sync(film("new 1", tmdb=1), film("new 2", tmdb=1))
    assert [one.item_id for one in after.values()].count(before.item_id) == 1
    assert {one.work_id for one in after.values()} == {before.work_id}


def test_copies_share_a_work_if_any_id_agrees_and_no_more_trusted_one_differs():
    ids = Shelf().settle(film("a", tmdb=1, imdb="tt1"), film("b", tmdb=1), film("c", imdb="tt1"))
    assert len({one.work_id for one in ids.values()}) == 1


def test_the_most_trusted_common_id_decides():
    ids = Shelf().settle(film("a", tmdb=1, imdb="tt1"), film("b", tmdb=1, imdb="tt2"), film("c", tmdb=2, imdb="tt1"))
    assert ids["a"].work_id == ids["b"].work_id != ids["c"].work_id
    assert ProviderIds(1, "tt1").contradicts(ProviderIds(2, "tt1"))
    assert not ProviderIds(1, "tt1").contradicts(ProviderIds(1, "tt2"))
    assert not ProviderIds(1).contradicts(ProviderIds(imdb_id="tt1"))
    assert not ProviderIds().contradicts(ProviderIds(1))


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_an_item_with_two_ids_connects_copies_that_have_one_each(order: Iterable[str]):
    items = {"a": film("a", tmdb=1), "b": film("b", imdb="tt1"), "c": film("c", tmdb=1, imdb="tt1")}
    ids = Shelf().settle(*(items[name] for name in order))
    assert len({one.work_id for one in ids.values()}) == 1


def test_copies_with_one_id_each_join_once_one_of_them_gains_the_other_id():
    shelf = Shelf()
    shelf.sync(film("b", imdb="tt1"), film("a", tmdb=1))
    ids = shelf.settle(film("b", imdb="tt1"), film("a", tmdb=1, imdb="tt1"))
    assert ids["a"].work_id == ids["b"].work_id


def test_a_corrected_identification_moves_the_title_to_another_work():
    shelf = Shelf()
    wrong = shelf.sync(film("a", tmdb=1, imdb="tt1"))["a"]
    right = shelf.settle(film("a", tmdb=2, imdb="tt2"))["a"]
    assert right.item_id == wrong.item_id
    assert right.work_id != wrong.work_id
    assert shelf.works[wrong.work_id] == ProviderIds(1, "tt1"), (
        "the old work is unchanged, because it may have a history"
    )
    back = shelf.sync(film("a", tmdb=1, imdb="tt1"))["a"]
    assert back.work_id == wrong.work_id


def test_a_title_keeps_its_work_when_it_gains_its_first_id():
    shelf = Shelf()
    before = shelf.sync(film("a", path="/a"))["a"]
    after = shelf.settle(film("a", tmdb=5, path="/a"))["a"]
    assert after.work_id == before.work_id
    assert shelf.works[after.work_id] == ProviderIds(5)


def test_a_title_keeps_its_work_when_its_ids_are_missing_for_a_while():
    shelf = Shelf()
    before = shelf.sync(film("a", tmdb=5))["a"]
    assert shelf.settle(film("a"))["a"] == before
    assert shelf.works[before.work_id] == ProviderIds(5)


def test_titles_join_one_work_when_they_gain_the_same_id():
    shelf = Shelf()
    before = shelf.sync(film("a"), film("b"))
    assert before["a"].work_id != before["b"].work_id
    after = shelf.settle(film("a", tmdb=5), film("b", tmdb=5))
    assert after["a"].work_id == after["b"].work_id == before["a"].work_id


def test_only_new_works_and_works_with_new_ids_are_reported_as_changed():
    shelf = Shelf()
    one = shelf.sync(film("a", tmdb=1), film("b", tmdb=2))
    shelf.sync(film("a", tmdb=1, imdb="tt1"), film("b", tmdb=2))
    assert shelf.last.works == {one["a"].work_id: ProviderIds(1, "tt1")}


def test_a_repeated_id_in_a_listing_counts_once():
    item = film("a", tmdb=1)
    assert len(Shelf().sync(item, replace(item))) == 1
