"""Who may see which published library."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from aperture_dagster.publishing.access import AccessChange, AccessRules, OwnLibrary, plan_access

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
    given: dict[str, Any] = {"own": [ANNAS, BENS, SHARED], "others": [FILMS], "retired": [], "remembered": set()}
    return plan_access(one, rules=rules, **(given | options))


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
    change = plan(shown_again, remembered=set(first.noted))
    assert change.configuration is None


@pytest.mark.parametrize("kept", [[], ["own choice"]])
def test_ids_of_retired_libraries_leave_policy_and_settings(kept: list[str]):
    gone = "9" * 32
    anna = user(folders=[FILMS, gone, ANNAS.policy_id, SHARED.policy_id], MyMediaExcludes=[*kept, gone])
    change = plan(anna, retired=[gone], remembered={(ANNA, gone, "view")})
    assert change.policy is not None
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id]
    assert change.configuration is not None
    assert change.configuration["MyMediaExcludes"] == kept
    assert change.forgotten == [(ANNA, gone, "view")]


def test_a_library_that_becomes_a_users_own_is_shown_to_them_again():
    hidden = user(MyMediaExcludes=[ANNAS.item_id, BENS.item_id], LatestItemsExcludes=[BENS.item_id])
    remembered = {(ANNA, ANNAS.item_id, "view"), (ANNA, BENS.item_id, "view"), (ANNA, BENS.item_id, "latest")}
    change = plan(hidden, remembered=remembered)
    assert change.configuration is not None
    assert change.configuration["MyMediaExcludes"] == [BENS.item_id]


def test_a_strict_list_follows_new_libraries_of_the_operator():
    listed = user(folders=[FILMS, ANNAS.policy_id, SHARED.policy_id])
    change = plan(listed, strict=True, remembered={(ANNA, "", "listed")}, others=[FILMS, "new"])
    assert change.policy is not None
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id, "new"]
    by_the_operator = plan(listed, strict=True, others=[FILMS, "new"])
    assert by_the_operator.policy is None


def test_strict_access_can_be_switched_off_again():
    listed = user(folders=[FILMS, ANNAS.policy_id])
    change = plan(listed, remembered={(ANNA, "", "listed")})
    assert change.policy is not None
    assert change.policy["EnableAllFolders"] is True
    assert change.forgotten == [(ANNA, "", "listed")]
    assert change.configuration is not None
    assert change.configuration["MyMediaExcludes"] == [BENS.item_id]
