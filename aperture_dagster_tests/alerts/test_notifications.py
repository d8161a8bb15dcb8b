"""Messages to addresses: what is shown of an address, which parts of it are secrets, and one that never answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.home import secrets_in, shown_address
from aperture_dagster_tests.inbox import Inbox, open_inbox

MESSAGE = Message("Aperture: movies failed", "Movies failed: no.", is_good=False)
EVIL = "\x1b[2J\x07\u202e\u2066"
DISCORD = "4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"


@pytest.fixture
def inboxes() -> Iterator[tuple[Inbox, Inbox]]:
    with open_inbox() as first, open_inbox() as second:
        yield first, second


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ntfys://ntfy.example.org/our-topic", "ntfys://ntfy.example.org/…"),
        ("ntfy://our-topic-7f3a", "ntfy://…"),
        ("mailtos://me:p@ss@smtp.example.org:587?to=me@example.org", "mailtos://smtp.example.org/…"),
        (f"discord://{DISCORD}", "discord://…"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "tgram://…"),
        ("pover://u3erkey0123456789@t0ken0123456789", "pover://…"),
        ("hassio://homeassistant.local/eyJhbGciOiJIUzI1NiJ9.eyJp.x", "hassio://homeassistant.local/…"),
        ("signal://eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiI.abc/x", "signal://…"),
        ("json://127.0.0.1:8080/hook", "json://127.0.0.1/…"),
        ("not-a-url-but-a-t0ken", "an address that is not a URL"),
        ("S3CRET://x", "an address that is not a URL"),
    ],
)
def test_an_address_is_shown_without_anything_that_may_be_a_token(url: str, shown: str):
    assert shown_address(url) == shown


def test_tokens_and_passwords_are_secrets_and_words_of_an_address_are_not():
    settings = load_settings(
        alert_urls=f"ntfys://ntfy.example.org/movies\n discord://{DISCORD}  mailtos://recommend:hunter%2B2@smtp.example.org"
    )
    secrets = set(settings.secret_values())
    assert {*DISCORD.split("/"), "hunter%2B2", "hunter+2", f"discord://{DISCORD}"} <= secrets
    assert not {"movies", "recommend", "ntfy.example.org", "smtp.example.org"} & secrets
    assert len(settings.alert_addresses) == 3


def test_an_address_with_a_broken_host_is_no_stumbling_block():
    assert "json://[broken/t0ken-t0ken" in secrets_in("json://[broken/t0ken-t0ken")


def test_an_address_that_never_answers_is_given_up(inboxes: tuple[Inbox, Inbox]):
    silent, other = inboxes
    silent.hang.clear()
    notifier = Notifier(load_settings(alert_urls=f"{silent.url}?rto=0.2 {other.url}"))
    given_up, sent = (notifier.send(address, MESSAGE) for address in notifier.addresses)
    assert given_up is not None and sent is None
    assert other.titles == [MESSAGE.title]


def test_a_message_that_is_too_long_for_a_service_is_cut_and_not_refused(
    inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
):
    import apprise.plugins.custom_json

    # As Discord, which takes 2,000 characters, or Pushover, which takes half of that.
    monkeypatch.setattr(apprise.plugins.custom_json.NotifyJSON, "body_maxlen", 100)
    notifier = Notifier(load_settings(alert_urls=inboxes[0].url))
    long = Message("Aperture: 8 problems", "Movies failed: no.\n\n" * 50, is_good=False)
    assert [notifier.send(address, long) for address in notifier.addresses] == [None]
    (message,) = inboxes[0].take()
    assert message["message"].startswith("Movies failed") and len(message["message"]) <= 100
    # A letter comes whole, since its end has the link that ends letters.
    letter = Message("Your week", "<p>A film.</p>" * 20 + "<p>The end</p>", is_good=True, is_html=True)
    assert [notifier.send(address, letter) for address in notifier.addresses] == [None]
    parts = inboxes[0].take()
    assert len(parts) > 2 and "".join(one["message"] for one in parts).replace(" ", "").endswith("Theend</p>")


def test_a_name_controls_nothing_in_a_message_or_letter(inboxes: tuple[Inbox, Inbox]):
    notifier = Notifier(load_settings(alert_urls=inboxes[0].url))
    for is_html in (False, True):
        message = Message(f"Alien{EVIL}\nBcc: all", f"<p>Alien{EVIL}</p>", is_good=True, is_html=is_html)
        assert [notifier.send(address, message) for address in notifier.addresses] == [None]
        (sent,) = inboxes[0].take()
        assert sent["title"] == "Alien[2J Bcc: all" and "Alien[2J" in sent["message"]
        assert not set(EVIL[:1] + EVIL[-2:]) & set(sent["title"] + sent["message"])


def test_what_a_service_raises_is_a_reason_without_the_secrets_of_the_address(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no route to json://127.0.0.1/s3cr3t-t0ken")

    monkeypatch.setattr("apprise.NotifyBase.notify", fail)
    notifier = Notifier(make_settings(alert_urls="json://127.0.0.1/s3cr3t-t0ken"))
    (address,) = notifier.addresses
    reason = notifier.send(address, Message("Aperture", "It failed", False))
    assert reason is not None
    assert reason.startswith("RuntimeError: no route to ") and "s3cr3t" not in reason
