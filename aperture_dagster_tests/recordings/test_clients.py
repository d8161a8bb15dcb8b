"""The clients understand every recorded answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from aperture_dagster.discovery.seerr import RequestRefused, Seerr
from aperture_dagster.http.errors import NotFound, ServiceError, ServiceRefused
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.media_server.records import ItemState, Listing, ServerLibrary
from aperture_dagster.simulator.opinions import jpeg
from aperture_dagster.simulator.server import Simulator, running
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.recordings.recording import ID, Recorded, load

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@contextmanager
def serving(recorded: Sequence[Recorded]) -> Iterator[str]:
    """Answer each request as the one was answered that is most like it; yield the address.

    Filters that nobody asked for match nothing. A path that begins with ``/only/3`` is answered with the third
    recording, whatever follows.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        known = {one.query.get("filters") for one in recorded}
        if request.query_params.get("filters") in known:
            response = _response(_chosen(recorded, request))
        else:
            response = JSONResponse({"Items": [], "TotalRecordCount": 0, "StartIndex": 0})
        await response(scope, receive, send)

    simulator = Simulator(World("empty"))
    simulator.app = answer
    with running(simulator) as served:
        yield served.url


def _chosen(recorded: Sequence[Recorded], request: Request) -> Recorded | None:
    path = request.url.path
    if path.startswith("/only/"):
        return recorded[int(path.split("/")[2])]
    query = dict(parse_qsl(request.url.query))

    def likeness(one: Recorded) -> tuple[bool, bool, int]:
        decisive = all(one.query.get(name) == query.get(name) for name in ("filters", "includeItemTypes"))
        alike = len(one.query.items() & query.items()) - len(one.query.keys() ^ query.keys())
        return one.route == path, decisive and ("ids" in one.query) == ("ids" in query), alike

    same = [one for one in recorded if one.method == request.method and ID.sub("", one.route) == ID.sub("", path)]
    return max(same, key=likeness, default=None)


def _response(one: Recorded | None) -> Response:
    if one is None:
        return Response(status_code=404)
    if one.type == "image/jpeg":
        return Response(jpeg("recorded", 200, 300), media_type=one.type)
    if isinstance(one.answer, dict | list):
        return JSONResponse(one.answer, one.status)
    return Response(status_code=one.status)


class Server:
    """A recorded Jellyfin and its client."""

    def __init__(self, version: str, reader: JellyfinReader) -> None:
        self.version, self.reader = version, reader
        self.recorded = load(f"jellyfin-{version}")

    def asked(self, route: str, **query: str) -> Iterator[Recorded]:
        """Yield what was read from a route with a query that has at least these values."""
        for one in self.recorded:
            if (one.method, one.route) == ("GET", route) and query.items() <= one.query.items():
                yield one

    def items(self, **query: str) -> list[dict[str, Any]]:
        """Return the recorded items of such listings."""
        return [item for one in self.asked("/Items", **query) for item in one.answer["Items"]]


