"""Users see what the media server lets them see, and nothing else."""

from __future__ import annotations

from aperture_dagster.catalogue.visibility import LibraryCopy, Visibility, hidden_from, visible_copies
from aperture_dagster.media_server.records import ServerLibrary, ServerUser

COPIES = [
    LibraryCopy(1, 11, "films", ("Sci-Fi", "Gore"), "/media/films/Alien (1979)"),
    LibraryCopy(1, 12, "kids", ("sci-fi",), "/media/kids/Alien, cut (1979)"),
    LibraryCopy(2, 21, "films", (), "/media/films/Heat (1995)"),
    LibraryCopy(3, 31, "films", ("Été",), "/media/films-new/Jeux (1952)"),
    LibraryCopy(4, 41, "shows", ("kids",), None),
]


def test_without_restrictions_everything_is_visible():
    assert not Visibility().is_limited
    limits = {"all_libraries": False}, {"blocked_tags": ("a",)}, {"allowed_tags": ("a",)}, {"excluded_folders": ("/a",)}
    assert all(Visibility(**limit).is_limited for limit in limits)
    assert set(visible_copies(COPIES, Visibility())) == {1, 2, 3, 4}


def test_a_blocked_tag_hides_copies_that_have_it():
    assert visible_copies(COPIES, Visibility(blocked_tags=("GORE",))) == {1: 12, 2: 21, 3: 31, 4: 41}
    assert set(visible_copies(COPIES, Visibility(blocked_tags=("gore", "sci fi", "ete")))) == {2, 4}


def test_with_allowed_tags_a_title_needs_one_of_them_and_no_blocked_one():
    assert set(visible_copies(COPIES, Visibility(allowed_tags=("Kids", "été")))) == {3, 4}
    assert visible_copies(COPIES, Visibility(allowed_tags=("sci-fi",), blocked_tags=("gore",))) == {1: 12}


def test_everything_is_allowed_in_a_library_with_an_allowed_tag():
    """A title inherits the tags of its library."""
    child = Visibility(allowed_tags=("kids",), blocked_tags=("gore",), open_library_ids=("films",))
    assert visible_copies(COPIES, child) == {2: 21, 3: 31, 4: 41}


def test_blank_tags_restrict_nothing():
    assert set(visible_copies(COPIES, Visibility(allowed_tags=(" ",), blocked_tags=("", "-")))) == {1, 2, 3, 4}


def test_an_excluded_folder_hides_everything_below_it_but_not_its_neighbours():
    assert visible_copies(COPIES, Visibility(excluded_folders=("/media/films/",))) == {1: 12, 3: 31, 4: 41}
    windows = [LibraryCopy(1, 11, "films", (), r"D:\films\Heat"), LibraryCopy(2, 21, "films", (), r"D:\films2\Heat")]
    assert set(visible_copies(windows, Visibility(excluded_folders=(r"D:\films",)))) == {2}


def test_a_user_of_some_libraries_sees_only_copies_in_them():
    assert visible_copies(COPIES, Visibility(all_libraries=False, library_ids=("kids", "shows"))) == {1: 12, 4: 41}
    assert visible_copies(COPIES, Visibility(all_libraries=False)) == {}


def test_the_preferred_copy_is_shown_if_it_is_visible():
    usual = {1: 12, 2: 21}
    assert visible_copies(COPIES, Visibility(), usual)[1] == 12
    assert visible_copies(reversed(COPIES), Visibility(), usual)[1] == 12
    assert visible_copies(COPIES, Visibility(all_libraries=False, library_ids=("films",)), usual)[1] == 11


def test_who_may_not_see_a_library_is_told_by_folder_only_where_that_differs():
    ann, ben = ServerUser("a", "Ann"), ServerUser("b", "Ben", all_libraries=False)
    cy = ServerUser("c", "Cy", excluded_folders=("/media/kids",))
    films = ServerLibrary("films", "Films", "movies", ("/media/films", "/media/kids"))
    assert hidden_from([ann], films) == {"'Films'": []}
    assert hidden_from([ann, ben], films) == {"'Films'": [ben]}
    assert hidden_from([ann, ben, cy], films) == {"/media/films in 'Films'": [ben], "/media/kids in 'Films'": [ben, cy]}
    assert hidden_from([ben], ServerLibrary("new", "Not scanned", None)) == {"'Not scanned'": [ben]}
