"""Plays of scanned items, user data that copies share, and series, by version."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.simulator.conftest import MakeServer
from aperture_dagster_tests.simulator.published import JELLYFINS, OPTIONS, Server

ENTRY = "Plain (2001) [ap-1]"


# STRM


@pytest.mark.parametrize(
    ("version", "content", "plays"),
    [
        ("10.11.6", "original", True),
        ("10.11.7", "original", False),
        ("12.0.0", "original", False),
        ("10.9.11", "relative.mkv", False),
        ("12.0.0", "http://server/film.mkv", True),
        ("emby", "original", True),
    ],
)
def test_which_strm_files_play(make: MakeServer, version: str, content: str, plays: bool) -> None:
    server = make(version)
    content = server.original() if content == "original" else content
    server.write(f"{ENTRY}/{ENTRY}.strm", f"{content}\n")
    server.scan()
    film = server.item()
    assert "RunTimeTicks" not in film
    if not plays:
        with pytest.raises(ValueError, match="does not play"):
            server.state.play_item("never played", film["Id"])
        return
    server.state.play_item("never played", film["Id"], 0.1)
    # Without a length, any play is complete.
    assert server.played(film["Id"])


def test_a_play_of_a_linked_film_can_be_resumed(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY)
    server.scan()
    film = server.item()
    server.state.play_item("never played", film["Id"], 0.4)
    owner = server.state.user_named("never played").id
    (begun,) = server.client.get("/UserItems/Resume", params={"userId": owner}).json()["Items"]
    assert begun["Id"] == film["Id"] and not begun["UserData"]["Played"]
    (server.here / ENTRY / f"{ENTRY}.mkv").unlink()
    with pytest.raises(ValueError, match="does not play"):
        server.state.play_item("never played", film["Id"])


# User data


@pytest.mark.parametrize(("version", "shared"), [("10.10.7", True), ("10.11.11", False), ("12.0.0", False),
                                                 ("emby", True)])  # fmt: skip
def test_copies_with_a_common_id_share_what_was_watched_on_old_versions(
    make: MakeServer, version: str, shared: bool
) -> None:
    server = make(version)
    server.film(ENTRY, "<tmdbid>900000000</tmdbid>")
    server.scan()
    copy = server.item()["Id"]
    server.state.play_item("never played", copy)
    original = next(item for item in server.items("Movies") if item["Name"] == "Plain Film")
    assert server.played(copy)
    assert server.played(original["Id"]) is shared
    assert server.state.user_named("plain").of(server.state.catalogue.top_items("movie:900000000")[0]).played
    assert server.played(copy, "plain") is shared


def test_a_part_of_the_ids_shares_one_way(make: MakeServer) -> None:
    server = make("10.10.7")
    server.film(ENTRY, "<imdbid>tt900000000</imdbid>")
    server.scan()
    copy = server.item()["Id"]
    original = next(item for item in server.items("Movies") if item["Name"] == "Plain Film")["Id"]
    server.state.play_item("never played", copy)
    assert not server.played(original)
    server.state.play_item("hidden", original)
    assert server.played(copy, "hidden")


def test_from_10_11_on_a_new_item_takes_what_a_removed_one_left(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY, "<tmdbid>77</tmdbid>")
    server.scan()
    server.state.play_item("never played", server.item()["Id"])
    (server.here / ENTRY).rename(server.here / ".away")
    server.scan()
    assert server.items() == []
    server.film("Other (2001) [ap-2]", "<tmdbid>77</tmdbid>")
    server.scan()
    assert server.played(server.item()["Id"])


# Series


def make_series(server: Server, name: str = "Show (2010) [ap-9]", nfo: str = "") -> None:
    """Write a series of two seasons."""
    server.write("keep.txt")
    server.write(f"{name}/tvshow.nfo", f"<tvshow><title>Show</title><status>Ended</status>{nfo}</tvshow>")
    for season, count in ((1, 2), (2, 1)):
        for episode in range(1, count + 1):
            stem = f"{name}/Season {season:02d}/Show S{season:02d}E{episode:02d} [ap-9]"
            server.write(f"{stem}.mkv")
            text = f"<title>Part {episode}</title><aired>2010-0{season}-01</aired><plot>E</plot>"
            server.write(f"{stem}.nfo", f"<episodedetails>{text}</episodedetails>")
    server.write(f"{name}/season02-poster.jpg")


@pytest.mark.parametrize("version", [JELLYFINS[0], JELLYFINS[-1], "emby"])
def test_a_series_has_seasons_and_episodes(make: MakeServer, version: str) -> None:
    server = make(version, kind="tvshows")
    make_series(server)
    server.scan()
    series = server.item(kind="Series")
    assert series["Name"] == "Show"
    seasons, episodes = server.items(kind="Season"), server.items(kind="Episode")
    assert [(season["Name"], bool(season["ImageTags"])) for season in seasons] == [
        ("Season 1", False), ("Season 2", True)
    ]  # fmt: skip
    assert sorted((e["ParentIndexNumber"], e["IndexNumber"], e["Name"]) for e in episodes) == [
        (1, 1, "Part 1"), (1, 2, "Part 2"), (2, 1, "Part 1")
    ]  # fmt: skip
    listed = server.client.get(f"/Shows/{series['Id']}/Episodes").json()["Items"]
    assert [episode["Id"] for episode in listed] == [episode["Id"] for episode in episodes]
    for episode in episodes:
        server.state.play_item("never played", episode["Id"])
    assert server.played(series["Id"])
    server.write("Show (2010) [ap-9]/Season 02/Show S02E02 [ap-9].mkv")
    server.scan()
    assert not server.played(series["Id"])


def test_episodes_without_a_folder_get_a_season(make: MakeServer) -> None:
    server = make(kind="tvshows")
    server.write("Show/Show S00E01 [x].mkv")
    server.write("Show/Show S01E01-E02 [x].mkv")
    server.scan()
    assert [season["Name"] for season in server.items(kind="Season")] == ["Specials", "Season 1"]
    assert [episode.get("IndexNumberEnd") for episode in server.items(kind="Episode")] == [None, 2]


@pytest.mark.parametrize(("version", "option", "custom", "merged"), [
    ("12.0.0", True, False, True), ("12.0.0", False, False, False), ("12.0.0", True, True, False),
    ("10.11.11", True, False, False),
])  # fmt: skip
def test_series_of_one_key_become_one_on_12(
    make: MakeServer, version: str, option: bool, custom: bool, merged: bool
) -> None:
    server = make(version, create=False)
    own = '<uniqueid type="Custom">mine</uniqueid>' if custom else ""
    make_series(server, nfo=f"<tvdbid>900000000</tvdbid>{own}")
    server.create(kind="tvshows", refresh=True, **{**OPTIONS, "EnableAutomaticSeriesGrouping": option})
    server.state.wait_for_scans()
    everything = [item["Id"] for item in server.items(None, "Series")]
    seen = [item["Id"] for item in server.items(None, "Series", user="never played")]
    assert len(everything) - len(seen) == (1 if merged else 0)
