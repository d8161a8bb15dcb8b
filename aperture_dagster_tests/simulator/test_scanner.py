"""Scans of real folders on the stand-ins: what is found, read and kept, by version."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aperture_dagster.simulator.counters import Clock
from aperture_dagster_tests.simulator.conftest import MakeServer
from aperture_dagster_tests.simulator.published import DEFAULT, JELLYFINS, ROOT

ENTRY = "Plain (2001) [ap-1]"


def touch(path: Path, seconds: float) -> None:
    """Move a file's time."""
    when = path.stat().st_mtime + seconds
    os.utime(path, (when, when))


# What is found


@pytest.mark.parametrize("version", [*JELLYFINS, "emby"])
def test_a_linked_film_is_listed_with_what_its_nfo_says(make: MakeServer, version: str) -> None:
    server = make(version)
    server.film(
        ENTRY,
        "<title>A &amp; B</title><sorttitle>0001 A</sorttitle><plot>Plot</plot><mpaa>PG</mpaa><year>2001</year>"
        "<genre>Drama / Comedy</genre><tag>mine</tag><actor><name>Zoë</name><role>She</role></actor>"
        '<uniqueid type="aperture">w1</uniqueid><dateadded>2026-01-02 03:04:05</dateadded><rating>7,5</rating>'
        "<studio>S</studio><director>D</director>",
    )
    server.write(f"{ENTRY}/poster.jpg")
    server.scan()
    film = server.item()
    assert (film["Name"], film["Overview"], film["OfficialRating"]) == ("A & B", "Plot", "PG")
    assert film["ProviderIds"] == {"aperture": "w1"}
    assert film["SortName"] == "0000000001 a"
    assert film["Genres"] == ["Drama", "Comedy"]
    assert film["DateCreated"] == "2026-01-02T03:04:05.0000000Z"
    assert film["Path"] == f"{ROOT}/{ENTRY}/{ENTRY}.mkv"
    assert film["ImageTags"]["Primary"]
    # The length is that of the file.
    assert film["RunTimeTicks"] == 90 * 600_000_000
    if version != "emby":
        assert film["MediaSources"][0]["Path"] == server.original()
        assert (film["ForcedSortName"], film["LockData"], film["Tags"]) == ("0001 A", False, ["mine"])
    assert server.item()["Id"] in [item["Id"] for item in server.items(None)]
    image = server.client.get(f"/Items/{film['Id']}/Images/Primary")
    assert (image.content, image.headers["content-type"]) == (b"x", "image/jpeg")


@pytest.mark.parametrize(
    "entry",
    [".Hidden (2001) [x]", "extras", "metadata", "subs", "A (2001) [x]/sample", "Free Sample (2001) [x]", "A-trailer"],
)
def test_names_that_are_ignored(make: MakeServer, entry: str) -> None:
    server = make()
    server.film(entry)
    server.film("Kept (2001) [k]")
    server.scan()
    assert [item["Path"] for item in server.items()] == [f"{ROOT}/Kept (2001) [k]/Kept (2001) [k].mkv"]


@pytest.mark.parametrize("segment", ["subs", "metadata", "x.trickplay"])
def test_nothing_is_seen_below_some_folders(make: MakeServer, segment: str) -> None:
    server = make(create=False)
    server.film(f"{segment}/lists/A (2001) [x]")
    server.create(path=f"{ROOT}/{segment}/lists", refresh=True)
    server.state.wait_for_scans()
    assert server.items() == []


def test_parts_are_one_film_and_versions_are_sources_of_it(make: MakeServer) -> None:
    server = make()
    folder = "Two (2001) [x]"
    server.film(folder)
    (server.here / folder / f"{folder}.mkv").rename(server.here / folder / f"{folder}-part1.mkv")
    server.write(f"{folder}/{folder}-part2.mkv")
    server.scan()
    assert server.item()["Path"].endswith("-part1.mkv")
    server.write(f"{folder}/{folder} - 720p.mkv")
    server.scan()
    assert len(server.item()["MediaSources"]) == 2
    server.write(f"{folder}/Another.mkv")
    server.scan()
    assert len(server.items()) == 3


# What disappears, what stays


@pytest.mark.parametrize("version", [JELLYFINS[0], JELLYFINS[-1], "emby"])
def test_a_dangling_link_is_no_film(make: MakeServer, version: str) -> None:
    server = make(version)
    server.film("A (2001) [x]")
    server.film("B (2001) [x]", target="/media/movies/gone.mkv")
    server.film("C (2001) [x]", target="../A (2001) [x]/A (2001) [x].mkv")
    server.scan()
    assert [item["Path"][len(ROOT) + 1] for item in server.items()] == ["A", "C"]


