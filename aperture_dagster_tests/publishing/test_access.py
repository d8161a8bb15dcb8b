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


def test_a_user_with_a_list_of_libraries_gets_exactly_their_own():
    anna = user(folders=["F" * 8 + "-" + "f" * 4, BENS.policy_id])
    change = plan(anna)
    assert change.policy is not None
    assert change.policy["EnabledFolders"] == ["F" * 8 + "-" + "f" * 4, ANNAS.policy_id, SHARED.policy_id]
    assert change.policy | {"EnabledFolders": None} == anna["Policy"] | {"EnabledFolders": None}
    assert change.configuration is None
    assert plan(after(anna, change)).policy is None


def test_an_empty_list_of_libraries_stays_a_list():
    change = plan(user("c" * 32, folders=[]))
    assert change.policy is None
    assert change.configuration is None


def test_ids_with_dashes_are_the_same_ids():
    dashed = "11111111-1111-1111-1111-111111111111"
    assert plan(user(folders=[dashed, SHARED.policy_id])).policy is None


def test_libraries_of_others_are_hidden_from_a_user_who_may_see_all():
    anna = user(MyMediaExcludes=["own choice"])
    change = plan(anna)
    assert change.policy is None
    assert change.configuration == anna["Configuration"] | {
        "MyMediaExcludes": ["own choice", BENS.item_id],
        "LatestItemsExcludes": [BENS.item_id],
    }
    assert set(change.noted) == {(ANNA, BENS.item_id, "view"), (ANNA, BENS.item_id, "latest")}


def test_what_a_user_shows_again_stays_shown():
    anna = user()
    first = plan(anna)
    assert first.configuration is not None
    shown_again = user(MyMediaExcludes=[], LatestItemsExcludes=[BENS.item_id])
    change = plan(shown_again, remembered=set(first.noted))
    assert change.configuration is None


def test_a_policy_that_somebody_changed_is_repaired():
    assert plan(user(folders=[FILMS])).policy is not None


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


def test_strict_access_gives_a_list_of_what_the_user_sees_now():
    anna = user()
    change = plan(anna, strict=True)
    assert change.policy is not None
    assert change.policy["EnableAllFolders"] is False
    assert change.policy["EnabledFolders"] == [FILMS, ANNAS.policy_id, SHARED.policy_id]
    assert change.configuration is None
    assert change.noted == [(ANNA, "", "listed")]


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


def test_on_servers_that_share_what_was_watched_own_copies_stay_out_of_latest():
    change = plan(user(folders=[FILMS, ANNAS.policy_id, SHARED.policy_id]), hide_own=True)
    assert change.configuration is not None
    assert change.configuration["LatestItemsExcludes"] == [ANNAS.item_id, SHARED.item_id]
    assert change.configuration["MyMediaExcludes"] == []


def test_blocked_libraries_of_an_older_server_are_reported():
    anna = user(folders=[FILMS])
    anna["Policy"]["BlockedMediaFolders"] = [FILMS]
    assert "overrides every other rule" in (plan(anna).warning or "")
