"""Who may see which published library."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from aperture_dagster.publishing.placed import LibraryList
from aperture_dagster.publishing.server.access_plan import AccessChange, AccessRules, Libraries, OwnLibrary, plan_access

ANNA, BEN = "a" * 32, "b" * 32
ANNAS = OwnLibrary("1" * 32, "1" * 32, frozenset({ANNA}))
BENS = OwnLibrary("2" * 32, "2" * 32, frozenset({BEN}))
SHARED = OwnLibrary("3" * 32, "3" * 32, frozenset({ANNA, BEN}))
FILMS = "f" * 32


def user(user_id: str = ANNA, *, folders: list[str] | None = None, **configuration: Any) -> dict[str, Any]:
    """A user of the server, who may see all libraries or those given."""
    policy = {
        "EnableAllFolders": folders is None,
        "EnabledFolders": folders or [],
        "MaxParentalRating": 12,
        "New": {"x": 1},
    }
    return {
        "Id": user_id,
        "Name": "anna" if user_id == ANNA else "ben",
        "Policy": policy,
        "Configuration": {"MyMediaExcludes": [], "LatestItemsExcludes": [], "PlayDefault": True, **configuration},
    }


def plan(one: dict[str, Any], **options: Any) -> AccessChange:
    rules = AccessRules(options.pop("strict", False), options.pop("hide_own", False), lambda record: frozenset())
    lists = {each.user_id: each for each in options.pop("lists", [])}
    given: dict[str, Any] = {"own": [ANNAS, BENS, SHARED], "others": {FILMS: "Films"}, "lists": lists}
    return plan_access(one, Libraries(**(given | options)), rules)


def after(one: dict[str, Any], change: AccessChange) -> dict[str, Any]:
    """The user after the change."""
    return copy.deepcopy(one) | {
        "Policy": change.policy or one["Policy"],
        "Configuration": change.configuration or one["Configuration"],
    }


def test_an_empty_list_of_libraries_stays_a_list():
    change = plan(user("c" * 32, folders=[]))
    assert change.policy is None
    assert change.configuration is None


def test_ids_with_dashes_are_the_same_ids():
    dashed = "11111111-1111-1111-1111-111111111111"
    assert plan(user(folders=[dashed, SHARED.policy_id])).policy is None


def test_what_a_user_shows_again_stays_shown():
    anna = user()
    first = plan(anna)
    assert first.configuration is not None
    shown_again = user(MyMediaExcludes=[], LatestItemsExcludes=[BENS.item_id])
    change = plan(shown_again, hidden=set(first.noted))
    assert change.configuration is None


def test_shows_you_watch_is_kept_out_of_the_home_screen_of_its_owner_until_they_want_it_there():
    watched = OwnLibrary("4" * 32, "4" * 32, frozenset({ANNA}), list_key=f"shows_you_watch/{ANNA}")
    own, anna = [ANNAS, SHARED, watched], user(folders=[ANNAS.policy_id, watched.policy_id, SHARED.policy_id])
    first = plan(anna, own=own)
    assert first.configuration is not None and first.configuration["LatestItemsExcludes"] == [watched.item_id]
    assert first.configuration["PlayDefault"] is True and first.configuration["MyMediaExcludes"] == []
    once = after(anna, first)
    assert plan(once, own=own, hidden=set(first.noted)).configuration is None
    # They took it off the list themselves.
    assert plan(anna, own=own, hidden=set(first.noted)).configuration is None
    gone = plan(once, own=[ANNAS, SHARED], retired={watched.item_id: "Watched"}, hidden=set(first.noted))
    assert gone.configuration == anna["Configuration"] and gone.forgotten == first.noted


@pytest.mark.parametrize("kept", [[], ["own choice"]])
def test_ids_of_retired_libraries_leave_policy_and_settings(kept: list[str]):
    gone = "9" * 32
    anna = user(folders=[FILMS, gone, ANNAS.policy_id, SHARED.policy_id], MyMediaExcludes=[*kept, gone])
    change = plan(anna, retired={gone: "Gone"}, hidden={(ANNA, gone, "view")})
    assert change.policy is not None
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id]
    assert change.configuration is not None
    assert change.configuration["MyMediaExcludes"] == kept
    assert change.forgotten == [(ANNA, gone, "view")]


def test_a_library_that_becomes_a_users_own_is_shown_to_them_again():
    hidden = user(MyMediaExcludes=[ANNAS.item_id, BENS.item_id], LatestItemsExcludes=[BENS.item_id])
    remembered = {(ANNA, ANNAS.item_id, "view"), (ANNA, BENS.item_id, "view"), (ANNA, BENS.item_id, "latest")}
    change = plan(hidden, hidden=remembered)
    assert change.configuration is not None
    assert change.configuration["MyMediaExcludes"] == [BENS.item_id]


# Lists of libraries in place of all

NEW = "e" * 32


def listed(*offered: str, before: tuple[str, ...] = ()) -> LibraryList:
    return LibraryList(ANNA, before, offered)


def test_who_may_see_all_libraries_gets_a_list_without_those_of_others_and_the_operator_is_told():
    change = plan(user(folders=None), strict=True)
    assert change.policy is not None and change.is_new_list
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id]
    assert change.given == listed(FILMS)
    assert change.about is not None and "a list in place of all libraries, with Films, " in change.about
    assert "and their own. " in change.about, "whose name would make the sentence another for each user"
    # Nobody else has a library here.
    alone = plan(user(folders=None), strict=True, own=[ANNAS])
    assert alone.policy is None and alone.given is None and alone.about is None


def test_a_list_follows_new_libraries_of_the_operator():
    anna = user(folders=[FILMS, ANNAS.policy_id, SHARED.policy_id])
    others = {FILMS: "Films", NEW: "Documentaries"}
    change = plan(anna, strict=True, lists=[listed(FILMS)], others=others)
    assert change.policy is not None
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id, NEW]
    assert change.given == listed(FILMS, NEW)
    assert change.about == "Documentaries added to the list of libraries."
    by_the_operator = plan(anna, strict=True, others=others)
    assert by_the_operator.policy is None


def test_a_list_that_the_operator_shortened_is_the_operators_from_then_on():
    """It must come back neither with a new library, nor when everything is taken back."""
    anna = user(folders=[ANNAS.policy_id, SHARED.policy_id])
    others = {FILMS: "Films", NEW: "Documentaries"}
    for change in (
        plan(anna, strict=True, lists=[listed(FILMS)], others=others),
        plan(anna, strict=False, lists=[listed(FILMS)], own=[ANNAS, SHARED], others=others),
    ):
        assert change.policy is None and change.given is None and not change.is_new_list
    gone = {ANNAS.policy_id: "a", SHARED.policy_id: "b"}
    last = plan(anna, strict=True, lists=[listed(FILMS)], own=[], retired=gone, others=others)
    assert last.policy is not None and last.given is None
    assert (last.policy["EnableAllFolders"], last.policy["EnabledFolders"]) == (False, [])
    # A library that is gone from the server was not taken off the list.
    assert plan(anna, strict=True, lists=[listed(FILMS)], others={}).given == listed(FILMS)


@pytest.mark.parametrize("options", [{"strict": False}, {"strict": True, "own": []}])
def test_a_list_is_taken_back_as_the_policy_was(options: dict[str, Any]):
    anna = user(folders=[FILMS, ANNAS.policy_id])
    change = plan(anna, lists=[listed(FILMS, before=("left", "over"))], **options)
    assert change.policy == anna["Policy"] | {"EnableAllFolders": True, "EnabledFolders": ["left", "over"]}
    assert change.given is None and change.about == "all libraries again."


def test_who_was_given_all_libraries_back_gets_a_list_again():
    """The dashboard writes the policy as it was when the page was opened, so this need not be a decision."""
    change = plan(user(), strict=True, lists=[listed(FILMS)])
    assert change.policy is not None and change.policy["EnableAllFolders"] is False
    assert change.given == listed(FILMS) and change.is_new_list
