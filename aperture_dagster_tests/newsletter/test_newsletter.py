"""The weekly letters: what is in them, to whom they go, how often, and how they end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.alerts import Notifier
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.members.choices import Choices, choices_of, write_choices
from aperture_dagster.model import Clock
from aperture_dagster.newsletter import LetterNotSent, Newsletters, mail_url, why_no_newsletter
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import browser_of, members_app
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_choices import choose
from aperture_dagster_tests.newsletter.mail import MailServer, mail_server
from aperture_dagster_tests.shelf import NOW, Shelf

TODAY = NOW.date()
UI = "https://home.example/aperture/operate"


@dataclass
class Post:
    """A household whose letters go to a mail server."""

    home: Home
    mail: MailServer
    settings: Settings
    opened: ExitStack

    def want(self, user: str, address: str | None = None, language: str = "en", **more: Any) -> None:
        with self.home.shelf.open() as connection:
            choices = Choices(newsletter=True, address=address or f"{user}@home.example", language=language, **more)
            write_choices(connection, user, choices)

    def send(self, user: str, today: date = TODAY) -> str:
        with self.home.shelf.open() as connection:
            member = next(one for one in read_users(connection) if one.name == user)
        return Newsletters(self.settings, Database(self.settings), Clock(lambda: NOW)).send(member, today)

    def browser(self, name: str | None = None) -> TestClient:
        return browser_of(self.opened.enter_context(members_app(self.settings)), self.settings, name)


@pytest.fixture
def post(shelf: Shelf, make_settings: Callable[..., Settings]) -> Iterator[Post]:
    home = Home(shelf)
    with mail_server() as mail, ExitStack() as opened:
        home.shelf.do("UPDATE titles SET added_at = '2020-01-01', first_seen_at = '2020-01-01'")
        home.recommend("Ben", 2, 1)
        yield Post(home, mail, make_settings(alert_urls=mail.url, alert_ui_url=UI), opened)


def added(home: Home, item: str, **ago: int) -> None:
    statement = "UPDATE titles SET added_at = :at WHERE server_item_id = :item"
    home.shelf.do(statement, at=NOW - timedelta(**ago), item=item)


def test_a_letter_has_what_is_recommended_what_is_new_and_one_suggestion(post: Post):
    post.home.suggest("Ben", "Stalker", "PG", flatrate=["Mubi"])
    post.home.suggest("Ben", "Mirror", "PG")
    added(post.home, "film-3", days=6)
    added(post.home, "film-4", days=8)
    post.want("Ben", language="de-AT")
    assert post.send("Ben") == "sent"
    (letter,) = post.mail.letters
    assert letter.recipients == ["Ben@home.example"]
    for kind in ("plain", "html"):
        text = letter.text(kind)
        for expected in ("Heat", "Weil dir Solaris gefallen hat", "Up", "Stalker", "Mubi", "Filme für dich"):
            assert expected in text, (kind, expected)
        assert "Mirror" not in text and text.count("Solaris") == text.count("Weil dir Solaris")
    assert "Alien &amp; &lt;Co&gt;" in letter.text("html") and "Alien & <Co>" in letter.text("plain")
    assert '<html lang="de">' in letter.text("html")


def test_a_letter_shows_only_what_its_member_may_see_by_now(post: Post):
    post.home.suggest("Ben", "Stalker", "R")
    for item in ("film-2", "film-3"):
        added(post.home, item, days=1)
    post.home.user("Ben", max_parental_rating=13)
    post.want("Ben")
    assert post.send("Ben") == "sent"
    text = post.mail.letters[0].text("plain")
    assert "Up" in text and not [one for one in ("Heat", "Alien", "Stalker") if one in text]
    post.home.user("Ben", all_libraries=False, library_ids=[])
    assert post.send("Ben", TODAY + timedelta(days=7)) == "nothing to tell" and len(post.mail.letters) == 1


def test_a_letter_is_sent_once_a_week_even_if_the_run_is_killed(post: Post, monkeypatch: pytest.MonkeyPatch):
    post.want("Ben")
    monday = TODAY - timedelta(days=TODAY.weekday())
    sent = Notifier.send

    def killed(*given: Any) -> None:
        sent(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Notifier, "send", killed)
        post.send("Ben", monday)
    assert [post.send("Ben", monday + timedelta(days=day)) for day in (0, 6)] == ["sent before"] * 2
    assert len(post.mail.letters) == 1
    assert post.send("Ben", monday + timedelta(days=7)) == "sent"
    # A clock that was ahead has been set right.
    assert post.send("Ben", monday) == "sent before" and len(post.mail.letters) == 2


def test_what_the_mail_server_refuses_is_sent_by_the_next_run_and_costs_nobody_else_theirs(post: Post):
    post.home.recommend("Anna", 3)
    post.want("Anna")
    post.want("Ben")
    post.mail.refused = {"Ben@home.example"}
    with pytest.raises(LetterNotSent) as failed:
        post.send("Ben")
    assert "Ben's letter was not sent" in str(failed.value)
    key = post.home.shelf.value("SELECT unsubscribe_key FROM member_choices WHERE user_id = 'Ben'")
    assert "home.example" not in str(failed.value).replace("home.example/aperture", "") and key not in str(failed.value)
    assert post.send("Anna") == "sent"
    post.mail.refused = set()
    assert post.send("Ben") == "sent" and len(post.mail.letters) == 2


def test_a_member_turns_letters_on_and_off(post: Post):
    ben = post.browser("Ben")
    assert post.send("Ben") == "not wanted"
    assert choose(ben, newsletter="1").status_code == 400, "no address is known"
    assert choose(ben, newsletter="1", address="ben@home.example").status_code == 303
    with post.home.shelf.open() as connection:
        chosen = choices_of(connection, "Ben")
    assert (chosen.newsletter, chosen.address, chosen.language) == (True, "ben@home.example", "en")
    assert "ben@home.example" not in repr(chosen)
    choose(ben, newsletter="")
    with post.home.shelf.open() as connection:
        assert not choices_of(connection, "Ben").newsletter
    assert post.send("Ben") == "not wanted" and post.mail.letters == [], "though an address is known"


def test_a_letter_ends_the_letters_without_a_sign_in_and_looking_at_the_link_does_not(post: Post):
    post.want("Ben")
    post.home.recommend("Anna", 3)
    post.want("Anna")
    assert post.send("Ben") == "sent"
    message = post.mail.letters[0].message
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.fullmatch(r"<https://home\.example/aperture(/unsubscribe/[\w-]+)>", message["List-Unsubscribe"])
    assert link is not None and f"https://home.example/aperture{link[1]}" in post.mail.letters[0].text("plain")
    stranger = post.browser()
    page = stranger.get(link[1])
    assert page.status_code == 200 and "<form" in page.text and "Ben" not in page.text
    assert post.send("Ben", TODAY + timedelta(days=7)) == "sent"
    # As programs for mail do it, and as the page does.
    multipart = {"files": {"List-Unsubscribe": (None, "One-Click")}}
    for path, how in (("/unsubscribe/" + "x" * 36, {}), (link[1], multipart), (link[1], {})):
        answer = stranger.post(path, **how)
        assert answer.status_code == 200 and "no more letters" in answer.text
    assert post.send("Ben", TODAY + timedelta(days=14)) == "not wanted"
    assert post.send("Anna") == "sent"


def test_letters_go_to_the_member_alone_through_the_operators_account():
    sender = "mailtos://me:p%40ss@smtp.example.org:587/boss@x.example?to=me@x.example&cc=you@x.example&+Bcc=x@x.example&mode=ssl"
    url = mail_url(sender, "ben@home.example", "https://home.example/unsubscribe/k")
    assert url.startswith("mailtos://me:p%40ss@smtp.example.org:587?mode=ssl&to=ben%40home.example&format=html")
    assert "x.example" not in url


def test_nothing_is_offered_or_sent_without_an_address_to_send_from_and_one_to_link_to(
    post: Post, make_settings: Callable[..., Settings]
):
    for given in ({}, {"alert_urls": post.mail.url}, {"alert_urls": "json://x.example", "alert_ui_url": UI}):
        settings = make_settings(**given)
        assert why_no_newsletter(settings) is not None
        assert "newsletter" not in replace(post, settings=settings).browser("Ben").get("/taste").text
    assert why_no_newsletter(post.settings) is None


DISCORD = "discord://123456789012345678/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def with_services(post: Post, make_settings: Callable[..., Settings]) -> Post:
    """Let the operator use Discord, too."""
    urls = f"{post.mail.url} discord://987654321098765432/{'x' * 60}"
    return replace(post, settings=make_settings(alert_urls=urls, alert_ui_url=UI, secret_key="k" * 40))


def test_a_letter_goes_to_a_service_that_the_operator_uses_and_its_address_stays_secret(
    post: Post, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
):
    served = with_services(post, make_settings)
    ben = served.browser("Ben")
    assert choose(ben, newsletter="1", address=DISCORD).status_code == 303
    page, stored = ben.get("/taste").text, post.home.shelf.value("SELECT address FROM member_choices")
    assert "discord://…" in page and "abcdef" not in page and "abcdef" not in stored and "12345" not in page + stored
    # Sent back as it was shown, it stays.
    assert choose(ben, newsletter="1").status_code == 303
    assert post.home.shelf.value("SELECT address FROM member_choices").startswith("sealed:")
    sent: list[str] = []
    monkeypatch.setattr(Notifier, "send", lambda _, address, message: sent.append(address.url))
    assert served.send("Ben") == "sent" and sent == [DISCORD]
    # With another key, or once the operator no longer uses the service, nothing is sent to it.
    for given in ({"secret_key": "other" * 9}, {"alert_urls": post.mail.url}):
        later = make_settings(
            **{"alert_urls": served.settings.alert_urls, "alert_ui_url": UI, "secret_key": "k" * 40, **given}
        )
        with pytest.raises(LetterNotSent):
            replace(post, settings=later).send("Ben", TODAY + timedelta(days=7))
    choose(ben, newsletter="1", address="ben@home.example")
    assert post.home.shelf.value("SELECT address FROM member_choices") == "ben@home.example"


NO_ADDRESSES = (
    "json://192.168.1.1/x", "jsons://x.example", "xml://10.0.0.1", "form://localhost:8096", "ntfy://192.168.1.1/x",
    "https://discord.com/api/webhooks/1/x", "mailto://evil.example", "gotify://10.0.0.1/token", "syslog://",
    f"{DISCORD}?href=http://10.0.0.1", f"{DISCORD}\r\nx", "discord://", "slack://T1/B1/c1", "DISCORD://1/2",
    "a@b.example,c@d.example", "a@b.example\r\nBcc: c@d.example", "a", "a b@c.example",
)  # fmt: skip


def test_an_address_of_a_member_is_one_and_leads_to_no_host_of_their_choice(
    post: Post, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
):
    served = with_services(post, make_settings)
    monkeypatch.setattr(Notifier, "send", lambda *_: pytest.fail("something was sent"))
    browser = served.browser("Ben")
    for address in NO_ADDRESSES:
        assert choose(browser, newsletter="1", address=address).status_code == 400, address
        choose(browser, newsletter="", address=address)
        assert post.home.shelf.value("SELECT max(address) FROM member_choices") is None, address
    # Nor does one that was written before the rules were.
    for address in NO_ADDRESSES:
        served.want("Ben", address)
        with pytest.raises(LetterNotSent):
            served.send("Ben")
