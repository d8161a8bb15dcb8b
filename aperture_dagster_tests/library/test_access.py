"""A user is offered what the media server lets them see, and nothing else."""

from __future__ import annotations

from aperture_dagster.library.access import Access, Copy, visible_copies

COPIES = [
    Copy(1, 11, "films", ("Sci-Fi", "Gore"), "/media/films/Alien (1979)"),
    Copy(1, 12, "kids", ("sci-fi",), "/media/kids/Alien, cut (1979)"),
    Copy(2, 21, "films", (), "/media/films/Heat (1995)"),
    Copy(3, 31, "films", ("Été",), "/media/films-new/Jeux (1952)"),
    Copy(4, 41, "shows", ("kids",), None),
]


def test_without_rules_everything_is_visible():
    assert not Access().is_limited
    assert set(visible_copies(COPIES, Access())) == {1, 2, 3, 4}


def test_a_blocked_tag_hides_the_copies_that_have_it():
    """Finding R17."""
    assert visible_copies(COPIES, Access(blocked_tags=("GORE",))) == {1: 12, 2: 21, 3: 31, 4: 41}
    assert set(visible_copies(COPIES, Access(blocked_tags=("gore", "sci fi", "ete")))) == {2, 4}


def test_where_tags_are_allowed_a_title_needs_one_of_them_and_no_blocked_one():
    """Finding R17."""
    assert set(visible_copies(COPIES, Access(allowed_tags=("Kids", "été")))) == {3, 4}
    assert visible_copies(COPIES, Access(allowed_tags=("sci-fi",), blocked_tags=("gore",))) == {1: 12}


def test_in_a_library_whose_own_tag_is_allowed_everything_is():
    """Finding R17: tags of what holds a title count for it."""
    child = Access(allowed_tags=("kids",), blocked_tags=("gore",), open_library_ids=("films",))
    assert visible_copies(COPIES, child) == {2: 21, 3: 31, 4: 41}


def test_a_rule_of_blanks_is_no_rule():
    assert set(visible_copies(COPIES, Access(allowed_tags=(" ",), blocked_tags=("", "-")))) == {1, 2, 3, 4}


def test_below_an_excluded_folder_nothing_is_visible_and_beside_it_everything():
    """Finding R17."""
    assert visible_copies(COPIES, Access(excluded_folders=("/media/films/",))) == {1: 12, 3: 31, 4: 41}
    windows = [Copy(1, 11, "films", (), r"D:\films\Heat"), Copy(2, 21, "films", (), r"D:\films2\Heat")]
    assert set(visible_copies(windows, Access(excluded_folders=(r"D:\films",)))) == {2}


def test_a_user_of_some_libraries_sees_their_copies_only():
    assert visible_copies(COPIES, Access(all_libraries=False, library_ids=("kids", "shows"))) == {1: 12, 4: 41}
    assert visible_copies(COPIES, Access(all_libraries=False)) == {}


def test_the_usual_copy_is_shown_where_it_may_be_seen():
    usual = {1: 12, 2: 21}
    assert visible_copies(COPIES, Access(), usual)[1] == 12
    assert visible_copies(reversed(COPIES), Access(), usual)[1] == 12
    assert visible_copies(COPIES, Access(all_libraries=False, library_ids=("films",)), usual)[1] == 11
