"""Signing in to Trakt: codes, tokens, and which failure makes a user connect again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import pytest

from aperture_dagster.http import errors
from aperture_dagster.http.errors import BadAnswer, ServiceError, ServiceUnavailable
from aperture_dagster.trakt.errors import AppRefused, EdgeBlocked, InvalidGrant, SignInFailed
from aperture_dagster.trakt.records import DeviceCode, TokenPair, parse_code, parse_tokens
from aperture_dagster.trakt.sign_in import TraktSignIn
from aperture_dagster_tests.http.troubles import page
from aperture_dagster_tests.services import NOW, Answer, Scripted
from aperture_dagster_tests.trakt.test_client import CLIENT_ID, CLIENT_SECRET, QUIET, TOKEN, opened
from aperture_dagster_tests.trakt.trakt_home import quick_trakt


@pytest.fixture
def sign_in(scripted: Scripted) -> Iterator[TraktSignIn]:
    with quick_trakt(), contextlib.closing(TraktSignIn(scripted.url, CLIENT_ID, CLIENT_SECRET, **QUIET)) as client:
        yield client


CODE = {
    "device_code": "dev1ce-c0de", "user_code": "U5ERC0DE", "verification_url": "https://trakt.example/activate",
    "expires_in": 600, "interval": 5,
}  # fmt: skip
PAIR = {"access_token": TOKEN, "refresh_token": "refre5h", "expires_in": 604_800, "created_at": 1_760_000_000}


class Time:
    """A clock that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, client: TraktSignIn, code: DeviceCode) -> TokenPair:
        return client.wait(code, sleep=self.sleep, monotonic=lambda: self.now)


def test_a_code_is_polled_for_at_its_interval_until_it_was_entered(scripted: Scripted, sign_in: TraktSignIn):
    scripted.say(Answer(CODE), Answer(b"", 400), Answer(b"", 429), Answer(b"", 400), Answer(b"", 503), Answer(PAIR))
    code, clock = sign_in.start(), Time()
    assert code.link == "https://trakt.example/activate/U5ERC0DE"
    tokens = clock.wait(sign_in, code)
    assert (tokens.access_token, tokens.refresh_token) == (TOKEN, "refre5h")
    assert tokens.expires_at - tokens.issued_at == timedelta(days=7)
    # Five and five seconds, and ten after the answer that this was too fast.
    assert clock.now == 5 + 5 + 10 + 10 + 10
    assert scripted.asked[0].body == {"client_id": CLIENT_ID}
    assert scripted.asked[1].body == {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "code": "dev1ce-c0de",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, SignInFailed), (409, SignInFailed), (410, SignInFailed), (418, SignInFailed), (403, AppRefused),
        (401, AppRefused),
    ],
)  # fmt: skip
def test_the_status_of_a_poll_decides_without_a_body(
    scripted: Scripted, sign_in: TraktSignIn, status: int, error: type[ServiceError]
):
    scripted.say(Answer(b"", status))
    with pytest.raises(error):
        Time().wait(sign_in, parse_code(CODE))


def test_polling_ends_with_the_code(scripted: Scripted, sign_in: TraktSignIn):
    scripted.say(Answer(b"", 400))
    clock = Time()
    with pytest.raises(SignInFailed):
        clock.wait(sign_in, parse_code(CODE))
    assert clock.now == 600 and len(scripted.asked) == 119


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer({"error": "invalid_grant", "error_description": "session not found"}, 400), InvalidGrant),
        (Answer({"error": "invalid_grant"}, 401), InvalidGrant),
        (Answer(b"", 400), InvalidGrant),
        (Answer({"error": "invalid_client"}, 401), AppRefused),
        (Answer({"error": "invalid_client"}, 400), AppRefused),
        (Answer("Forbidden", 403, {"content-type": "text/plain"}), AppRefused),
        (page(403), EdgeBlocked),
        (Answer({"error": "invalid_request"}, 400), errors.RequestRejected),
        (Answer({"error": "temporarily_unavailable"}, 400), ServiceUnavailable),
        (Answer({"error": f"odd {TOKEN}"}, 401), ServiceUnavailable),
        (Answer({"error": {"code": 7}}, 401), ServiceUnavailable),
        (Answer(b"", 404), errors.NotFound),
        (Answer(b"", 500), ServiceUnavailable),
        (Answer({"access_token": TOKEN}), BadAnswer),
        (Answer('{"access_token": "70ken70ken", '), BadAnswer),
    ],
)
def test_only_a_void_token_makes_a_user_connect_again(
    scripted: Scripted, sign_in: TraktSignIn, answer: Answer, error: type[ServiceError]
):
    scripted.say(answer)
    with pytest.raises(error) as raised:
        sign_in.refresh("old-refre5h")
    assert scripted.asked[0].body == {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": "old-refre5h",
        "grant_type": "refresh_token", "redirect_uri": "urn:ietf:wg:oauth:2.0:oob",
    }  # fmt: skip
    assert len(scripted.asked) <= 2
    for secret in (CLIENT_ID, CLIENT_SECRET, TOKEN, "old-refre5h"):
        assert secret not in str(raised.value)


def test_an_error_that_repeats_the_secrets_does_not_show_them(scripted: Scripted, sign_in: TraktSignIn):
    secrets = {TOKEN, CLIENT_ID, CLIENT_SECRET, "old-refre5h", "dev1ce-c0de", "U5ERC0DE"}
    scripted.say(Answer({"message": f"bad {' '.join(secrets)}"}, 422))
    with opened(scripted.url) as trakt:
        for attempt, known in (
            (lambda: sign_in.refresh("old-refre5h"), {"old-refre5h", CLIENT_ID, CLIENT_SECRET}),
            (lambda: sign_in.revoke(TOKEN), {TOKEN, CLIENT_ID, CLIENT_SECRET}),
            (lambda: Time().wait(sign_in, parse_code(CODE)), {"dev1ce-c0de", "U5ERC0DE", CLIENT_SECRET}),
            (trakt.account, {TOKEN, CLIENT_ID}),
        ):
            with pytest.raises(ServiceError) as raised:
                attempt()
            assert "422" in str(raised.value)
            assert not [secret for secret in known if secret in str(raised.value)]
    shown = repr(parse_tokens(PAIR, NOW)) + repr(parse_code(CODE))
    assert not [secret for secret in (*secrets, "refre5h") if secret in shown]
