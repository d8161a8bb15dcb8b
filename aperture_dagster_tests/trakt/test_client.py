"""Reading and writing ratings on Trakt: complete lists, refusals told apart, and batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given

from aperture_dagster.http.errors import BadAnswer, ServiceError, ServiceUnavailable
from aperture_dagster.trakt.client import Trakt
from aperture_dagster.trakt.errors import AccountFull, AppRefused, EdgeBlocked, UserPaused
from aperture_dagster.trakt.records import (
    TraktIds,
    TraktRating,
    TraktTitle,
    parse_code,
    parse_rating,
    parse_title,
    parse_tokens,
    parse_user,
)
from aperture_dagster_tests.http.troubles import ANY_JSON, QUICK, page
from aperture_dagster_tests.services import NOW, Answer, Asked, Scripted
from aperture_dagster_tests.trakt.trakt_home import quick_trakt

CLIENT_ID, CLIENT_SECRET = "c0ffee42c0ffee42", "5ecre75ecre7"
TOKEN, RENEWED = "70ken70ken", "renewed-70ken"
QUIET = {**QUICK, "now": lambda: NOW}
EMPTY = Answer(b"", headers={"content-type": "text/plain"})


class Tokens:
    """A user's access, as it is kept elsewhere."""

    name = "ada"

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.reported: list[ServiceError] = []

    def token(self) -> str:
        return RENEWED if self.refused else TOKEN

    def renew(self, refused: str) -> str:
        self.refused.append(refused)
        return RENEWED

    def report(self, error: ServiceError) -> None:
        self.reported.append(error)


@contextlib.contextmanager
def opened(url: str, access: Any = None, **options: Any) -> Iterator[Trakt]:
    with (
        quick_trakt(),
        contextlib.closing(Trakt(url, CLIENT_ID, access=access or Tokens(), **QUIET | options)) as client,
    ):
        yield client


@pytest.fixture
def access() -> Tokens:
    return Tokens()


@pytest.fixture
def trakt(scripted: Scripted, access: Tokens) -> Iterator[Trakt]:
    with opened(scripted.url, access) as client:
        yield client


def row(number: int, rating: Any = 8, **ids: Any) -> dict[str, Any]:
    movie = {"title": "An old title", "ids": {"trakt": number, "slug": f"film-{number}", "tmdb": 9000 + number, **ids}}
    return {"rated_at": "2024-05-06T07:08:09.000Z", "rating": rating, "type": "movie", "movie": movie}


def pages(*rows: list[Any], count: int | None = None, total: bool = True) -> Callable[[Asked], Answer]:
    """Serve pages of ratings; pages after the last one are empty."""

    def serve(asked: Asked) -> Answer:
        number = int(asked.target.partition("page=")[2].partition("&")[0])
        headers = {"x-pagination-page-count": str(len(rows))} if total else {}
        if count is not None:
            headers["x-pagination-item-count"] = str(count)
        return Answer(rows[number - 1] if number <= len(rows) else [], headers=headers)

    return serve


# Every request


def test_requests_name_the_program_and_the_app_and_carry_the_token_in_a_header(scripted: Scripted, trakt: Trakt):
    scripted.say(Answer({"user": {"username": "ada", "vip": True}}), Answer({"added": {"movies": 1}}, 201))
    assert trakt.account() == "ada"
    trakt.push_ratings([film(1)])
    for asked in scripted.asked:
        assert asked.headers["user-agent"].startswith("aperture-dagster/")
        assert asked.headers["user-agent"][17].isdigit()
        assert asked.headers["trakt-api-version"] == "2" and asked.headers["trakt-api-key"] == CLIENT_ID
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in asked.target and CLIENT_ID not in asked.target
    assert trakt.requests == 2


@pytest.mark.parametrize(
    ("status", "longer", "hours"), [(200, {}, 1), (401, {}, 1), (403, {}, 1), (429, {"retry-after": "7200"}, 2)]
)
def test_a_web_page_is_a_block_by_the_edge_whatever_its_status(
    scripted: Scripted, trakt: Trakt, access: Tokens, status: int, longer: dict[str, str], hours: int
):
    answer = page(status)
    answer.headers |= longer
    scripted.say(answer)
    with pytest.raises(EdgeBlocked, match="nobody has to connect again") as raised:
        trakt.last_activities()
    assert raised.value.resumes_at == NOW + timedelta(hours=hours)
    assert len(scripted.asked) == 1 and access.reported == [raised.value] and not access.refused


@pytest.mark.parametrize("answer", [page(502), page(522), Answer(b"", 503), Answer(b"", 429)])
def test_an_outage_is_waited_for_and_nobody_is_blamed(scripted: Scripted, trakt: Trakt, access: Tokens, answer: Answer):
    scripted.say(answer, Answer({"movies": {"rated_at": "then"}}))
    assert trakt.last_activities() == {"movie": "then"}
    scripted.say(answer)
    with pytest.raises(ServiceUnavailable) as raised:
        trakt.last_activities()
    assert not isinstance(raised.value, (EdgeBlocked, UserPaused)) and not access.reported


