"""The switches of a member's own: who may set them, to what, and that what the operator forbids is not there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.members.choices import Choices, choices_of, clean_name
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import browser_of, members_app
from aperture_dagster_tests.front_door.home import Home

Open = Callable[..., TestClient]


@pytest.fixture
def signed_in(make_settings: Callable[..., Settings], home: Home, tmp_path: Path) -> Iterator[Open]:
    """Return a function that returns the browser of a member, on a home with these settings."""
    with ExitStack() as opened:

        def browser(name: str, **given: Any) -> TestClient:
            settings = make_settings(**{"publish": True, "publish_root": tmp_path / "root", **given})
            return browser_of(opened.enter_context(members_app(settings)), settings, name)

        yield browser


def choose(browser: TestClient, **fields: str) -> Any:
    """Send the form below *My taste* with these fields changed; one that is empty is an unchecked box."""
    page = browser.get("/taste").text
    given = dict(re.findall(r'<input[^>]*name="(csrf|next|list_name|address)"[^>]*? value="([^"]*)"', page))
    given |= dict.fromkeys(re.findall(r'name="(\w+)" value="1" checked', page), "1")
    boxes = ("publish", "newsletter")
    sent = {name: value for name, value in (given | fields).items() if value or name not in boxes}
    return browser.post("/choices", data=sent)


def chosen(home: Home, user: str) -> Choices:
    with home.shelf.open() as connection:
        return choices_of(connection, user)


def test_a_member_chooses_whether_and_under_which_name_their_lists_are_published(home: Home, signed_in: Open):
    ben = signed_in("Ben")
    assert chosen(home, "Ben") == Choices()
    answer = choose(ben, list_name="Benny ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/taste")
    assert chosen(home, "Ben") == Choices(publish=True, list_name="Benny")
    assert 'value="Benny"' in ben.get("/taste").text
    choose(ben, publish="")
    assert chosen(home, "Ben") == Choices(publish=False, list_name="Benny")
    assert "checked" not in ben.get("/taste").text
    choose(ben, list_name="Ben", publish="1")
    assert chosen(home, "Ben") == Choices() and chosen(home, "Anna") == Choices()
    choose(ben, list_name="'\"><script>{{ 7 }}")
    page = ben.get("/taste").text
    assert "<script>" not in page and "{{ 7 }}" in page, "it is shown as it is"


def test_a_name_of_ones_own_is_never_taken_and_what_was_not_on_the_form_stays(home: Home, signed_in: Open):
    # An account that was deleted and created again has the same name and another id.
    home.shelf.do("UPDATE users SET name = 'Ben', removed_at = now() WHERE user_id = 'Anna'")
    ben = signed_in("Ben")
    assert choose(ben, publish="").status_code == 303
    assert chosen(home, "Ben") == Choices(publish=False)
    csrf = re.findall(r'name="csrf" value="(\w+)"', ben.get("/taste").text)[0]
    assert ben.post("/choices", data={"csrf": csrf, "list_name": "", "publish": "1"}).status_code == 303
    # This form was opened before there was anything to publish.
    assert ben.post("/choices", data={"csrf": csrf}).status_code == 303
    assert chosen(home, "Ben") == Choices(publish=True)


def test_what_the_operator_does_not_publish_cannot_be_chosen(home: Home, signed_in: Open):
    for given in (
        {"publish": False, "publish_root": None}, {"publish_as": "rows"},
        {"publish_lists": ("top_picks_libraries", "top_picks_playlists")},
    ):  # fmt: skip
        ben = signed_in("Ben", **given)
        page = ben.get("/taste").text
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None and "/choices" not in page, given
        assert ben.post("/choices", data={"csrf": token[1], "list_name": "Benny"}).status_code == 404, given
    assert home.shelf.rows("SELECT * FROM member_choices") == []


def test_two_members_do_not_have_one_name(home: Home, signed_in: Open):
    anna, ben = signed_in("Anna"), signed_in("Ben")
    for name in ("anna", " ANNA", "An\u200bna", "Anna."):
        answer = choose(ben, list_name=name)
        assert answer.status_code == 400 and "Somebody else has this name" in answer.text, name
    choose(ben, list_name="Mum")
    assert choose(anna, list_name="mum").status_code == 400
    assert (chosen(home, "Ben").list_name, chosen(home, "Anna").list_name) == ("Mum", None)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc", "etc"), ("a/b\\c", "a b c"), ("a\r\nSet-Cookie: x", "a Set-Cookie x"), ("\u202eevil", "evil"),
        ("...", None), ("   ", None), ("x" * 200, "x" * 40), ("Zoë", "Zoë"), ("{type}{0.x}", "{type}{0.x}"),
        ("CON\x00", "CON"), ("名前", "名前"),
    ],
)  # fmt: skip
def test_a_name_holds_nothing_that_a_file_system_or_a_header_would_mind(given: str, name: str | None):
    assert clean_name(given) == name
