"""Send the recorded requests to the stand-ins, and return what they answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import BoxSet, CastMember, Play, World, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster_tests.recordings.recording import ID, Recorded

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
# What the recorded library knows of every title.
_RICH: dict[str, Any] = {
    "genres": ("Drama",), "overview": "A plot.", "keywords": ("one", "two"), "companies": ("Studio",),
    "cast": (CastMember("Somebody", "Herself"),), "runtime_minutes": 100, "vote_average": 7.25, "official_rating": "R",
}  # fmt: skip


def jellyfin_world() -> World:
    """Films with several versions and parts, a series, a box set, and users with and without plays."""
    rich = [
        WorldTitle(
            f"movie:{n}", "movie", f"Film {n}", 2000 + n, release_date=f"{2000 + n}-03-01", tmdb_id=n,
            imdb_id=f"tt000000{n}", **_RICH,
        )
        for n in range(1, 5)
    ]  # fmt: skip
    show: dict[str, Any] = {**_RICH, "status": "Ended", "release_date": "2005-01-01", "networks": ("Network",)}
    titles = [
        *rich,
        WorldTitle("movie:5", "movie", "Versions", 2005, tmdb_id=5, versions=2, **_RICH),
        WorldTitle("movie:6", "movie", "Parts", 2006, tmdb_id=6, parts=3, **_RICH),
        WorldTitle("series:1", "series", "Show", 2005, tmdb_id=21, tvdb_id=31, episodes_per_season=(3, 2), **show),
    ]
    day = NOW - timedelta(days=5)
    plays = [
        Play("ada", "movie:1", day, rating=9.0, favorite=True),
        Play("ada", "movie:2", day, completion=0.4),
        Play("bob", "movie:1", day),
        Play("ada", "series:1", day, season=1, episode=1, rating=8.0, favorite=True),
        Play("ada", "series:1", day, season=1, episode=2, completion=0.5),
    ]
    return World(
        "recorded",
        titles,
        [WorldUser("ada", is_administrator=True), WorldUser("bob", is_administrator=True)],
        plays,
        libraries=(
            WorldLibrary("Movies", "movies", ("/media/movies",)),
            WorldLibrary("TV Shows", "tvshows", ("/media/tv",)),
        ),
        box_sets=[BoxSet("A Collection", ("movie:1", "movie:2"), tmdb_id=900)],
    )  # fmt: skip


class Ids:
    """Ids on the stand-in for the recorded ones, which belong to another library: the same kind of thing for each."""

    def __init__(self, served: RunningSimulator, recorded: list[Recorded]) -> None:
        self._state = state = served.state
        # A film in progress is one that nobody had touched before.
        answers = [one.answer for one in recorded if one.route != "/UserItems/Resume"]
        self._kinds = {number: kind for answer in answers for number, kind in _named(answer)}
        self._given: dict[str, str] = {}
        keys = list(state.titles)
        films = [state.item_ids(key)[0] for key in keys if key.startswith("movie:")]
        shows = list(state.catalogue.items("Series"))
        libraries = {library.collection_type: library.item_id for library in state.catalogue.libraries}
        self._known: dict[str, list[str]] = {
            "user": [state.user_named("ada").id],
            "Movie": films[:4],
            "untouched film": [films[3]],
            "Movie with versions": [films[4]],
            "Movie with parts": [films[5]],
            "Series": [show.id for show in shows],
            "Season": [season.item.id for season in shows[0].seasons],
            "Episode": [episode.id for season in shows[0].seasons for episode in season.episodes],
            "BoxSet": [next(iter(state.catalogue.items("BoxSet"))).id],
            "Playlist": [state.create_playlist("A List", owner="ada", keys=["movie:1", "movie:2", "movie:3"])],
            "movies": [libraries["movies"]],
            "tvshows": [libraries["tvshows"]],
            "CollectionFolder": list(libraries.values()),
        }

    def of(self, number: str, guess: str) -> str:
        """Return the id on the stand-in for a recorded one; ``guess``: what it is unless a recorded answer says so."""
        if guess == "other user":
            return self._state.user_named("bob").id
        if guess == "doomed":
            return self._state.create_playlist("Doomed", owner="ada", keys=["movie:1"])
        if number not in self._given:
            kind = self._kinds.get(number, guess)
            kind = kind if kind in self._known else guess
            known = self._known[kind]
            before = sum(1 for other in self._given.values() if other in known)
            self._given[number] = known[before % len(known)]
        return self._given[number]


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the ids in an answer, and what they are ids of."""
    if isinstance(value, list):
        for one in value:
            yield from _named(one)
    elif isinstance(value, dict):
        if "Policy" in value:
            yield value["Id"], "user"
        elif "ItemId" in value and "Locations" in value:
            yield value["ItemId"], value.get("CollectionType") or "CollectionFolder"
        elif isinstance(value.get("Type"), str) and "ServerId" in value and value["Type"] != "CollectionFolder":
            several = value["Type"] == "Movie" and len(value.get("MediaSources", ())) > 1
            yield value["Id"], "Movie with versions" if several else value["Type"]
        for one in value.values():
            yield from _named(one)


