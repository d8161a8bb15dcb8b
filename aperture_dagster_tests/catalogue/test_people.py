"""Which users take part, and their partition keys."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from aperture_dagster.catalogue.people import (
    MAX_KEY_LENGTH,
    User,
    as_listed,
    email_of,
    operators_emails,
    participants,
    partition_key,
)
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.simulator.worlds import LONG_NAME, ODD_USERS
from aperture_dagster_tests.instances import instance_in_memory

ODD_NAMES = [
    *ODD_USERS, "", " ", ".", "..", "...", "--help", "a...b", "[1,2]", "new\nline", "tab\t", "nul\x00",
    "\u202ereversed", "e\u0301", "x" * 500, "日本語", "$(reboot)", "a;b", "*", "all",
]  # fmt: skip


def keys_of(names: list[str]) -> list[str]:
    taken: list[str] = []
    for number, name in enumerate(names):
        taken.append(partition_key(name, f"id {number}", taken))
    return taken


def test_a_key_has_at_most_forty_characters_of_a_name_in_every_version():
    # Another key would be another partition: what was made for the user would be gone.
    assert partition_key("x" * 40, "id", []) == partition_key("x" * 41, "id", []) == "x" * 40


def test_every_name_gets_a_key_that_is_safe_in_shells_and_in_dagster():
    for name, key in zip(ODD_NAMES, keys_of(ODD_NAMES), strict=True):
        assert re.fullmatch(r"[\w.-]+", key), (name, key)
        assert ".." not in key
        assert not key.startswith(("-", "."))
        assert len(key) <= MAX_KEY_LENGTH + 65


def test_keys_are_unique_ignoring_case():
    keys = keys_of(ODD_NAMES + ODD_NAMES)
    assert len({key.casefold() for key in keys}) == len(keys)


def test_the_key_is_the_name_if_possible():
    assert partition_key("Casey", "1", []) == "Casey"
    assert partition_key("مستخدم", "1", []) == "مستخدم"
    assert partition_key('O\'Brien "the boss"', "1", []) == "O-Brien-the-boss"
    assert partition_key("../up", "1", []) == "up"
    assert partition_key("slash/and\\backslash", "1", []) == "slash-and-backslash"
    assert len(partition_key(LONG_NAME, "1", [])) == MAX_KEY_LENGTH


def test_a_name_without_letters_and_digits_gets_a_key_from_the_id():
    assert re.fullmatch(r"user-[0-9a-f]{6}", partition_key("🙂🙂", "some id", []))
    assert partition_key("🙂", "some id", []) == partition_key("🎬", "some id", [])


def test_the_key_of_a_user_is_the_same_on_every_machine():
    assert partition_key("casey", "id of casey", ["Casey"]) == partition_key("casey", "id of casey", ["CASEY", "x"])


def test_dagster_accepts_every_key():
    keys = keys_of(ODD_NAMES)
    with instance_in_memory() as instance:
        instance.add_dynamic_partitions("users", keys)
        assert list(instance.get_dynamic_partitions("users")) == keys


def a_user(name: str, *, is_disabled: bool = False, gone: bool = False) -> User:
    return User(name, name, name, is_disabled, False, None, Visibility(), gone)


def participating(*users: User, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return [user.name for user in participants(users, include=include, exclude=exclude)]


def test_all_users_take_part_who_are_on_the_server_and_not_disabled():
    assert participating(a_user("bob"), a_user("ann"), a_user("cleo", is_disabled=True), a_user("dan", gone=True)) == [
        "bob",
        "ann",
    ]


def test_included_users_take_part_even_if_disabled_and_excluded_ones_never():
    ann, bob, gone = a_user("Ann", is_disabled=True), a_user("bob"), a_user("cleo", gone=True)
    assert participating(ann, bob, gone, include=("aNN", "cleo")) == ["Ann"]
    assert participating(ann, bob, include=("ann", "bob"), exclude=("ANN",)) == ["bob"]


@pytest.mark.parametrize("hint", [None, "", "ann", "ann@home", "a b@c.d", "@x.y"])
def test_an_invalid_hint_is_not_used_as_an_email(hint: str | None):
    assert email_of(None, hint) == (None, None)


def test_the_operators_email_wins_over_the_servers():
    assert email_of("ann@home.example", "ann@server.example") == ("ann@home.example", "operator")
    assert email_of(None, "bob@server.example") == ("bob@server.example", "media_server")


class Accounts:
    """Accounts of a server by id; each sync sees their names, and what the operator's settings say."""

    def __init__(self) -> None:
        self.users: list[User] = []

    def sync(self, emails: dict[str, str] | None = None, /, **names: str) -> dict[str, str]:
        """Read the accounts; return the operator's addresses by id."""
        listed = as_listed(self.users, names, set(names))
        found = operators_emails(listed, emails or {})
        self.users = [replace(user, operators_email=found.get(user.user_id)) for user in listed]
        return found

    def include(self, *names: str) -> set[str]:
        return {user.user_id for user in participants(self.users, include=names, exclude=())}

    def exclude(self, *names: str) -> set[str]:
        return {user.user_id for user in participants(self.users, include=(), exclude=names)}


def test_an_address_stays_with_the_person_who_is_renamed():
    accounts, home = Accounts(), {"ANN": "ann@home.example"}
    assert accounts.sync(home, a="ann", b="bob") == {"a": "ann@home.example"}
    for name in ("Annabel", "Anna", "Annabel", "ann"):
        assert accounts.sync(home, a=name, b="bob") == {"a": "ann@home.example"}
    accounts.sync(home, a="Annabel", b="bob")
    assert accounts.sync(home, a="Annabel", b="ann") == {"a": "ann@home.example"}, "not whoever has the name now"
    # The operator says who is meant.
    both = {"ann": "ann@home.example", "annabel": "annabel@home.example"}
    assert accounts.sync(both, a="Annabel", b="ann") == {"a": "annabel@home.example", "b": "ann@home.example"}
    assert accounts.sync(both, a="Annabel") == {"a": "annabel@home.example"}, "not that of the former name"


def test_a_new_account_with_the_name_of_one_that_is_gone_gets_its_address():
    accounts, home = Accounts(), {"ann": "ann@home.example"}
    accounts.sync(home, a="ann")
    assert accounts.sync(home, b="ann") == {"b": "ann@home.example"}


def test_a_renamed_user_is_still_included_or_excluded():
    accounts = Accounts()
    accounts.sync(a="ann", b="bob")
    accounts.sync(a="Annabel", b="bob")
    assert accounts.include("ann") == accounts.include("annabel") == {"a"}
    assert accounts.exclude("ann") == accounts.exclude("annabel") == {"b"}


def test_a_name_means_who_has_it_now_before_who_had_it():
    accounts = Accounts()
    accounts.sync(a="guest", b="bob")
    accounts.sync(a="Tom", b="bob", c="guest")
    assert accounts.exclude("guest") == {"a", "b"}
    # Who is gone has no claim to the name.
    accounts.sync(a="Tom", b="bob")
    assert accounts.exclude("guest") == {"b"}


def test_a_setting_whose_names_match_nobody_includes_nobody():
    accounts = Accounts()
    accounts.sync(a="ann")
    assert accounts.include("nobody") == set()
    assert accounts.exclude("nobody") == {"a"}
