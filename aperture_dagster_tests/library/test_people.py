"""Who takes part, and under which partition key."""

from __future__ import annotations

import re

import pytest

from aperture_dagster.library.people import LONGEST_KEY, email_of, partition_changes, partition_key, takes_part
from aperture_dagster.simulator.odd_world import LONG_NAME, ODD_USERS

ODD_NAMES = [
    *ODD_USERS,
    "",
    " ",
    ".",
    "..",
    "...",
    "--help",
    "a...b",
    "[1,2]",
    "new\nline",
    "tab\t",
    "nul\x00",
    "\u202ereversed",
    "e\u0301",
    "x" * 500,
    "日本語",
    "$(reboot)",
    "a;b",
    "*",
    "all",
]


def keys_of(names: list[str]) -> list[str]:
    taken: list[str] = []
    for number, name in enumerate(names):
        taken.append(partition_key(name, f"id {number}", taken))
    return taken


def test_every_name_gets_a_key_that_shells_and_dagster_take():
    for name, key in zip(ODD_NAMES, keys_of(ODD_NAMES), strict=True):
        assert re.fullmatch(r"[\w.-]+", key), (name, key)
        assert ".." not in key
        assert not key.startswith(("-", "."))
        assert len(key) <= LONGEST_KEY + 65


def test_no_two_users_share_a_key_not_even_by_case():
    keys = keys_of(ODD_NAMES + ODD_NAMES)
    assert len({key.casefold() for key in keys}) == len(keys)


def test_a_key_is_the_name_where_that_is_possible():
    assert partition_key("Casey", "1", []) == "Casey"
    assert partition_key("مستخدم", "1", []) == "مستخدم"
    assert partition_key('O\'Brien "the boss"', "1", []) == "O-Brien-the-boss"
    assert partition_key("../up", "1", []) == "up"
    assert partition_key("slash/and\\backslash", "1", []) == "slash-and-backslash"
    assert len(partition_key(LONG_NAME, "1", [])) == LONGEST_KEY


def test_a_name_of_nothing_but_signs_gets_a_key_from_the_id():
    assert re.fullmatch(r"user-[0-9a-f]{6}", partition_key("🙂🙂", "some id", []))
    assert partition_key("🙂", "some id", []) == partition_key("🎬", "some id", [])


def test_the_key_of_a_user_is_the_same_on_every_machine():
    assert partition_key("casey", "id of casey", ["Casey"]) == partition_key("casey", "id of casey", ["CASEY", "x"])


def test_dagster_takes_every_key():
    import dagster as dg

    keys = keys_of(ODD_NAMES)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("users", keys)
        assert list(instance.get_dynamic_partitions("users")) == keys


def test_all_who_are_not_disabled_take_part_unless_the_operator_says_else():
    assert takes_part("ann", is_disabled=False, include=(), exclude=())
    assert not takes_part("ann", is_disabled=True, include=(), exclude=())
    assert takes_part("Ann", is_disabled=True, include=("aNN",), exclude=())
    assert not takes_part("bob", is_disabled=False, include=("ann",), exclude=())
    assert not takes_part("ann", is_disabled=False, include=("ann",), exclude=("ANN",))


def test_partitions_follow_the_users_and_one_at_work_is_removed_later():
    changes = partition_changes(["c", "a", "c"], ["a", "gone", "busy"], {"busy"})
    assert changes.add == ["c"]
    assert changes.remove == ["gone"]
    assert partition_changes(["a"], ["a"], set()) == partition_changes([], [], set())


def test_no_users_wanted_removes_all_partitions_that_rest():
    assert partition_changes([], ["a", "b"], set()).remove == ["a", "b"]


@pytest.mark.parametrize("hint", [None, "", "ann", "ann@home", "a b@c.d", "@x.y"])
def test_what_is_no_address_is_no_email(hint: str | None):
    assert email_of("ann", hint, {}) == (None, None)


def test_the_operators_email_wins_over_the_servers():
    assert email_of("Ann", "ann@server.example", {"ann": "ann@home.example"}) == ("ann@home.example", "operator")
    assert email_of("Bob", "bob@server.example", {"ann": "x@y.z"}) == ("bob@server.example", "media_server")
