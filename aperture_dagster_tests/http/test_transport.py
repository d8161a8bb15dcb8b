"""The transport: retries, waits, limits, and redaction."""

from __future__ import annotations

import base64
import gzip
import html
import json
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote, quote_plus

import pytest

from aperture_dagster.http.errors import (
    BadAnswer,
    Cancelled,
    NotFound,
    RequestRejected,
    ServiceError,
    ServicePaused,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.http.messages import Request, expect, retry_after_seconds
from aperture_dagster.http.rate_limit import Pacer
from aperture_dagster.http.redaction import redact
from aperture_dagster.http.transport import Transport
from aperture_dagster_tests.services import Answer, Scripted
from aperture_dagster_tests.waiting import wait_for

Make = Callable[..., Transport]
GOOD = Answer({"good": True})


@pytest.mark.parametrize("status", [408, 429, 503, 520])
def test_temporary_statuses_are_retried(scripted: Scripted, transport: Make, status: int):
    scripted.say(Answer("", status), Answer("", status), GOOD)
    assert transport().get_json("/x") == {"good": True}
    assert len(scripted.asked) == 3


@pytest.mark.parametrize(
    "trouble",
    [
        Answer("", 500),
        Answer('{"whole": 1}', 200, missing=100),
        Answer("<html>Just a moment</html>", 200, {"content-type": "text/html"}),
        Answer("", 200),
        Answer({}, delay=0.4),
    ],
    ids=["500", "cut off", "html", "empty", "slow"],
)
def test_a_lasting_failure_ends_after_the_allowed_attempts(scripted: Scripted, transport: Make, trouble: Answer):
    scripted.say(trouble)
    with pytest.raises(ServiceUnavailable, match=r"^The service at http://127\.0\.0\.1:\d+: GET /x: "):
        transport(timeout_seconds=0.2).get_json("/x")
    # A request that was given up may still be on its way through a busy service.
    wait_for(lambda: len(scripted.asked) >= 3, "the last attempt never arrived", pause=0.01)
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("body", ['{"half": ', "[" * 100_000, "not JSON"], ids=["malformed", "too deep", "text"])
def test_malformed_json_is_requested_once(scripted: Scripted, transport: Make, body: str):
    """Another attempt would return the same and cost another request of the quota."""
    scripted.say(Answer(body))
    with pytest.raises(BadAnswer, match=r"GET /x: the answer is not JSON \(application/json\)"):
        transport().get_json("/x")
    assert len(scripted.asked) == 1
    with pytest.raises(BadAnswer, match=r"^The service at http://127\.0\.0\.1:\d+: GET /x: the answer is not JSON"):
        transport().send(Request("GET", "/x")).json()


def test_a_post_is_sent_once_unless_it_may_be_repeated(scripted: Scripted, transport: Make):
    """Otherwise the server might do twice what was requested once."""
    scripted.say(Answer("", 500))
    for send in (
        lambda: transport().post_json("/x", {}),
        lambda: transport().send(Request("POST", "/x", content=b"[]")),
    ):
        with pytest.raises(ServiceUnavailable):
            send()
    assert len(scripted.asked) == 2
    with pytest.raises(ServiceUnavailable):
        transport().post_json("/x", {}, repeatable=True)
    assert len(scripted.asked) == 2 + 3


def test_an_empty_answer_is_a_success(scripted: Scripted, transport: Make):
    for status in (204, 200):
        scripted.say(Answer("", status))
        assert transport().post_json("/x", {}, repeatable=True) is None
    answer = transport().send(Request("POST", "/x", json={}))
    assert (answer.status, answer.body, answer.json()) == (200, b"", None)
    assert len(scripted.asked) == 3


def test_a_requests_own_token_appears_in_no_message(scripted: Scripted, transport: Make):
    scripted.say(lambda asked: Answer({"error": f"{asked.headers['authorization']} has expired"}, 401))
    client = transport(headers={"Authorization": "Bearer of-the-app"})
    for token in ("of-ann", "of-bob"):
        with pytest.raises(ServiceRefused) as refused:
            client.send(Request("GET", "/x", headers={"Authorization": f"Bearer {token}"}))
        assert token not in str(refused.value) and "has expired" in str(refused.value)
    assert [asked.headers["authorization"] for asked in scripted.asked] == ["Bearer of-ann", "Bearer of-bob"]


def test_an_unreachable_service_is_unavailable(transport: Make):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = transport(url)
    with pytest.raises(ServiceUnavailable, match="refused"):
        client.get_json("/x")
    assert client.requests == 3


@pytest.mark.parametrize("address", ["http://host:port", "http://[::1"])
def test_a_malformed_address_is_refused(transport: Make, address: str):
    client = transport(address)
    with pytest.raises(ServiceRefused, match="not a usable address"):
        client.get_json("/x")
    assert client.requests == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_retried_and_names_the_setting(scripted: Scripted, transport: Make, status: int):
    scripted.say(Answer({"status_message": "Invalid API key"}, status))
    with pytest.raises(ServiceRefused, match=rf"refused \({status}\).*Invalid API key.*Check SOME_KEY\."):
        transport(setting="SOME_KEY").get_json("/x")
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (400, RequestRejected), (422, RequestRejected)])
def test_permanent_statuses_are_not_retried(
    scripted: Scripted, transport: Make, status: int, error: type[ServiceError]
):
    scripted.say(Answer({"why": "because"}, status))
    with pytest.raises(error):
        transport().get_json("/x")
    assert len(scripted.asked) == 1