def replay_jellyfin(version: str, recorded: list[Recorded], folder: Path) -> list[httpx.Response]:
    """Send recorded requests, in order, to Jellyfin in a version, which sees ``folder``; return its answers."""
    settings = SimulatorSettings(jellyfin_version=version, volumes={"/aperture": folder})
    headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}
    with (
        running_simulator(jellyfin_world(), settings) as served,
        httpx.Client(base_url=served.jellyfin_url, headers=headers) as client,
    ):
        ids = Ids(served, recorded)
        return [_send(client, one, ids, folder) for one in recorded]


def _send(client: httpx.Client, one: Recorded, ids: Ids, folder: Path) -> httpx.Response:
    query = {name: _swapped(value, ids, _of_parameter(one, name)) for name, value in one.query.items()}
    if "ids" in query:
        query["ids"] = ",".join(dict.fromkeys(query["ids"].split(",")))
    body = _body(one, ids)
    if one.route == "/Library/VirtualFolders" and one.method != "GET":
        _prepare_library(client, one, folder)
    if one.route == "/Environment/ValidatePath":
        (folder / "file").touch()
        body["Path"] = "/aperture/file"
    return client.request(one.method, _swapped(one.route, ids, _of_route(one)), params=query or None, json=body)


def _prepare_library(client: httpx.Client, one: Recorded, folder: Path) -> None:
    """Make the folder of a library that is created, and the library that is deleted."""
    if one.method == "POST":
        for path in one.body["LibraryOptions"]["PathInfos"]:
            (folder / Path(path["Path"]).name).mkdir(exist_ok=True)
        return
    (folder / one.query["name"]).mkdir(exist_ok=True)
    options = {"LibraryOptions": {"PathInfos": [{"Path": f"/aperture/{one.query['name']}"}]}}
    query = {"name": one.query["name"], "collectionType": "movies", "refreshLibrary": "false"}
    assert client.post("/Library/VirtualFolders", params=query, json=options).is_success


def _swapped(text: str, ids: Ids, guess: str) -> str:
    return ID.sub(lambda found: ids.of(found[0], guess), text)


def _of_parameter(one: Recorded, name: str) -> str:
    if name == "userId":
        return "user"
    if name == "parentId":
        types = one.query.get("includeItemTypes", "BoxSet")
        return {"Movie": "movies", "BoxSet": "BoxSet"}.get(types, "tvshows")
    listed = one.answer.get("Items") if isinstance(one.answer, dict) else None
    return listed[0]["Type"] if listed else "Movie"