def test_without_the_disk_of_the_originals_a_scan_empties_the_library(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY)
    server.scan()
    server.state.unmount_library("Movies")
    assert len(server.items()) == 1
    server.scan()
    assert server.items() == [] and server.items("Movies")
    server.state.mount_library("Movies")
    server.scan()
    assert len(server.items()) == 1


def test_an_empty_root_is_skipped_so_that_its_items_stay(make: MakeServer) -> None:
    server = make()
    link = server.film(ENTRY)
    server.scan()
    for path in (link, link.parent / "none", server.here / "keep.txt"):
        path.unlink(missing_ok=True)
    link.parent.rmdir()
    server.scan()
    assert len(server.items()) == 1
    server.write("keep.txt")
    server.scan()
    assert server.items() == []


def test_a_scan_sees_the_files_of_its_beginning(make: MakeServer) -> None:
    server = make(scan_seconds=30.0)
    server.write("keep.txt")
    server.state.start_scan()
    server.film(ENTRY)
    server.state.advance(31)
    assert server.items() == []
    server.state.start_scan()
    server.state.advance(31)
    assert len(server.items()) == 1


# What is read again


@pytest.mark.parametrize(("version", "tolerance"), [("10.9.11", 0), ("10.11.2", 0), ("10.11.3", 60), ("12.0.0", 60)])
def test_an_nfo_file_is_read_again_when_it_is_newer_than_the_item(
    make: MakeServer, version: str, tolerance: int
) -> None:
    server = make(version)
    server.film(ENTRY, "<title>One</title>")
    server.scan()
    server.write(f"{ENTRY}/movie.nfo", "<movie><title>Two</title></movie>")
    server.scan()
    assert server.item()["Name"] == ("One" if tolerance else "Two")
    server.state.advance(61)
    server.write(f"{ENTRY}/movie.nfo", "<movie><title>Three</title></movie>")
    server.scan()
    assert server.item()["Name"] == "Three"


def test_an_nfo_file_with_an_old_time_is_never_read_unless_everything_is_replaced(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY, "<title>One</title><plot>P</plot>")
    server.scan()
    touch(server.write(f"{ENTRY}/movie.nfo", "<movie><title>Two</title></movie>"), -3_600)
    server.scan()
    server.scan(metadataRefreshMode="FullRefresh")
    assert server.item()["Name"] == "One"
    server.scan(metadataRefreshMode="FullRefresh", replaceAllMetadata="true")
    assert (server.item()["Name"], server.item().get("Overview")) == ("Two", None)


def test_a_server_whose_clock_is_ahead_does_not_read_what_changed(make: MakeServer) -> None:
    server = make("10.10.7")
    server.state.skew_clock(300)
    server.film(ENTRY, "<title>One</title>")
    server.scan()
    server.write(f"{ENTRY}/movie.nfo", "<movie><title>Two</title></movie>")
    server.scan()
    assert server.item()["Name"] == "One"


def test_a_tag_that_is_gone_keeps_its_value(make: MakeServer) -> None:
    server = make("10.10.7")
    server.film(ENTRY, "<title>One</title><plot>Plot</plot><sorttitle>1</sorttitle>")
    server.scan()
    server.write(f"{ENTRY}/movie.nfo", "<movie><title>Two</title></movie>")
    server.scan()
    film = server.item()
    assert (film["Name"], film["Overview"], film["SortName"]) == ("Two", "Plot", "0000000001")


@pytest.mark.parametrize(("version", "name"), [("10.9.3", "Two"), ("10.9.4", "One"), ("10.10.7", "One"),
                                               ("emby", "Two")])  # fmt: skip
def test_the_nfo_file_of_a_locked_item_is_read_once(make: MakeServer, version: str, name: str) -> None:
    server = make(version)
    server.film(ENTRY, "<title>One</title><lockdata>true</lockdata>")
    server.scan()
    server.write(f"{ENTRY}/movie.nfo", "<movie><title>Two</title><lockdata>false</lockdata></movie>")
    server.scan()
    assert server.item()["Name"] == name
    if version != "emby":
        assert server.item()["LockData"] is True


def test_a_refresh_without_modes_makes_items_without_their_nfo(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY, "<title>One</title>")
    server.write(f"{ENTRY}/poster.jpg")
    server.scan(metadataRefreshMode="None", imageRefreshMode="None")
    assert (server.item()["Name"], server.item()["ImageTags"]) == (ENTRY, {})
    server.scan()
    # The item counts as refreshed, so its file is older.
    assert server.item()["Name"] == ENTRY and server.item()["ImageTags"]