def test_a_redirect_is_reported_and_not_followed(scripted: Scripted, transport: Make):
    scripted.say(Answer("", 302, {"location": "http://elsewhere.example/login"}))
    with pytest.raises(RequestRejected, match=r"redirects to http://elsewhere\.example/login"):
        transport(headers={"Authorization": "Bearer key"}).get_json("/x")
    assert len(scripted.asked) == 1


def test_markup_is_left_out_of_messages(scripted: Scripted, transport: Make):
    scripted.say(Answer("<html><body>502 Bad Gateway</body></html>", 502, {"content-type": "text/html"}))
    with pytest.raises(ServiceUnavailable) as told:
        transport().get_json("/x")
    assert "<" not in str(told.value)


def test_the_services_message_is_truncated_to_one_line(scripted: Scripted, transport: Make):
    scripted.say(Answer("first\nsecond " + "x" * 10_000, 400))
    with pytest.raises(RequestRejected) as told:
        transport().get_json("/x")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


# Waiting


def test_retry_after_in_seconds_is_honoured(scripted: Scripted, transport: Make):
    scripted.say(Answer("", 429, {"retry-after": "0.3"}), GOOD)
    transport().get_json("/x")
    first, second = (asked.at for asked in scripted.asked)
    assert 0.29 <= second - first < 2


def test_the_wait_doubles_and_has_an_upper_bound(scripted: Scripted, transport: Make):
    scripted.say(Answer("", 500))
    client = transport(attempts=5, first_wait_seconds=0.04, longest_wait_seconds=0.1)
    with patch.object(client, "_sleep") as sleep, pytest.raises(ServiceUnavailable):
        client.get_json("/x")
    # With a jitter of up to the first wait.
    waits = [call.args[0] for call in sleep.call_args_list]
    assert all(least <= wait <= least + 0.04 for least, wait in zip((0.04, 0.08, 0.1, 0.1), waits, strict=True))


def test_retry_after_is_parsed():
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def asked(value: str) -> float | None:
        return retry_after_seconds({"retry-after": value}, now)

    assert asked("7") == 7
    assert asked(" 7.5 ") == 7.5
    assert asked("Thu, 01 Jan 2026 00:00:30 GMT") == 30
    assert asked("Thu, 01 Jan 2026 00:00:30 -0000") == 30
    assert asked("Wed, 31 Dec 2025 00:00:00 GMT") == 0
    assert asked("-3") == 0
    assert asked("300") == 300
    assert asked("1e9") == asked("Thu, 01 Jan 2099 00:00:00 GMT") == 365 * 24 * 3600
    assert asked("") is asked("soon") is asked("inf") is asked("nan") is None
    assert retry_after_seconds({}) is None