def test_an_outage_is_given_time_before_the_next_attempt(scripted: Scripted):
    scripted.say(Answer(b"", 502), Answer({"movies": {"rated_at": "then"}}))
    with (
        patch("aperture_dagster.trakt.answers.OUTAGE_WAIT_SECONDS", 0.2),
        contextlib.closing(Trakt(scripted.url, CLIENT_ID, access=Tokens(), **QUIET)) as trakt,
    ):
        started = time.monotonic()
        assert trakt.last_activities() == {"movie": "then"}
    assert time.monotonic() - started >= 0.2


def test_a_limit_is_waited_for_if_it_is_short_and_pauses_the_user_otherwise(scripted: Scripted, trakt: Trakt):
    scripted.say(Answer(b"", 429, {"retry-after": "1"}), Answer({}))
    trakt.last_activities()
    first, second = scripted.asked
    assert 1 <= second.at - first.at < 3
    scripted.say(Answer(b"", 429, {"retry-after": "600"}))
    with pytest.raises(UserPaused, match="ada") as raised:
        trakt.last_activities()
    assert raised.value.resumes_at == NOW + timedelta(seconds=600)


def test_only_two_403s_in_a_row_refuse_the_app(scripted: Scripted, trakt: Trakt, access: Tokens):
    forbidden = Answer("Forbidden", 403, {"content-type": "text/plain"})
    scripted.say(forbidden, Answer({}), forbidden, Answer({}))
    trakt.last_activities()
    trakt.last_activities()
    assert not access.reported
    scripted.say(forbidden)
    scripted.asked.clear()
    with pytest.raises(AppRefused, match="no user has to connect again"):
        trakt.last_activities()
    assert len(scripted.asked) == 2 and len(access.reported) == 1 and not access.refused


def test_a_full_account_concerns_the_push_alone(scripted: Scripted, trakt: Trakt, access: Tokens):
    scripted.say(Answer(b"", 420))
    with pytest.raises(AccountFull, match="ada"):
        trakt.push_ratings([film(1)])
    assert len(scripted.asked) == 1 and not access.reported


@pytest.mark.parametrize("answer", [Answer('{"rating"'), Answer({"unexpected": 1}), EMPTY, Answer(b"", 204)])
def test_a_list_that_cannot_be_read_is_an_error_and_not_an_empty_list(scripted: Scripted, trakt: Trakt, answer: Answer):
    scripted.say(answer)
    with pytest.raises(BadAnswer):
        trakt.ratings("movie")


# Lists


@pytest.mark.parametrize(
    ("script", "numbers"),
    [
        (pages([row(1)], [row(2), row(3)], count=3), [1, 2, 3]),
        (pages([row(1)], [row(2)], total=False), [1, 2]),
        (pages([row(1), row(2)], total=False, count=2), [1, 2]),
        (lambda asked: Answer([row(number) for number in range(1, 251)]), range(1, 251)),
        (pages([]), []),
        (lambda asked: Answer([]), []),
    ],
    ids=["pages", "pages without headers", "counted", "all at once, every time", "empty", "empty without headers"],
)
def test_a_complete_list_is_read_to_its_end_and_known_to_be_complete(
    scripted: Scripted, trakt: Trakt, script: Any, numbers: Any
):
    scripted.say(script)
    found = trakt.ratings("movie")
    assert [rating.ids.trakt for rating in found.ratings] == list(numbers)
    assert found.is_complete and found.incomplete is None
    assert "limit=100" in scripted.asked[0].target


def changing(asked: Asked) -> Answer:
    count = 4 if "page=1" in asked.target else 3
    rows = [row(1), row(2)] if "page=1" in asked.target else [row(4)]
    return Answer(rows, headers={"x-pagination-page-count": "2", "x-pagination-item-count": str(count)})


def growing(asked: Asked) -> Answer:
    first = "page=1&" in asked.target
    return Answer([row(number) for number in range(1 if first else 0, 5)])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (pages([row(1)], [row(2)], count=3), "counts 3 ratings and sent 2"),
        (pages([row(1)], [row(2)], count=1), "counts 1 ratings and sent 2"),
        (pages([row(1), row(2)], [row(2), row(3)]), "twice"),
        (pages([row(1)], [], [row(3)]), "page 2 of 3 is empty"),
        (pages([row(1)], [row(2, rating="none")]), "could not be read"),
        (pages([row(1)], [{"rating": 7, "rated_at": "2024-05-06T07:08:09.000Z"}]), "could not be read"),
        (changing, "changed while"),
        (growing, "twice"),
    ],
)
def test_a_list_that_may_lack_something_is_known_to_be_incomplete(
    scripted: Scripted, trakt: Trakt, script: Any, words: str
):
    scripted.say(script)
    found = trakt.ratings("movie")
    assert not found.is_complete and words in (found.incomplete or "")
    assert found.ratings and len(scripted.asked) <= 3


def test_a_page_that_fails_is_an_error_and_not_a_shorter_list(scripted: Scripted, trakt: Trakt):
    full = pages([row(1)], [row(2)], count=2)
    scripted.say(lambda asked: Answer(b"", 500) if "page=2" in asked.target else full(asked))
    with pytest.raises(ServiceUnavailable):
        trakt.ratings("movie")


