"""Reading Emby: the stand-in, and servers that answer differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.media_server.detection import detect_server_type
from aperture_dagster.media_server.emby.reader import EmbyReader
from aperture_dagster.media_server.emby.writer import EmbyWriter
from aperture_dagster.media_server.items import parse_title
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.records import Listing
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import Play
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.services import NOW, Answer, Scripted

KEY = "demo-emby-key"
QUICK: dict[str, Any] = {"attempts": 2, "first_wait_seconds": 0.01, "timeout_seconds": 5}
Serve = Callable[..., AbstractContextManager[Any]]


def connect(url: str, key: str = KEY, **how: Any) -> EmbyReader:
    return EmbyReader(url, key, **{**QUICK, **how})


def user_ids(server: EmbyReader) -> dict[str, str]:
    return {user.name: user.user_id for user in server.users().records}


def changed(server: EmbyReader, user: str, since: datetime) -> dict[str, bool]:
    pages = server.changed_states(user_ids(server)[user], since, Listing())
    return {state.server_item_id: state.played for page in pages for state in page}


def without_ids(pages: Iterator[list[Any]]) -> list[Any]:
    """Return the records of a listing without ids, which differ between servers."""
    blank: dict[str, Any] = {"server_item_id": "", "series_item_id": "", "version_ids": ()}
    return [
        record._replace(**{name: value for name, value in blank.items() if hasattr(record, name)})
        for page in pages
        for record in page
    ]


def test_emby_and_jellyfin_return_the_same_records_for_the_same_world(steady: RunningSimulator):
    emby = connect(steady.url + "/emby", page_size=20)
    jellyfin = JellyfinReader(steady.jellyfin_url, "demo-jellyfin-key", page_size=20)
    assert [replace(user, email_hint=None) for user in emby.users().records] == jellyfin.users().records
    pairs = list(zip(emby.libraries(), jellyfin.libraries(), strict=True))
    assert {("Movies", "movies"), ("TV Shows", "tvshows")} < {(one.name, one.collection_type) for one, _ in pairs}
    for one, other in pairs:
        assert (one.name, one.collection_type, bool(one.library_id)) == (
            other.name, other.collection_type, bool(other.library_id),
        )  # fmt: skip
        if not one.library_id:
            continue
        for kind in ("movie", "series"):
            listing = Listing()
            titles = without_ids(emby.titles(one, kind, listing))
            assert titles == without_ids(jellyfin.titles(other, kind, Listing()))
            assert listing.complete
        assert without_ids(emby.episodes(one, Listing())) == without_ids(jellyfin.episodes(other, Listing()))
    for user in emby.users().records:
        listing = Listing()
        states = without_ids(emby.all_states(user.user_id, listing))
        # What was done with other versions of a film each of them tells in its own way.
        same = set(states) == set(without_ids(jellyfin.all_states(user.user_id, Listing())))
        assert same or user.name == "plain", user.name
        assert listing.complete


@pytest.mark.parametrize("suffix", ["", "/emby"])
def test_the_address_may_end_in_emby_or_not(steady: RunningSimulator, suffix: str):
    emby = connect(steady.url + suffix)
    assert emby.identity().product == "Emby Server"
    assert emby.users().records


def test_the_key_is_sent_in_embys_header_and_json_is_requested(scripted: Scripted):
    scripted.say(Answer({"Id": "1", "ServerName": "Home", "Version": "4.9.1.90"}))
    assert connect(scripted.url, "s3cret").identity().version == "4.9.1.90"
    (asked,) = scripted.asked
    assert (asked.headers["x-emby-token"], asked.headers["accept"]) == ("s3cret", "application/json")
    assert "s3cret" not in asked.target


def test_users_have_the_same_library_ids_as_the_list_of_libraries(odd: RunningSimulator):
    odd.state.allow_libraries("child", ["TV Shows"])
    emby = connect(odd.emby_url)
    child = next(user for user in emby.users().records if user.name == "child")
    assert not child.all_libraries
    assert child.library_ids == tuple(one.library_id for one in emby.libraries() if one.name == "TV Shows")


def test_an_emby_connect_name_is_the_email_hint(steady: RunningSimulator):
    hints = {user.name: user.email_hint for user in connect(steady.emby_url).users().records if user.email_hint}
    assert hints["plain"] == "plain@example.org"
    assert len(hints) == 2


def test_an_incomplete_list_of_users_is_rejected(scripted: Scripted):
    one = {"Items": [{"Id": "a" * 32, "Name": "ann"}], "TotalRecordCount": 2}
    scripted.say(Answer(one), Answer({"Items": [], "TotalRecordCount": 2}))
    with pytest.raises(BadAnswer, match="changed while it was read"):
        connect(scripted.url, page_size=1).users()


def test_tags_in_the_long_form_are_parsed():
    item = {"Id": "1", "Name": "x", "TagItems": [{"Name": "heist", "Id": 7}], "Studios": [{"Name": "A", "Id": 8}]}
    title = parse_title(item)
    assert (title.tags, title.studios) == (("heist",), ("A",))


def test_only_changes_are_read_including_unmarked_items(odd: RunningSimulator):
    emby, now = connect(odd.emby_url), datetime.now(UTC)
    assert changed(emby, "plain", now) == {}
    # Reported late: the play is old, its arrival is new.
    odd.state.play(Play("plain", "movie:900000005", now - timedelta(days=300)))
    odd.state.mark_unplayed("plain", "movie:900000102")
    assert sorted(changed(emby, "plain", now).values()) == [False, True]
    assert changed(emby, "casey", now) == {}


def test_states_of_given_items_include_empty_ones(odd: RunningSimulator):
    emby = connect(odd.emby_url)
    owner = user_ids(emby)["plain"]
    before = {state.server_item_id: state for page in emby.all_states(owner, Listing()) for state in page}
    seen = next(key for key, state in before.items() if state.played and not state.is_episode)
    unseen = next(one.server_item_id for library in emby.libraries() if library.collection_type == "movies"
                  for page in emby.titles(library, "movie", Listing()) for one in page
                  if one.server_item_id not in before)  # fmt: skip
    asked = [*(f"99999{number}" for number in range(120)), seen, unseen]
    told = {state.server_item_id: state.played for page in emby.states_of(owner, asked) for state in page}
    assert told == {seen: True, unseen: False}


def test_changes_are_requested_from_a_day_earlier_in_embys_date_format(scripted: Scripted):
    scripted.say(Answer({"Items": [], "TotalRecordCount": 0}))
    east = datetime.fromisoformat("2026-05-17T01:30:00.123456+02:00")
    assert list(connect(scripted.url).changed_states("a" * 32, east, Listing())) == [[]]
    asked = parse_qs(urlsplit(scripted.asked[0].target).query)
    assert asked["MinDateLastSavedForUser"] == ["2026-05-15T23:30:00Z"]
    assert {"UserDataPlayCount", "UserDataLastPlayedDate"} <= set(asked["Fields"][0].split(","))


def test_an_unreadable_state_is_reported_and_does_not_count_as_missing(odd: RunningSimulator):
    emby, listing = connect(odd.emby_url), Listing()
    owner = user_ids(emby)["plain"]
    odd.state.add_fault(FaultRule("emby", path_contains="IsPlayed", kind="missing_field", field="UserData"))
    states = [state for page in emby.all_states(owner, listing) for state in page]
    assert states and listing.problems and listing.complete
    assert len(listing.unreadable_ids) == len(listing.problems)


# Which server it is


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        ({"Id": "1", "Version": "4.8.11.0"}, "emby"),
        ({"Id": "1", "Version": "4.8.11.0", "ProductName": "Emby Server"}, "emby"),
        ({"Id": "1", "Version": "12.0.0", "ProductName": "Jellyfin Server"}, "jellyfin"),
        ({"Id": "1", "Version": "10.9.11"}, "jellyfin"),
        ({}, "jellyfin"),
        ([], "jellyfin"),
    ],
)
def test_a_server_is_detected_by_product_and_version(scripted: Scripted, info: Any, kind: str):
    scripted.say(Answer(info))
    assert detect_server_type(scripted.url, **QUICK) == kind


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_undetected_server_is_treated_as_jellyfin(scripted: Scripted, status: int):
    scripted.say(Answer("no", status))
    assert detect_server_type(scripted.url, **QUICK) == "jellyfin"


@pytest.mark.parametrize("kind", ["auto", "emby"])
def test_the_settings_select_reader_and_writer(serve: Serve, make_settings: Callable[..., Settings], kind: str):
    with serve(odd_world(NOW)) as (simulator, _):
        settings = make_settings(media_server_url=simulator.emby_url, media_server_api_key=KEY, media_server_type=kind)
        with MediaServers(settings, Database(settings)).open() as server:
            assert isinstance(server, EmbyReader)
        assert simulator.state.requests("emby", "Public") == (kind == "auto")
        with MediaServers(settings, Database(settings)).open_writer(dry_run=True) as writer:
            assert isinstance(writer, EmbyWriter) and writer.dry_run