# Secrets

SECRET = 'k%y "with"/odd &=+ parts ü'


def everything(error: BaseException, records: list[logging.LogRecord]) -> str:
    """Return everything that an operator or a log could see of an error."""
    told = [str(error), repr(error)]
    for record in records:
        told += [record.getMessage(), repr(record.__dict__)]
    return "\n".join(told)


@pytest.mark.parametrize("status", [401, 500])
def test_a_key_repeated_by_the_service_is_redacted(
    scripted: Scripted, transport: Make, caplog: pytest.LogCaptureFixture, status: int
):
    forms = [SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET)]
    scripted.say(*(Answer(f"no: {form} and /?key={form}", status) for form in forms for _ in range(3)))
    caplog.set_level(logging.DEBUG)
    for _ in forms:
        with pytest.raises(ServiceError) as told:
            transport(params={"key": SECRET}, secrets=[SECRET]).get_json("/x")
        said = everything(told.value, [record for record in caplog.records if not record.name.startswith("http")])
        for form in forms:
            assert form not in said


def test_a_key_at_the_edge_of_a_truncated_message_is_redacted(scripted: Scripted, transport: Make):
    client = transport(secrets=["abcdefghijklmnop"], address_setting="SOME_URL")
    for room in range(140, 170):
        scripted.say(Answer("x" * room + " abcdefghijklmnop", 400))
        with pytest.raises(RequestRejected) as told:
            client.get_json("/x")
        assert "abc" not in str(told.value)
    scripted.say(Answer("", 302, {"location": "http://127.0.0.1/" + "x" * 175 + "?key=abcdefghijklmnop"}))
    with pytest.raises(RequestRejected, match="set SOME_URL to the final address") as told:
        client.get_json("/x")
    assert "abc" not in str(told.value)


@pytest.mark.parametrize(
    "form",
    [
        SECRET, quote(SECRET, safe=""), quote(SECRET, safe="").lower(), json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1], html.escape(SECRET), repr(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(), quote(quote(SECRET)), quote_plus(quote_plus(quote_plus(SECRET))),
        json.dumps(json.dumps(SECRET))[3:-3], json.dumps(quote(SECRET))[1:-1], " ".join(SECRET.split()),
        html.escape(json.dumps(SECRET)[1:-1]),
    ],
    ids=[
        "plain", "URL", "URL in small letters", "JSON", "JSON in Unicode", "HTML", "Python", "base64", "URL in URL",
        "query in query in query", "JSON in JSON", "URL in JSON", "one line", "JSON in HTML",
    ],
)  # fmt: skip
def test_a_key_is_redacted_in_every_encoding(form: str):
    assert redact(f"x{form}y", [SECRET]) == "x***y"


