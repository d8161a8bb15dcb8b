"""The client of Seerr: as whom it asks, and how it tells the answers apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aperture_dagster.discovery.seerr import RequestRefused, Seerr, WrongRequester
from aperture_dagster.http import errors
from aperture_dagster_tests.services import Answer, Asked, Scripted

KEY = "key-of-seerr"


@pytest.fixture
def seerr(scripted: Scripted) -> Iterator[Seerr]:
    client = Seerr(scripted.url, KEY, attempts=2, first_wait_seconds=0.01)
    yield client
    client.close()


def request_of(number: int, user: int, status: int = 1, **facts: Any) -> dict[str, Any]:
    return {"id": number, "status": status, "is4k": False, "requestedBy": {"id": user}, "seasons": []} | facts


def test_all_pages_of_users_are_read_whatever_their_size(seerr: Seerr, scripted: Scripted):
    people = [{"id": one, "displayName": f"user {one}", "permissions": 32} for one in range(1, 24)]
    people[4] |= {"jellyfinUserId": "AB12-cd34", "permissions": 32 | 256}

    def page(asked: Asked) -> Answer:
        skip = int(asked.target.partition("skip=")[2])
        return Answer({"pageInfo": {"results": 23}, "results": people[skip : skip + 10]})

    scripted.answers = [page]
    users = seerr.users()
    assert [one.seerr_id for one in users] == list(range(1, 24))
    five = users[4]
    assert five.server_user_id == "ab12cd34"
    assert (five.may_request("movie"), five.is_approved_at_once("movie")) == (True, True)
    assert (five.may_request("series"), five.is_approved_at_once("series")) == (True, False)
    assert all("X-API-User" not in one.headers for one in scripted.asked)


@pytest.mark.parametrize(
    ("media_type", "seasons", "sent"),
    [
        ("movie", None, {"mediaType": "movie", "mediaId": 603, "is4k": False}),
        ("series", None, {"mediaType": "tv", "mediaId": 603, "is4k": False, "seasons": "all"}),
        ("series", [2, 3], {"mediaType": "tv", "mediaId": 603, "is4k": False, "seasons": [2, 3]}),
    ],
)
def test_a_request_is_made_as_the_user_with_all_fields(
    seerr: Seerr, scripted: Scripted, media_type: Any, seasons: Any, sent: Any
):
    made = request_of(7, 3, 2, seasons=[{"seasonNumber": 2}], media={"status": 3})
    scripted.answers = [Answer(made, 201)]
    created = seerr.request(3, media_type, 603, seasons=seasons)
    (asked,) = scripted.asked
    assert (asked.method, asked.target, asked.body) == ("POST", "/api/v1/request", sent)
    assert {name.lower(): value for name, value in asked.headers.items()}["x-api-user"] == "3"
    assert (created.request_id, created.status, created.seasons, created.media_status) == (
        7, "approved", (2,), "processing",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (202, "No seasons available to request", "no seasons"),
        (409, "Request for this media already exists.", "duplicate"),
        (403, "Movie Quota exceeded.", "quota"),
        (403, "You do not have permission to make movie requests.", "permission"),
        (403, "This media is blocklisted.", "blocklist"),
        (403, "Something new.", "other"),
    ],
)
def test_a_refusal_is_told_apart_by_status_and_text(
    seerr: Seerr, scripted: Scripted, status: int, message: str, reason: str
):
    scripted.answers = [Answer({"message": message}, status)]
    with pytest.raises(RequestRefused) as refused:
        seerr.request(3, "movie", 603)
    assert refused.value.reason == reason
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_request_whose_answer_is_an_error_is_not_repeated(seerr: Seerr, scripted: Scripted, status: int):
    scripted.answers = [Answer({"message": "Cannot read properties"}, status)]
    with pytest.raises(errors.ServiceUnavailable):
        seerr.request(3, "movie", 603)
    assert len(scripted.asked) == 1


def test_the_protection_against_csrf_is_recognised_and_named(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer({"message": "invalid csrf token"}, 403)]
    with pytest.raises(errors.ServiceRefused, match="Enable CSRF Protection"):
        seerr.request(3, "movie", 603)


def test_a_request_made_as_the_owner_is_an_error(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer(request_of(7, 1, 2), 201)]
    with pytest.raises(WrongRequester, match="request 7 as user 1 instead of 3") as wrong:
        seerr.request(3, "movie", 603)
    assert wrong.value.request.request_id == 7


def test_who_a_request_would_act_as_is_seen_before_it_is_sent(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer({"id": 3}), Answer({"id": 1})]
    seerr.verify_user(3)
    with pytest.raises(errors.ServiceRefused, match="X-API-User"):
        seerr.verify_user(3)
    assert [one.target for one in scripted.asked] == ["/api/v1/auth/me"] * 2


def test_an_answer_without_a_request_is_no_success(seerr: Seerr, scripted: Scripted):
    for answer in (Answer({}, 201), Answer(request_of(7, 3), 200), Answer("<html>", 201)):
        scripted.answers = [answer]
        with pytest.raises(errors.BadAnswer):
            seerr.request(3, "movie", 603)


def test_a_wrong_key_names_its_setting_and_never_itself(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer({"status": 403, "error": f"You do not have permission, {KEY}"}, 403)]
    with pytest.raises(errors.ServiceRefused, match="SEERR_API_KEY") as refused:
        seerr.users()
    assert KEY not in str(refused.value)


def test_another_program_at_the_address_is_named(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer({}, 404)]
    with pytest.raises(errors.ServiceRefused, match="APERTURE_SEERR_URL"):
        seerr.check()


def test_a_title_that_tmdb_does_not_know_is_no_failure_of_seerr(seerr: Seerr, scripted: Scripted):
    scripted.answers = [Answer({"message": "Unable to retrieve movie."}, 500)]
    with pytest.raises(errors.NotFound):
        seerr.title("movie", 1)


def test_seasons_that_are_requested_or_there_are_not_open(seerr: Seerr, scripted: Scripted):
    requests = [
        request_of(4, 2, 1, seasons=[{"seasonNumber": 2}]), request_of(3, 5, 3, seasons=[{"seasonNumber": 3}]),
        request_of(5, 2, 1, seasons=[{"seasonNumber": 4}], is4k=True),
    ]  # fmt: skip
    there = [{"seasonNumber": 1, "status": 5}, {"seasonNumber": 3, "status": 7}, {"seasonNumber": 4, "status": 1}]
    info = {"status": 4, "requests": requests, "seasons": there}
    numbers = [{"seasonNumber": one} for one in range(5)]
    scripted.answers = [Answer({"name": "A Series", "seasons": numbers, "mediaInfo": info})]
    title = seerr.title("series", 9)
    assert (title.name, title.status) == ("A Series", "partly available")
    assert (title.seasons, title.open_seasons) == ((1, 2, 3, 4), (3, 4))
    assert [(one.request_id, one.status) for one in title.requests] == [(3, "declined"), (4, "pending")]


@pytest.mark.parametrize(
    ("film", "limit", "remaining"),
    [
        ({"days": 7, "limit": 0, "used": 0, "restricted": False}, None, None),
        ({"days": 7, "limit": 5, "used": 3, "remaining": 2, "restricted": False}, 5, 2),
        ({"days": 7, "limit": 5, "used": 6, "remaining": 0, "restricted": True}, 5, 0),
        ({}, None, None),
    ],
)
def test_a_quota_without_a_limit_leaves_everything_open(
    seerr: Seerr, scripted: Scripted, film: Any, limit: Any, remaining: Any
):
    scripted.answers = [Answer({"movie": film, "tv": {"limit": 9, "used": 2, "remaining": 7}})]
    quota = seerr.quota(3)
    assert (quota["movie"].limit, quota["movie"].remaining) == (limit, remaining)
    assert quota["movie"].allows(1) is (remaining != 0)
    assert quota["series"].allows(7) and not quota["series"].allows(8)
