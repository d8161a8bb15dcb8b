"""What counts as wrong: not too little, and nothing that an operator could not help."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import DateTime

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.discovery.pool import lists_read, write_list
from aperture_dagster.enrichment.listed import SuggestedPage
from aperture_dagster.maintenance.clock import NOT_OURS, PLANNED, future_dates
from aperture_dagster.maintenance.status import (
    LEAST_FREE_BYTES,
    CheckState,
    JobState,
    PartState,
    Status,
    UserState,
    find_wrong,
    why_no_list,
)
from aperture_dagster.schema import metadata
from aperture_dagster_tests.shelf import Shelf

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
ANN = UserState("ann", True, NOW - timedelta(days=9), films=50, series=20, listed_at=NOW)
WELL = Status(
    NOW,
    is_demo=False,
    up_is_running=True,
    free_bytes=LEAST_FREE_BYTES,
    parts=[PartState("daemon", "ok", "alive"), PartState("webserver", "warning", "starting")],
    users=[ANN],
    movies=401,
    jobs=[JobState("sync_movies", True, "success", NOW), JobState("housekeeping", True),
          JobState("send_requests", True, "canceled")],
    checks=[CheckState("movies.have_provider_ids", is_warning=True, sentence="12 have none.")],
)  # fmt: skip
USER = User("1", "ann", "Ann", False, False, None, Visibility(), gone=False)
NEW = replace(ANN, name="new", films=0, series=0, listed_at=None, first_seen_at=NOW - timedelta(minutes=59))


def _subjects(**changes: Any) -> list[str]:
    return [one.subject for one in find_wrong(replace(WELL, **changes))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"users": [ANN, NEW]},
        {"users": [replace(NEW, takes_part=False, first_seen_at=NOW - timedelta(days=9))]},
        {"jobs": [JobState("sync_movies", False, "failure", NOW, ("Its key is wrong.",))]},
        {"is_demo": True, "up_is_running": False, "out_of_date": ["movies"], "backups_wrong": "none"},
    ],
)
def test_nothing_is_wrong(changes: dict[str, Any]):
    assert _subjects(**changes) == []


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"free_bytes": LEAST_FREE_BYTES - 1}, "disk"),
        ({"up_is_running": False, "parts": []}, "aperture up"),
        ({"parts": [PartState("daemon", "failed", "no sign of life")]}, "daemon"),
        ({"movies": 0, "users": []}, "titles"),
        ({"users": [replace(NEW, first_seen_at=NOW - timedelta(minutes=61))]}, "lists"),
        ({"users": [NEW], "is_demo": True}, "lists"),
        ({"jobs": [JobState("sync_movies", True, "failure", NOW, ("Its key is wrong.",))]}, "sync_movies"),
        ({"checks": [CheckState("embeddings.cover", is_warning=False, sentence="70 have none.")]}, "embeddings.cover"),
        ({"removals_held": ["Of ann's 3 ratings …"]}, "ratings"),
        ({"out_of_date": ["movies"]}, "movies"),
        ({"backups_wrong": "There is no proven backup."}, "backups"),
        ({"publishing_wrong": "The media server has not shown what was placed."}, "publishing"),
        ({"storage_wrong": "It cannot be reached."}, "database"),
    ],
)
def test_one_thing_is_wrong(changes: dict[str, Any], subject: str):
    assert _subjects(**changes) == [subject]


def test_without_a_database_what_cannot_be_known_is_not_judged():
    unknown = Status(NOW, is_demo=False, up_is_running=False, free_bytes=0, storage_wrong="It cannot be reached.")
    assert [one.subject for one in find_wrong(unknown)] == ["database", "disk", "aperture up"]


def test_the_reason_of_a_failure_and_the_names_of_users_are_in_the_sentences():
    failed = JobState("sync_movies", True, "failure", NOW, ("Jellyfin refused the key.", "Look."))
    users = [replace(NEW, name=f"u{number}", first_seen_at=NOW - timedelta(days=1)) for number in range(7)]
    job, lists = sorted(find_wrong(replace(WELL, jobs=[failed], users=users)), key=lambda one: one.subject == "lists")
    assert job.sentence == "Jellyfin refused the key. Look."
    assert lists.sentence == "No list has been made for u0, u1, u2, u3, u4, u5 and u6."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user": replace(USER, gone=True), "takes_part": False}, "no longer on the media server"),
        ({"user": replace(USER, is_disabled=True), "takes_part": False}, "disabled on the media server"),
        ({"takes_part": False}, "APERTURE_EXCLUDE_USERS"),
        ({"titles": 0}, "No film or series has been read from the media server yet. It comes within minutes"),
        ({}, "No list has been made for Ann yet. It comes within minutes; `aperture status`"),
        ({"up_is_running": False}, "Start `aperture up`"),
        ({"is_demo": True, "up_is_running": False}, "Run `aperture demo`"),
    ],
)
def test_a_user_without_a_list_learns_why_and_when_it_comes(changes: dict[str, Any], words: str):
    usual = {"user": USER, "takes_part": True, "titles": 1, "is_demo": False, "up_is_running": True}
    assert words in why_no_list(**usual | changes)


def test_a_list_of_one_title_is_a_list():
    assert replace(ANN, films=1, series=0).has_list and replace(ANN, films=0, series=1).has_list
    assert not replace(ANN, films=0, series=0).has_list


# Dates in the future


def test_rows_are_counted_by_their_latest_date_of_ours(shelf: Shelf):
    ahead = NOW + timedelta(days=2)
    services = "INSERT INTO services (service, answered_at, failing_since) VALUES (:name, :now, :since)"
    shelf.do(services, name="a", now=NOW, since=ahead)
    shelf.do(services, name="b", now=NOW, since=None)
    columns = "key, category, subject, sentence, page, first_seen, last_seen, count, report_after"
    waiting = f"INSERT INTO alert_problems ({columns})"
    shelf.do(f"{waiting} VALUES ('a', 'run', '', '', '', :now, :now, 1, :ahead)", now=NOW, ahead=ahead)
    with shelf.open() as connection:
        (found,) = [one for one in future_dates(connection, now=NOW) if one.what in ("services", "alert_problems")]
    assert (found.what, found.rows, found.latest) == ("services", 1, ahead)


def test_what_is_left_out_is_a_column_of_some_table():
    columns = {one.name for table in metadata.sorted_tables for one in table.columns if isinstance(one.type, DateTime)}
    assert columns > NOT_OURS | PLANNED


def test_what_was_asked_at_a_date_in_the_future_is_not_taken_from_todays_limits(shelf: Shelf):
    limits = {"since": NOW - timedelta(hours=12), "now": NOW}
    page = SuggestedPage((), has_more=False)
    with shelf.open() as connection:
        for request, read_at in {"a": NOW - timedelta(hours=1), "b": NOW + timedelta(hours=1)}.items():
            write_list(connection, request, "movie", page, now=read_at)
        assert lists_read(connection, **limits) == 1