def test_urls_are_not_logged(scripted: Scripted, transport: Make, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    transport(params={"key": "abc123"}, secrets=["abc123"]).get_json("/x")
    assert "abc123" in scripted.asked[0].target
    assert "abc123" not in caplog.text


@pytest.mark.parametrize("key", ["topsecret\n", "top\x00secret", "top…secret", "topsecret\r\nX-Other: 1"])
def test_a_key_that_fits_no_header_is_refused_without_being_shown(transport: Make, key: str):
    with pytest.raises(ServiceRefused, match="SOME_KEY") as told:
        transport(headers={"Authorization": f"Bearer {key}"}, secrets=[key], setting="SOME_KEY")
    assert "secret" not in str(told.value)


def test_a_secret_within_another_is_redacted():
    assert redact("x longer-secret y secret z", ["secret", "longer-secret"]) == "x *** y *** z"
    assert redact("nothing", [""]) == "nothing"


def test_the_key_is_sent_unchanged(scripted: Scripted, transport: Make):
    transport(headers={"Authorization": "Bearer abc"}, params={"page": "1"}).get_json("/x", {"q": "a b&c=d"})
    asked = scripted.asked[0]
    assert asked.headers["authorization"] == "Bearer abc"
    assert asked.headers["user-agent"].startswith("aperture-dagster")
    assert asked.target in ("/x?page=1&q=a+b%26c%3Dd", "/x?page=1&q=a%20b%26c%3Dd")


# Bounds


@pytest.mark.parametrize("status", [200, 500])
def test_a_decompression_bomb_is_not_read(scripted: Scripted, transport: Make, status: int):
    packed = gzip.compress(bytes(50_000_000))
    assert len(packed) < 60_000
    scripted.say(Answer(packed, status, {"content-encoding": "gzip"}))
    tracemalloc.start()
    with pytest.raises(BadAnswer if status == 200 else ServiceUnavailable) as raised:
        transport(attempts=1).send(Request("GET", "/x", max_bytes=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 500 or "larger than 0.1 MB" in str(raised.value)
    assert peak < 20_000_000


@pytest.mark.parametrize("drips", ["headers", "body"])
def test_a_dripping_server_cannot_hold_a_request(transport: Make, drips: str):
    """Every single read returns in time."""
    with dripping_server(drips) as url:
        client = transport(url, timeout_seconds=0.25, attempts=1)
        started = time.monotonic()
        # The server drips for a minute, and what it sends would be complete then.
        with pytest.raises(ServiceUnavailable, match="no answer in time"):
            client.get_json("/x")
        assert time.monotonic() - started < 30


@contextmanager
def dripping_server(drips: str) -> Iterator[str]:
    """Serve an answer that sends a byte every 0.1 s, of its headers or of its body."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection = listener.accept()[0]
                with connection:
                    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 600\r\n"
                    if drips == "body":
                        connection.sendall(head + b"\r\n")
                    for _ in range(600):
                        connection.sendall(b"x" if drips == "headers" else b" ")
                        if over.wait(0.1):
                            return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join(10)


@pytest.mark.parametrize("where", ["wait for the next attempt", "wait for its turn", "read"])
def test_cancelling_ends_requests_wherever_they_wait(scripted: Scripted, transport: Make, where: str):
    scripted.say(
        Answer("", 503, {"retry-after": "100"}) if where.startswith("wait for the next") else Answer({}, delay=60)
    )
    pacer = Pacer(1, 600) if where == "wait for its turn" else None
    client = transport(pacer=pacer, timeout_seconds=100)
    ended: list[Exception] = []

    def work() -> None:
        try:
            client.get_json("/x")
        except Exception as error:
            ended.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while pacer is None and len(scripted.asked) < 3:
        time.sleep(0.01)
    client.cancel()
    for thread in threads:
        thread.join(20)
    assert [type(error) for error in ended] == [Cancelled] * 3
    with pytest.raises(Cancelled):
        client.get_json("/x")


def test_a_long_pause_is_reported_with_its_end(scripted: Scripted, transport: Make):
    scripted.say(Answer("", 429, {"retry-after": "5000"}))
    with pytest.raises(ServicePaused, match=r"asks to be left alone until \d{4}-\d\d-\d\d \d\d:\d\d UTC") as paused:
        transport().get_json("/x")
    assert 4_900 < (paused.value.resumes_at - datetime.now(UTC)).total_seconds() <= 5_000
    assert len(scripted.asked) == 1


def test_expect_names_the_expected_and_the_actual_type():
    assert expect([1], list, "things") == [1]
    assert expect(True, bool, "flag") is True
    for value, kind, said in (
        ({}, list, "things: expected list, got dict"),
        (True, int, "things: expected int, got bool"),
        (True, (int, float), "things: expected int or float, got bool"),
        (None, (str, int), "things: expected str or int, got NoneType"),
    ):
        with pytest.raises(BadAnswer, match=said):
            expect(value, kind, "things")
