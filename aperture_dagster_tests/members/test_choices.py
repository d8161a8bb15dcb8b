"""What members may be called on the media server, and what they chose."""

from __future__ import annotations

import pytest

from aperture_dagster.members.choices import Choices, choices_of, clean_name, is_plain_email, is_taken, write_choices
from aperture_dagster_tests.shelf import Shelf


def test_nobody_takes_the_name_of_somebody_else_be_it_given_or_chosen(shelf: Shelf):
    shelf.users("ann", "ben")
    with shelf.open() as connection:
        write_choices(connection, "ben", Choices(list_name="Maestro"))
        for name, of in (("Ann", "ben"), ("Maestro", "ann"), ("ben", "ann")):
            assert is_taken(connection, name, of), name
        for name, of in (("ann", "ann"), ("maestro", "ben"), ("Nobody", "ann")):
            assert not is_taken(connection, name, of), name


def test_choices_are_replaced_whole_and_whoever_chose_nothing_has_the_defaults(shelf: Shelf):
    shelf.users("ann", "ben")
    chosen = Choices(publish=False, list_name="A", newsletter=True, address="a@example.org", language="de")
    with shelf.open() as connection:
        write_choices(connection, "ann", chosen)
        assert (choices_of(connection, "ann"), choices_of(connection, "ben")) == (chosen, Choices())
        assert "a@example.org" not in repr(choices_of(connection, "ann")), "a log may show it"
        write_choices(connection, "ann", Choices(language="fr"))
        assert choices_of(connection, "ann") == Choices(language="fr")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  Films  for:Ann. ", "Films for Ann"),
        ("a/../b", "a .. b"),
        ("\u202eevil\u200b", "evil"),
        ("\n\t", None),
        ("...", None),
        ("x" * 41, "x" * 40),
    ],
)
def test_a_name_keeps_what_can_be_a_folder_and_be_seen(text: str, name: str | None):
    assert clean_name(text) == name


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a@example.org", True), ("a.b+c@x.example.org", True), ("a@b", False), ("a@example.org, b@example.org", False),
     ("a@example.org\nBcc: b@example.org", False), (f"{'a' * 190}@example.org", False), ("", False)],
)  # fmt: skip
def test_an_address_is_one_address(text: str, is_one: bool):
    assert is_plain_email(text) is is_one
