"""Reading Jellyfin: pages, odd items, ids, histories, versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.http.errors import BadAnswer, ServiceRefused
from aperture_dagster.media_server.items import parse_episode, parse_state, parse_title, parse_user
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.listing import parse_page
from aperture_dagster.media_server.records import ItemState, Listing, ServerLibrary, ServerTitle
from aperture_dagster.media_server.values import parse_id, parse_moment
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play
from aperture_dagster.simulator.worlds import ODD_TITLES, ODD_USERS, odd_world
from aperture_dagster_tests.services import NOW, Answer, Asked, Scripted

FILMS = ServerLibrary("films", "Films", "movies")
ID = "0123456789abcdef0123456789abcdef"


def connected(url: str, key: str = "demo-jellyfin-key", **how: Any) -> closing[JellyfinReader]:
    return closing(JellyfinReader(url, key, **{"attempts": 2, "first_wait_seconds": 0.01} | how))


def films_of(server: JellyfinReader, library: ServerLibrary | None = None) -> tuple[list[ServerTitle], Listing]:
    listing = Listing()
    library = library or next(one for one in server.libraries() if one.collection_type == "movies")
    return [title for page in server.titles(library, "movie", listing) for title in page], listing


def states_of(pages: Iterator[list[ItemState]]) -> dict[str, ItemState]:
    return {state.server_item_id: state for page in pages for state in page}


def user_id(server: JellyfinReader, name: str) -> str:
    return next(user.user_id for user in server.users().records if user.name == name)


@pytest.fixture
def listed(scripted: Scripted) -> Callable[..., tuple[list[ServerTitle], Listing]]:
    """Read films from a server with the given answers."""

    def read(*answers: Answer) -> tuple[list[ServerTitle], Listing]:
        scripted.say(*answers)
        with connected(scripted.url, page_size=2) as server:
            return films_of(server, FILMS)

    return read


def item(number: int, **facts: Any) -> dict[str, Any]:
    return {"Id": f"{number:032x}", "Name": f"Film {number}", "Type": "Movie"} | facts


def page(total: int, *items: Any) -> Answer:
    return Answer({"Items": list(items), "TotalRecordCount": total, "StartIndex": 0})


def paged(count: int) -> Callable[[Asked], Answer]:
    """Script a server with so many films."""

    def answer(asked: Asked) -> Answer:
        query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}
        start, limit = int(query["startindex"]), int(query["limit"])
        return page(count, *(item(number) for number in range(start, min(start + limit, count))))

    return answer


# Who answers


@pytest.mark.parametrize("version", ["10.9.11", "12.0.0"])
def test_the_odd_world_is_read_completely(version: str):
    stand_ins = SimulatorSettings(jellyfin_version=version)
    with (
        running_simulator(odd_world(NOW), stand_ins) as running,
        connected(running.jellyfin_url, page_size=7) as server,
    ):
        assert server.identity().version == version
        films, listing = films_of(server)
        assert listing.complete
        assert {name.strip() for name in ODD_TITLES} - {""} <= {film.title for film in films}
        # Only the title of blanks is no title; it is named by its id.
        assert len(listing.problems) == len(listing.unreadable_ids) == 1
        assert "Name is missing" in listing.problems[0]
        assert all(film.picture_tag == film.server_item_id for film in films)
        assert len(server.users().records) == len(ODD_USERS) + 4
        everything = Listing()
        assert states_of(server.all_states(user_id(server, "plain"), everything))
        assert everything.complete


def test_a_wrong_key_is_refused_once_and_names_the_setting(steady: RunningSimulator):
    with connected(steady.jellyfin_url, "wrong") as server:
        with pytest.raises(ServiceRefused, match="APERTURE_MEDIA_SERVER_API_KEY") as told:
            server.identity()
        assert server.requests == 1
    assert "wrong" not in str(told.value)


def test_only_the_token_is_sent_in_the_form_that_all_versions_accept(scripted: Scripted):
    scripted.say(Answer({"Id": "x"}))
    with connected(scripted.url, "the-key") as server:
        server.identity()
    asked = scripted.asked[0]
    assert asked.headers["authorization"] == 'MediaBrowser Token="the-key"'
    assert "the-key" not in asked.target
    assert not {name for name in asked.headers if name.startswith("x-emby")}


# Pages


@pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 2), (2, 2), (3, 2), (25, 10), (30, 10)])
def test_every_item_is_returned_once_for_any_page_size(scripted: Scripted, count: int, size: int):
    scripted.say(paged(count))
    with connected(scripted.url, page_size=size) as server:
        films, listing = films_of(server, FILMS)
    assert [film.title for film in films] == [f"Film {number}" for number in range(count)]
    assert listing.complete
    assert len(scripted.asked) == max(-(-count // size), 1)


@pytest.mark.parametrize(
    ("pages", "numbers"),
    [
        # An item is on both pages, one of them unreadable.
        ([page(4, item(1), item(2)), page(4, item(2), item(3))], [1, 2, 3]),
        ([page(4, item(1), item(9, Name=None)), page(4, item(9, Name=None), item(2))], [1, 2]),
        # The total changes, is too low, or is not reached.
        ([page(4, item(1), item(2)), page(3, item(4))], [1, 2, 4]),
        ([page(0, item(1), item(2))], [1, 2]),
        ([page(4, item(1), item(2)), page(4)], [1, 2]),
        # One of the first page left and another came at the end: as many as before, and the third was on neither page.
        ([page(5, item(1), item(2)), page(5, item(4), item(5), item(6))], [1, 2, 4, 5, 6]),
    ],
    ids=["twice", "twice unreadable", "another total", "total too low", "ends early", "another page"],
)
def test_a_listing_that_may_lack_items_is_incomplete_and_each_item_counts_once(
    listed: Callable[..., Any], pages: list[Answer], numbers: list[int]
):
    films, listing = listed(*pages)
    assert [film.title for film in films] == [f"Film {number}" for number in numbers]
    assert not listing.complete


@pytest.mark.parametrize(
    "body", [[], {}, {"Items": {}}, {"Items": []}, {"Items": [], "TotalRecordCount": "3"}, {"TotalRecordCount": 3}]
)
def test_a_malformed_answer_fails_the_listing(listed: Callable[..., Any], body: Any):
    with pytest.raises(BadAnswer, match="Jellyfin"):
        listed(Answer(body))


def test_an_unreadable_library_fails_the_list_of_libraries(odd: RunningSimulator):
    odd.state.add_fault(FaultRule("jellyfin", "/VirtualFolders", "missing_field", field="Name"))
    with connected(odd.jellyfin_url) as server, pytest.raises(BadAnswer, match="libraries"):
        server.libraries()


# Odd items


@pytest.mark.parametrize(
    "wrong",
    [
        {"Name": None}, {"Name": ""}, {"Name": 5}, {"Name": ["x"]}, {"Overview": {}}, {"Genres": "Drama"},
        {"ProductionYear": "2001"}, {"ProductionYear": True}, {"ProductionYear": 10**12}, {"CommunityRating": "high"},
        {"CommunityRating": 10**400}, {"CriticRating": -(10**300)}, {"RunTimeTicks": []}, {"PremiereDate": 1999},
        {"Studios": {"Name": "x"}}, {"Id": ""}, {"Id": None}, {"Id": 7}, {"Id": "a\x00b"}, {"Id": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_of_the_wrong_type_costs_only_its_item(wrong: dict[str, Any]):
    read = parse_page([item(1), item(2) | wrong, "no item at all", None, item(3)], parse_title)
    assert [film.title for film in read.records] == ["Film 1", "Film 3"]
    assert len(read.problems) == 3
    assert read.unreadable_ids == ([] if "Id" in wrong else [f"{2:032x}"])


def test_an_unreadable_item_has_the_same_id_as_a_readable_one():
    dashed = "01234567-89ab-CDEF-0123-456789abcdef"
    assert parse_page([{"Id": dashed}], parse_title).unreadable_ids == [ID]
    assert parse_title({"Id": dashed, "Name": "x"}).server_item_id == ID


@pytest.mark.parametrize(
    "nothing",
    [
        {}, dict.fromkeys(("Overview", "Genres", "Tags", "Taglines", "Studios", "ProviderIds", "ProductionYear")),
        {"Overview": "", "Genres": [], "Taglines": [""], "ProviderIds": {"Tmdb": "", "Imdb": None}, "Studios": []},
        {"ProviderIds": [], "PremiereDate": "0001-01-01T00:00:00.0000000Z", "RunTimeTicks": 0},
    ],
    ids=range(4),
)  # fmt: skip
def test_absent_null_and_empty_values_are_none(nothing: dict[str, Any]):
    assert parse_title(item(1, **nothing)) == ServerTitle(f"{1:032x}", "Film 1")


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({"Tmdb": "603", "Imdb": "tt0133093", "Tvdb": "7"}, (603, "tt0133093", 7)),
        ({"tmdb": " 603 ", "IMDB": "TT0133093"}, (603, "tt0133093", None)),
        ({"Tmdb": "0", "Imdb": "0133093", "Tvdb": "abc"}, (None, None, None)),
        ({"Tmdb": "-5", "Imdb": "tt", "Tvdb": "٣"}, (None, None, None)),
        ({"Tmdb": "9" * 40, "Imdb": 5, "Tvdb": ["7"]}, (None, None, None)),
    ],
)
def test_provider_ids_are_parsed_in_any_case_and_never_invented(given: dict[str, Any], ids: tuple[Any, ...]):
    film = parse_title(item(1, ProviderIds=given))
    assert (film.tmdb_id, film.imdb_id, film.tvdb_id) == ids


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-29T12:30:00.1234567Z", datetime(2024, 2, 29, 12, 30, 0, 123456, UTC)),
        ("2024-02-29T12:30:00Z", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("2024-02-29T12:30:00", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("2024-02-29T12:30:00.5+02:00", datetime(2024, 2, 29, 10, 30, 0, 500000, UTC)),
        ("2024-02-29T12:30:00.1234567-05:30", datetime(2024, 2, 29, 18, 0, 0, 123456, UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00.0000000Z", None),
        ("0001-01-01T00:00:00.0000000+14:00", None),
        ("9999-12-31T23:59:59.9999999-01:00", None),
        ("2023-02-29T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (".", None),
    ],
)
def test_dates_with_seven_digits_any_zone_and_year_1_are_parsed(text: str, moment: datetime | None):
    assert parse_moment(text) == moment


def test_a_film_is_parsed_completely():
    answer = {
        "Id": ID, "Name": " The Film ", "ProductionYear": 1999, "PremiereDate": "1999-03-31T00:00:00.0000000Z",
        "RunTimeTicks": 81_600_000_000, "Genres": ["Action", "", None, " Drama "], "Taglines": ["First", "Second"],
        "Studios": [{"Name": "One", "Id": "x"}, {"Id": "y"}, None], "CommunityRating": 8,
    }  # fmt: skip
    assert parse_title(answer) == ServerTitle(
        ID, "The Film", year=1999, premiere_date=date(1999, 3, 31), runtime_minutes=136, genres=("Action", "Drama"),
        studios=("One",), tagline="First", community_rating=8.0,
    )  # fmt: skip


def test_an_episode_without_series_is_unreadable_and_a_double_episode_keeps_its_end():
    double = {"Id": ID, "SeriesId": ID, "ParentIndexNumber": 0, "IndexNumber": 1, "IndexNumberEnd": 2}
    episode = parse_episode(double)
    assert (episode.season, episode.number, episode.number_end, episode.title) == (0, 1, 2, "")
    with pytest.raises(BadAnswer, match="SeriesId"):
        parse_episode({"Id": ID})


def test_a_user_with_an_odd_policy_is_parsed_or_reported():
    assert parse_user({"Id": ID, "Name": "ann"}).all_libraries
    assert parse_user({"Id": ID, "Name": "ann", "Policy": []}).all_libraries
    limited = parse_user({"Id": ID, "Name": "ann", "Policy": {"EnableAllFolders": False, "EnabledFolders": ["b", "a"]}})
    assert (limited.all_libraries, limited.library_ids) == (False, ("a", "b"))
    with pytest.raises(BadAnswer):
        parse_user({"Id": ID, "Name": "ann", "Policy": {"MaxParentalRating": "twelve"}})


# Histories


def state(**data: Any) -> ItemState:
    ticks = data.pop("ticks", 1000)
    return parse_state({"Id": ID, "Type": "Movie", "RunTimeTicks": ticks, "UserData": data})


def test_the_watched_share_is_computed_from_the_available_values():
    assert state(PlayedPercentage=42.5, PlaybackPositionTicks=1).position_share == 0.425
    assert state(PlaybackPositionTicks=250).position_share == 0.25
    assert state(PlaybackPositionTicks=250, ticks=None).position_share == 0.5, "started, length unknown"
    assert state(PlaybackPositionTicks=5000).position_share == 1.0
    assert state(PlayedPercentage=-3).position_share == 0.0
    assert state().position_share == 0.0


def test_play_counts_and_ratings_are_clamped():
    odd = state(Played=True, PlayCount=-3, Rating=99, IsFavorite="yes", LastPlayedDate=None)
    assert (odd.played, odd.play_count, odd.rating, odd.favorite, odd.last_played_at) == (True, 0, 10.0, False, None)
    with pytest.raises(BadAnswer, match="UserData"):
        parse_state({"Id": ID})


def test_all_states_include_played_started_and_marked_items(odd: RunningSimulator):
    odd.state.mark_played("plain", "movie:900000012", bare=True)
    odd.state.set_favorite("plain", "movie:900000013")
    with connected(odd.jellyfin_url, page_size=2) as server:
        listing = Listing()
        states = states_of(server.all_states(user_id(server, "plain"), listing))
    by_hand = states[odd.state.item_ids("movie:900000012")[0]]
    assert (by_hand.played, by_hand.play_count, by_hand.last_played_at) == (True, 0, None)
    assert states[odd.state.item_ids("movie:900000013")[0]].favorite
    assert any(one.is_episode for one in states.values())
    assert any(0 < one.position_share < 1 for one in states.values())
    assert listing.complete


def test_one_complete_part_does_not_complete_a_history(scripted: Scripted):
    played = {"Played": True}
    scripted.say(
        page(2, item(1, UserData=played)), page(2), page(0, item(2, UserData=played), item(3, UserData=played)), page(0)
    )
    listing = Listing()
    with connected(scripted.url, page_size=1) as server:
        assert len(states_of(server.all_states("user", listing))) == 3
    assert not listing.complete


def test_what_is_new_is_read_without_reading_all_that_was(odd: RunningSimulator):
    films = [f"movie:{900_000_000 + number}" for number in range(12)]
    for number, film in enumerate(films):
        odd.state.play(Play("never played", film, NOW - timedelta(days=400 - number)))
    odd.state.play(Play("never played", films[3], NOW - timedelta(hours=2)))
    with connected(odd.jellyfin_url, page_size=2) as server:
        who = user_id(server, "never played")
        before = server.requests
        states = states_of(server.changed_states(who, NOW - timedelta(hours=5), Listing()))
        asked = server.requests - before
    newest = odd.state.item_ids(films[3])[0]
    assert states[newest].last_played_at == NOW - timedelta(hours=2)
    assert states[newest].play_count == 2
    assert len(states) < 6
    # Two pages of what was played, one each of what is in progress, of favourites and of likes.
    assert asked == 5


def test_a_play_that_was_reported_late_is_within_the_overlap(odd: RunningSimulator):
    odd.state.play(Play("never played", "movie:900000001", NOW - timedelta(hours=20)))
    with connected(odd.jellyfin_url, page_size=1) as server:
        states = states_of(server.changed_states(user_id(server, "never played"), NOW, Listing()))
    assert list(states) == odd.state.item_ids("movie:900000001")


def test_states_of_given_items_include_empty_ones(odd: RunningSimulator):
    seen, unseen = odd.state.item_ids("movie:900000102")[0], odd.state.item_ids("movie:900000005")[0]
    series = odd.state.item_ids("series:900000000")[0]
    with connected(odd.jellyfin_url) as server:
        user = user_id(server, "plain")
        states = states_of(server.states_of(user, [seen, unseen, series, "0" * 32]))
        many = states_of(server.states_of(user, [*("f" * 32 for _ in range(120)), seen]))
        assert list(server.states_of(user, [])) == []
    assert {key: state.played for key, state in states.items()} == {seen: True, unseen: False, series: False}
    assert list(many) == [seen], "more than fit into one request"


@pytest.mark.parametrize("given", [ID, ID.upper(), "01234567-89AB-cdef-0123-456789ABCDEF", f" {ID} "])
def test_an_id_is_the_same_however_it_is_written(given: str):
    assert parse_id(given) == ID


@pytest.mark.parametrize("given", ["4711", "Case-Matters", "0123456789abcdef-0123456789ABCDEF-012"])
def test_other_ids_are_kept_as_they_are(given: str):
    assert parse_id(given) == given


def test_a_user_is_found_by_an_id_copied_from_the_server():
    ann = User(ID, "ann", "Ann", False, False, None, Visibility(), gone=False)
    assert match_users("01234567-89AB-CDEF-0123-456789ABCDEF", [ann]) == [ann]
