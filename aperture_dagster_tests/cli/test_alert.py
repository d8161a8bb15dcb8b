"""``aperture alert test``: whether messages reach each address."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster_tests.inbox import TOKEN, Inbox, open_inbox


def run(monkeypatch: pytest.MonkeyPatch, urls: str) -> Result:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("APERTURE_ALERT_URLS", urls)
    return CliRunner().invoke(main, ["alert", "test"])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_each_address_gets_a_message_and_its_line(monkeypatch: pytest.MonkeyPatch, inbox: Inbox):
    with open_inbox() as second:
        done = run(monkeypatch, f"{inbox.url} {second.url}")
        assert done.exit_code == 0, done.output
        assert lines(done) == ["✓ json://127.0.0.1/… sent"] * 2
        assert inbox.titles == second.titles == ["Aperture: a test"]


def test_one_that_fails_is_named_without_its_secrets_and_is_an_error(monkeypatch: pytest.MonkeyPatch, inbox: Inbox):
    with open_inbox() as second:
        second.status = 401
        done = run(monkeypatch, f"{inbox.url} {second.url} jsonn://example.org/{TOKEN}")
    assert done.exit_code == 1
    good, refused, wrong = lines(done)
    assert "✓" in good and "sent" in good
    assert "✗ json://127.0.0.1/… not sent: " in refused and "error=401" in refused
    assert "✗ jsonn://example.org/… not sent: it is not an address that apprise understands" in wrong
    assert TOKEN not in done.output
    assert inbox.titles == ["Aperture: a test"]


def test_without_an_address_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    done = run(monkeypatch, "")
    assert done.exit_code == 1
    assert "APERTURE_ALERT_URLS is not set" in done.output
