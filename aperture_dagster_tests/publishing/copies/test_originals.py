"""Which original a published copy shows, by its path on the media server."""

from __future__ import annotations

import pytest

from aperture_dagster.publishing.copies.originals import entry_folder_in, originals_of_copies
from aperture_dagster.publishing.disk.names import entry_folder, entry_id, list_folder
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.shelf import Shelf, played


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    furnish(shelf)


def path_of(shelf: Shelf, server_item_id: str, list_key: str, file: str = "", root: str = "/srv/lists") -> str:
    """The path of the copy of a title in a list."""
    folder = entry_folder("A Title", 2001, entry_id(list_key, shelf.item(server_item_id)["work_id"]))
    return f"{root}/{list_folder(list_key)}/{folder}{file}"


def originals(shelf: Shelf, path: str | None, **state: object) -> list[int]:
    with shelf.open() as connection:
        return list(originals_of_copies(connection, [played("copy", path=path, **state)]).values())


def test_a_film_of_any_list_is_recognised_wherever_the_list_lies(shelf: Shelf):
    for list_key in ("recommendations/ann/movie", "top_picks/movie"):
        for root in ("/srv/lists", "D:\\lists", "/elsewhere/now/picks-of-aaaaaaaa"):
            path = path_of(shelf, "film-2", list_key, "/A Title.mkv", root)
            path = path.replace("/", "\\") if root.startswith("D:") else path
            assert originals(shelf, path) == [shelf.item("film-2")["item_id"]], path
            assert (entry_folder_in(path) or "").startswith("A Title (2001) [ap-"), path


def test_an_episode_is_recognised_by_its_number_and_a_series_by_its_folder(shelf: Shelf):
    key, file = "shows_you_watch/bob", "/Season 01/A Title S01E02.mkv"
    series, episode = path_of(shelf, "show", key), path_of(shelf, "show", key, file)
    assert originals(shelf, series) == [shelf.item("show")["item_id"]]
    numbered = {"is_episode": True, "season": 1, "number": 2}
    first = shelf.value("SELECT min(item_id) FROM episodes WHERE season = 1 AND number = 2")
    assert originals(shelf, episode, **numbered) == [first]
    assert originals(shelf, episode, **numbered | {"number": 9}) == []
    assert originals(shelf, episode, is_episode=True) == [], "it is not the series"


def test_what_is_not_published_or_belongs_to_nobody_here_is_not_recognised(shelf: Shelf):
    key = "recommendations/ann/movie"
    stranger = path_of(shelf, "film-2", "recommendations/nobody/movie", "/A Title.mkv")
    another = path_of(shelf, "film-2", key, "/A Title.mkv").replace(list_folder(key), list_folder("top_picks/movie"))
    for path in (None, "", "/media/films/A Title (2001)/A Title.mkv", f"/srv/{list_folder(key)}", stranger, another):
        assert originals(shelf, path) == []