def test_a_refresh_of_an_item_leaves_the_others_alone(make: MakeServer) -> None:
    server = make("10.10.7")
    for name in "AB":
        server.film(f"{name} (2001) [x]", f"<title>{name}</title>")
    server.scan()
    for name in "AB":
        server.write(f"{name} (2001) [x]/movie.nfo", f"<movie><title>{name} again</title></movie>")
    first = next(item for item in server.items() if item["Name"] == "A")
    server.film("C (2001) [x]")
    assert server.client.post(f"/Items/{first['Id']}/Refresh", params=DEFAULT).status_code == 204
    server.state.wait_for_scans()
    assert sorted(item["Name"] for item in server.items()) == ["A again", "B"]
    assert server.client.post(f"/Items/{'0' * 32}/Refresh", params=DEFAULT).status_code == 404


def test_a_hard_link_is_a_file_like_any_other(make: MakeServer, tmp_path: Path) -> None:
    server = make()
    (tmp_path / "original.mkv").write_text("film")
    server.film(ENTRY).unlink()
    (server.here / ENTRY / f"{ENTRY}.mkv").hardlink_to(tmp_path / "original.mkv")
    server.scan()
    film = server.item()
    assert film["MediaSources"][0]["Path"] == film["Path"]
    server.state.play_item("never played", film["Id"])
    assert server.played(film["Id"])


def test_broken_xml_is_read_up_to_the_fault(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY, "<title>One</title><plot>a \x0b b</plot><mpaa>R</mpaa>")
    server.scan()
    film = server.item()
    assert (film["Name"], "Overview" in film, "OfficialRating" in film) == ("One", False, False)


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize("tag", ["watched", "playcount", "thumb", "set"])
def test_tags_with_side_effects_are_not_modelled(make: MakeServer, tag: str) -> None:
    server = make()
    server.film(ENTRY, f"<title>One</title><{tag}>1</{tag}>")
    server.scan()
    assert tag in server.state.counters.unmodelled[0]


def test_a_poster_has_a_new_tag_when_its_time_changes(make: MakeServer) -> None:
    server = make()
    server.film(ENTRY)
    poster = server.write(f"{ENTRY}/poster.jpg")
    server.scan()
    tags = [server.item()["ImageTags"]["Primary"]]
    for seconds in (0, 5):
        touch(poster, seconds)
        server.scan()
        tags.append(server.item()["ImageTags"]["Primary"])
    assert tags[0] == tags[1] != tags[2]
    poster.unlink()
    server.scan()
    assert server.item()["ImageTags"] == {}


@pytest.mark.parametrize(("version", "by_target"), [("10.10.7", False), ("12.0.0", True)])
def test_the_date_of_a_link_is_its_own_or_its_targets(make: MakeServer, version: str, by_target: bool) -> None:
    server = make(version)
    server.film(ENTRY)
    server.scan()
    created = datetime.fromisoformat(server.item()["DateCreated"])
    assert (datetime.now(UTC) - created > timedelta(days=1)) is by_target


@pytest.mark.parametrize(("version", "reset"), [("10.10.7", False), ("12.0.0", True)])
def test_a_newer_video_file_gets_a_new_date_from_10_11_on(make: MakeServer, version: str, reset: bool) -> None:
    server = make(version)
    server.film(ENTRY, "<dateadded>2020-01-01 00:00:00</dateadded>")
    (server.here / ENTRY / f"{ENTRY}.mkv").unlink()
    video = server.write(f"{ENTRY}/{ENTRY}.mkv")
    server.scan()
    assert server.item()["DateCreated"].startswith("2020")
    touch(video, 5)
    server.scan()
    assert server.item()["DateCreated"].startswith("2020") is not reset


@pytest.mark.parametrize(
    ("version", "forced", "sort_name"),
    [("10.11.11", "The 2 A & B", "the 0000000002 a & b"), ("12.0.0", "The 2 A & B", "0000000002 a  b")],
)
def test_forced_sort_names(make: MakeServer, version: str, forced: str, sort_name: str) -> None:
    server = make(version)
    server.film(ENTRY, f"<sorttitle>{forced.replace('&', '&amp;')}</sorttitle>")
    server.scan()
    assert server.item()["SortName"] == sort_name


@pytest.mark.skipif(sys.platform != "linux", reason="about the clock with which Linux stamps files")
def test_a_file_counts_as_later_from_the_next_time_that_linux_would_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter([99.998, 99.998, 100.002])
    monkeypatch.setattr(time, "time", lambda: 100.0)
    monkeypatch.setattr(time, "clock_gettime", lambda _: next(stamps))
    clock = Clock()
    clock.advance(61)
    assert clock.file_time(100.0) == 100.0, "written before"
    assert clock.file_time(100.002) == pytest.approx(161.002)