@pytest.fixture(params=["12.0.0", "10.11.11"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(load(f"jellyfin-{request.param}")) as url, closing(JellyfinReader(url, "a key")) as reader:
        yield Server(request.param, reader)


def test_the_server_its_users_and_its_libraries_are_known(server: Server) -> None:
    identity = server.reader.identity()
    assert (identity.version, identity.product) == (server.version, "Jellyfin Server")
    users, sent = server.reader.users(), next(server.asked("/Users")).answer
    assert not users.problems
    assert [(user.user_id, user.name, user.is_administrator, user.is_hidden) for user in users.records] == [
        (one["Id"], one["Name"], one["Policy"]["IsAdministrator"], one["Policy"]["IsHidden"]) for one in sent
    ]
    assert all(user.last_activity_at and user.last_activity_at > LONG_AGO for user in users.records)
    folders = next(server.asked("/Library/VirtualFolders")).answer
    assert server.reader.libraries() == [
        ServerLibrary(one["ItemId"], one["Name"], one["CollectionType"], tuple(one["Locations"])) for one in folders
    ]


@pytest.mark.parametrize("media_type", ["movie", "series"])
def test_titles_are_read_with_their_facts(server: Server, media_type: Any) -> None:
    item_type = {"movie": "Movie", "series": "Series"}[media_type]
    asked = next(one for one in server.asked("/Items", includeItemTypes=item_type) if "Overview" in one.query["fields"])
    listing = Listing()
    library = ServerLibrary(asked.query["parentId"], "Some", None)
    titles = [title for page in server.reader.titles(library, media_type, listing) for title in page]
    assert listing.complete and not listing.problems
    assert [(one.server_item_id, one.title, one.year) for one in titles] == [
        (item["Id"], item["Name"], item.get("ProductionYear")) for item in asked.answer["Items"]
    ]
    for title, item in zip(titles, asked.answer["Items"], strict=True):
        ids = item["ProviderIds"]
        assert (title.tmdb_id, title.imdb_id) == (int(ids["Tmdb"]) if "Tmdb" in ids else None, ids.get("Imdb"))
        assert title.path == item["Path"] and title.added_at.year == 2026  # type: ignore[union-attr]
        assert set(title.genres) == set(item["Genres"]) and title.overview == item.get("Overview")
        ratings = (item.get("CommunityRating"), item.get("CriticRating"))
        assert (title.community_rating, title.critic_rating) == ratings


def test_episodes_are_read_with_their_numbers(server: Server) -> None:
    asked = next(server.asked("/Items", includeItemTypes="Episode"))
    listing = Listing()
    library = ServerLibrary(asked.query["parentId"], "Shows", "tvshows")
    episodes = [one for page in server.reader.episodes(library, listing) for one in page]
    assert listing.complete and not listing.problems
    assert [(one.server_item_id, one.season, one.number) for one in episodes] == [
        (item["Id"], item["ParentIndexNumber"], item["IndexNumber"]) for item in asked.answer["Items"]
    ]


def test_histories_are_read_with_plays_positions_favourites_and_ratings(server: Server) -> None:
    asked = list(server.asked("/Items", enableUserData="true"))
    assert {one.query.get("filters") for one in asked} >= {"IsPlayed", "IsResumable", "IsFavorite", None}
    read: list[ItemState] = []
    for user_id in {one.query["userId"] for one in asked}:
        listing = Listing()
        states = [state for page in server.reader.all_states(user_id, listing) for state in page]
        changed = [state for page in server.reader.changed_states(user_id, LONG_AGO, Listing()) for state in page]
        assert listing.complete and not listing.problems
        read += states + changed
    assert all(_agrees(state, server) for state in read)
    assert any(state.played and state.play_count and state.last_played_at for state in read)
    assert any(0 < state.position_share < 1 and not state.played for state in read)
    assert any(state.favorite for state in read) and any(state.rating for state in read)


def _agrees(state: ItemState, server: Server) -> bool:
    """Whether some recorded answer says what was read of an item."""
    for item in server.items(enableUserData="true"):
        data = item["UserData"]
        is_series = item["Type"] == "Series"
        played = (False, 0) if is_series else (data["Played"], data["PlayCount"])
        share = 0.0 if is_series else data.get("PlayedPercentage", 0) / 100
        if (
            item["Id"] == state.server_item_id
            and played == (state.played, state.play_count)
            and (data["IsFavorite"], data.get("Rating")) == (state.favorite, state.rating)
            and abs(share - state.position_share) < 1e-9
        ):
            return True
    return False


def test_the_log_of_activities_is_read(server: Server) -> None:
    entries = next(server.asked("/System/ActivityLog/Entries")).answer["Items"]
    ended = {str(entry["Id"]) for entry in entries if entry["Type"] == "VideoPlaybackStopped"}
    found = server.reader.activities(LONG_AGO)
    assert found is not None
    assert [(one.entry, one.user_id) for one in found] == [(str(one["Id"]), one["UserId"]) for one in entries]
    assert {one.entry for one in found if one.is_end_of_play} == ended


def test_what_publishing_reads_is_understood(server: Server) -> None:
    writer = JellyfinWriter(server.reader)
    assert ".".join(map(str, writer.server().version)) == server.version
    assert writer.plugins() == [one["Name"] for one in next(server.asked("/Plugins")).answer]
    assert writer.grouping_enabled() is False
    assert writer.scan_progress() is None
    folders = next(server.asked("/Library/VirtualFolders")).answer
    libraries = writer.libraries()
    assert [one.name for one in libraries] == [one["Name"] for one in folders]
    assert [one.options for one in libraries] == [one["LibraryOptions"] for one in folders]
    policies = {one["Id"]: one["Policy"] for one in next(server.asked("/Users")).answer}
    assert {number: user["Policy"] for number, user in writer.user_objects().items()} == policies
    assert writer.path_exists("/media/movies/any.mkv")
    assert (writer.picture("0" * 32) or b"").startswith(b"\xff\xd8")


def test_published_items_and_lists_are_understood(server: Server) -> None:
    writer = JellyfinWriter(server.reader)
    library = writer.libraries()[0]
    for types in ("Movie", "Series", "Series,Episode"):
        asked = [
            one
            for one in server.asked("/Items", includeItemTypes=types)
            if one.query.get("fields", "").startswith("Path,")
        ]
        assert asked
        found = {one.server_item_id for one in writer.library_items(library, types)}
        assert found in [{item["Id"] for item in one.answer["Items"]} for one in asked]
    for read, types in ((writer.collections, "BoxSet"), (partial(writer.playlists, None), "Playlist")):
        recorded = [
            {item["Id"] for item in one.answer["Items"]} for one in server.asked("/Items", includeItemTypes=types)
        ]
        assert {one.list_id for one in read()} in recorded
    for one in server.recorded:
        if one.method == "GET" and one.route.startswith("/Playlists/"):
            playlist_id = one.route.split("/")[2]
            entries = writer.playlist_entries(playlist_id, one.query["userId"])
            assert entries == [(item["PlaylistItemId"], item["Id"]) for item in one.answer["Items"]]


def test_files_are_known_with_versions_and_parts(server: Server) -> None:
    writer = JellyfinWriter(server.reader)
    items = {item["Id"]: item for item in server.items(fields="MediaSources,Path")}
    found = writer.original_files(list(items))
    assert found and found.keys() <= items.keys()
    for number, files in found.items():
        sources = items[number].get("MediaSources", [])
        sent = [(one["Path"], one["Bitrate"], one["Size"]) for one in sources]
        assert [(one.path, one.bitrate, one.size) for one in files.sources] == sent
        assert files.picture_tag == items[number]["ImageTags"].get("Primary")


# Seerr


class Recordings:
    """The client of Seerr, answered by one recording at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.all = load("seerr-3.1.0")

    def call(self, index: int) -> Any:
        """Send what was sent for a recording."""
        one = self.all[index]
        with closing(Seerr(f"{self._url}/only/{index}", "a key", attempts=1)) as client:
            match one.method, one.route.strip("/").split("/")[0]:
                case "POST", _:
                    media_type = "movie" if one.body["mediaType"] == "movie" else "series"
                    user = one.answer.get("requestedBy", {}).get("id", 3)
                    return client.request(user, media_type, one.body["mediaId"])
                case _, ("movie" | "tv") as kind:
                    return client.title("movie" if kind == "movie" else "series", 1)
                case _, "request":
                    return client.read_request(1)
                case _, "user" if one.route.endswith("/quota"):
                    return client.quota(3)
                case _, "user":
                    return client.users()
            return None


@pytest.fixture
def seerr() -> Iterator[Recordings]:
    with serving(load("seerr-3.1.0")) as url:
        yield Recordings(url)


MEANINGS = {
    "1 movie": "unknown", "1 after create": "pending", "1 movie approved": "processing",
    "1 movie declined": "unknown", "1 movie in library": "available", "2 approved, then available": "available",
    "1 series approved": "processing", "2 blocklisted series": "blocklisted",
    "2 requested then blocklisted": "blocklisted", "2 series approved, then available": "available",
}  # fmt: skip
REASONS = {
    "1 duplicate other user": "duplicate", "1 series again": "no seasons", "2 quota movie 3": "quota",
    "2 quota series too big": "quota", "2 no permission movie": "permission",
    "2 series only: movie": "permission", "2 blocklisted movie by owner": "blocklist",
}  # fmt: skip


def test_every_answer_of_seerr_is_understood(seerr: Recordings) -> None:
    """An answer that reports success is parsed, and a refusal is an error that says why."""
    read, refused = dict[str, Any](), dict[str, str]()
    for index, one in enumerate(seerr.all):
        if one.status in (200, 201):
            read[one.step] = seerr.call(index)
            continue
        with pytest.raises(ServiceError) as raised:
            seerr.call(index)
        error = raised.value
        refused[one.step] = error.reason if isinstance(error, RequestRefused) else type(error).__name__
    titles = {step: read[step].status for step in MEANINGS}
    assert titles == MEANINGS
    assert {step: refused[step] for step in REASONS} == REASONS
    assert {refused[step] for step in ("1 no key", "1 wrong key")} == {ServiceRefused.__name__}
    assert refused["1 read unknown"] == NotFound.__name__ == refused["1 movie unknown"]


def test_users_quotas_and_requests_of_seerr_have_what_was_sent(seerr: Recordings) -> None:
    for index, one in enumerate(seerr.all):
        if one.status not in (200, 201):
            continue
        if one.route == "/user" and one.answer["results"]:
            sent = [(user["id"], user["displayName"], user["permissions"]) for user in one.answer["results"]]
            assert [(user.seerr_id, user.name, user.permissions) for user in seerr.call(index)][: len(sent)] == sent
        elif one.route.endswith("/quota"):
            found, sent = seerr.call(index), one.answer
            limits = (found["movie"].limit, found["series"].limit)
            assert limits == (sent["movie"].get("limit") or None, sent["tv"].get("limit") or None)
            for quota, part in ((found["movie"], sent["movie"]), (found["series"], sent["tv"])):
                assert quota.remaining == part.get("remaining")
                assert not part["restricted"] or not quota.allows(1)
        elif one.route.startswith("/request"):
            request = seerr.call(index)
            assert request.request_id == one.answer["id"]
            assert list(request.seasons) == [season["seasonNumber"] for season in one.answer.get("seasons", ())]
        elif one.route.startswith("/tv"):
            title = seerr.call(index)
            numbers = [season["seasonNumber"] for season in one.answer["seasons"] if season["seasonNumber"]]
            assert list(title.seasons) == numbers
            assert len(title.requests) == len((one.answer.get("mediaInfo") or {}).get("requests", []))