def test_ratings_are_joined_by_their_ids_only_and_rounded_once(scripted: Scripted, trakt: Trakt):
    show = {"title": "A", "ids": {"trakt": 5, "slug": "a", "imdb": "", "tmdb": 0, "tvdb": 77}}
    scripted.say(pages([{"rated_at": "2024-05-06T09:08:09.731+02:00", "rating": 7.5, "show": show}]))
    (rating,) = trakt.ratings("series").ratings
    assert rating == TraktRating("series", TraktIds(trakt=5, tvdb=77), 8, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    assert rating.ids.elsewhere.tvdb_id == 77


@given(ANY_JSON)
def test_whatever_comes_costs_only_itself(value: Any):
    for shape in (value, {"rating": value, "rated_at": value, "movie": {"ids": value}}, {"ids": {"tmdb": value}}):
        parse_rating("movie", shape)
        parse_title("series", shape)
        for parse in (parse_code, parse_user, lambda shape: parse_tokens(shape, NOW)):
            with contextlib.suppress(BadAnswer):
                parse(shape)


@pytest.mark.parametrize("answer", [Answer([]), EMPTY, Answer(b"", 204)])
def test_no_recommendations_mean_that_nothing_is_known(scripted: Scripted, trakt: Trakt, answer: Answer):
    scripted.say(answer)
    assert trakt.recommendations("movie") is None
    scripted.say(Answer([{"ids": {"tmdb": 2}}, {"ids": {}}, {"ids": {"tmdb": 1}}, {"ids": {"tmdb": 2}}, None]))
    assert [title.ids.tmdb for title in trakt.recommendations("movie") or ()] == [2, 1]
    assert len(scripted.asked) == 2 and "limit=100" in scripted.asked[0].target


# Writes


def film(number: int, rating: int = 8, **ids: Any) -> TraktRating:
    known = TraktIds(**{"tmdb": number} | ids)
    return TraktRating("movie", known, rating, datetime(2024, 5, 6, 9, 8, 9, 731_000, tzinfo=UTC))


def created(asked: Asked) -> Answer:
    return Answer({"added": {"movies": len(asked.body["movies"])}, "not_found": {}}, 201)


def test_ratings_are_pushed_as_integers_with_their_date_in_whole_seconds(scripted: Scripted, trakt: Trakt):
    scripted.say(created)
    series = TraktRating("series", TraktIds(tvdb=7), 3, datetime(2024, 1, 1, 1, tzinfo=UTC))
    trakt.push_ratings([film(1, 9, tvdb=4), series])
    assert scripted.asked[0].body == {
        "movies": [{"ids": {"tmdb": 1}, "rating": 9, "rated_at": "2024-05-06T09:08:09.000Z"}],
        "shows": [{"ids": {"tvdb": 7}, "rating": 3, "rated_at": "2024-01-01T01:00:00.000Z"}],
    }
    trakt.remove_ratings([film(1), series])
    assert scripted.asked[1].target == "/sync/ratings/remove"
    assert scripted.asked[1].body == {"movies": [{"ids": {"tmdb": 1}}], "shows": [{"ids": {"tvdb": 7}}]}
    for wrong in (0, 11):
        with pytest.raises(ValueError, match="1 to 10"):
            film(1, wrong)


def test_what_is_not_found_is_recognised_by_the_ids_that_were_sent(scripted: Scripted, trakt: Trakt):
    batch = [film(1, 8, trakt=11), film(2), TraktRating("series", TraktIds(tmdb=2), 8, NOW), film(3, imdb="tt0000003")]
    missing = {
        "movies": [{"rating": 8, "ids": {"tmdb": "2"}}, {"ids": {"trakt": 11, "tmdb": None}}, {"ids": {"tmdb": 99}}],
        "shows": [],
        "people": [{"ids": {"tmdb": 3}}],
    }
    scripted.say(Answer({"added": {"movies": 4}, "not_found": missing}, 201))
    assert trakt.push_ratings(batch) == (batch[0], batch[1])
    scripted.say(Answer({"deleted": {"movies": 0}, "not_found": {"movies": [{"ids": {"imdb": "tt0000003"}}]}}))
    titles = [TraktTitle(one.media_type, one.ids) for one in batch]
    assert trakt.remove_ratings(batch) == (titles[3],)


def test_writes_are_spaced_and_reads_are_not(scripted: Scripted):
    scripted.say(lambda asked: created(asked) if asked.body else Answer({}))
    with contextlib.closing(Trakt(scripted.url, CLIENT_ID, access=Tokens(), **QUIET)) as trakt:
        assert trakt._writes.spacing == pytest.approx(1.1)
        waits = []
        with patch.object(trakt._writes, "wait") as wait:
            for _ in range(2):
                for send in (trakt.last_activities, lambda: trakt.push_ratings([film(1)])):
                    send()
                    waits.append(wait.call_count)
    assert waits == [0, 1, 1, 2]