def _of_route(one: Recorded) -> str:
    first, _, rest = one.route.lstrip("/").partition("/")
    if first == "Items":
        if one.method == "DELETE":
            return "doomed"
        return "movies" if rest.endswith("/Refresh") else one.body["Type"] if one.body else "Movie"
    if first.startswith("User") and first != "Users":
        return "untouched film"
    return {"Users": "other user", "Playlists": "Playlist", "Collections": "BoxSet", "Videos": "Movie with parts"}.get(
        first, "Movie"
    )


def _body(one: Recorded, ids: Ids) -> Any:
    if one.body is None:
        return None
    guesses = {"UserId": "user", "Id": "movies" if "LibraryOptions" in one.body else one.body.get("Type", "Movie")}
    body = {
        name: json.loads(_swapped(json.dumps(value), ids, guesses.get(name, "Movie"))) if name != "ServerId" else value
        for name, value in one.body.items()
    }
    return body


# Seerr

_OWNED = {157336, 118340, 900000015, 900000018}
# Of this one, a request for films only was refused before its seasons were named.
_SEASONS = {900000114: 6}
_UNKNOWN = 1
"""The number on TMDb that no title has."""


def seerr_world(recorded: list[Recorded]) -> World:
    """The titles that were asked for, with the seasons that Seerr named, and users enough for two pages."""
    asked: dict[tuple[str, int], int] = {}
    for one in recorded:
        kind, _, number = one.route.strip("/").partition("/")
        if kind in ("movie", "tv"):
            asked[kind, int(number)] = one.answer.get("numberOfSeasons", 5)
        elif one.body is not None:
            seasons = len(one.answer.get("seasons", ())) if one.body.get("seasons") == "all" else 0
            number = one.body["mediaId"]
            asked.setdefault((one.body["mediaType"], number), _SEASONS.get(number) or seasons or 5)
    titles = [
        WorldTitle(
            f"{kind}:{number}", "movie" if kind == "movie" else "series", f"Title {number}", 2000,
            release_date="2000-01-01", tmdb_id=number, imdb_id=f"tt{number}",
            tvdb_id=number if kind == "tv" else None, copies=int(number in _OWNED),
            episodes_per_season=(1,) * seasons if kind == "tv" else (), specials=int(kind == "tv"),
        )
        for (kind, number), seasons in asked.items()
        if number != _UNKNOWN
    ]  # fmt: skip
    names = ("Bruno", "Clara", "Dmitri", "Edda", *(f"guest {n}" for n in range(8)))
    return World("seerr", titles, [WorldUser(name) for name in names])


def replay_seerr(recorded: list[Recorded]) -> list[httpx.Response]:
    """Send recorded requests, in order, to Seerr, and do between them what was done then; return its answers."""
    world = seerr_world(recorded)
    keys = {title.tmdb_id: title.key for title in world.titles}
    with running_simulator(world) as served, httpx.Client(base_url=f"{served.seerr_url}/api/v1") as client:
        state, made, answers = served.state, dict[str, int](), list[httpx.Response]()
        state.seerr_user("Dmitri", movie_quota=(2, 7), tv_quota=(4, 7))
        for one in recorded:
            for what, whom, *how in one.before:
                if what == "decide":
                    state.seerr_decide(made[whom], *how)
                elif what == "permit":
                    state.seerr_user(whom, permissions=how[0])
                elif what == "mark":
                    state.seerr_mark(keys[whom], *how)
                else:
                    state.seerr_make_available(keys[whom])
            named = {user.name: user.id for user in state.seerr.users.values()} | made
            path = re.sub(r"\{([^}]*)\}", lambda found, named=named: str(named[found[1]]), one.path)
            headers = {"X-Api-Key": "wrong" if "wrong key" in one.step else "demo-seerr-key"}
            if one.step in ("1 status without key", "1 no key"):
                headers.clear()
            if one.user is not None:
                headers["X-API-User"] = str(named.get(one.user, one.user))
            answer = client.request(one.method, path, json=one.body, headers=headers)
            if one.method == "POST" and answer.status_code == 201:
                made[one.step] = answer.json()["id"]
            answers.append(answer)
        return answers
