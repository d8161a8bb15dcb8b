"""Failures that any service can have, for the tests of all clients."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from aperture_dagster.http.errors import BadAnswer, ServiceError, ServiceFailed, ServiceTimedOut, ServiceUnavailable
from aperture_dagster_tests.services import Answer

ATTEMPTS = 2
# One attempt's patience, against an answer that takes five times as long.
PATIENCE = 0.15
QUICK: dict[str, Any] = {"attempts": ATTEMPTS, "first_wait_seconds": 0.01, "timeout_seconds": 5}


class Trouble(NamedTuple):
    """An answer, the expected error, words of its message, and the expected number of requests."""

    answer: Answer
    error: type[ServiceError]
    words: str
    requests: int = ATTEMPTS
    patience: float = 5


def page(status: int = 200) -> Answer:
    return Answer(
        f"<html><body>Error {status}, see ?apikey=KEY</body></html>",
        status,
        {"content-type": "text/html; charset=utf-8"},
    )


PASSING: dict[str, Trouble] = {
    "throttled": Trouble(Answer({"error": "KEY"}, 429), ServiceUnavailable, "answered 429"),
    "throttled, told how long": Trouble(
        Answer({"error": "KEY"}, 429, {"retry-after": "0"}), ServiceUnavailable, "answered 429"
    ),
    "down": Trouble(Answer({"error": "KEY"}, 500), ServiceFailed, "answered 500"),
    "unreachable behind its proxy": Trouble(page(522), ServiceUnavailable, "answered 522"),
    "slow": Trouble(Answer({}, delay=PATIENCE * 5), ServiceTimedOut, "no answer in time", patience=PATIENCE),
    "cut off": Trouble(Answer({}, missing=50), ServiceUnavailable, "closed connection|incomplete"),
}
NO_JSON: dict[str, Trouble] = {
    "a page": Trouble(page(), ServiceUnavailable, r"is not JSON \(text/html"),
    "malformed JSON": Trouble(Answer('{"key": "KEY", '), BadAnswer, "is not JSON", requests=1),
    "nothing": Trouble(Answer(""), ServiceUnavailable, "is not JSON"),
}


# Whatever a service may put where something else was promised.
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["N/A", "7.5", "603"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def with_key(answer: Answer, key: str) -> Answer:
    """Put the key into an answer."""
    content = answer.content().replace(b"KEY", key.encode())
    return Answer(content, answer.status, answer.headers, answer.delay, answer.missing)
