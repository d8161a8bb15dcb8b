"""Libraries on the media server: created, changed, scanned and deleted, and never those of others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.http.errors import Conflict, PathNotVisible, RequestRejected, ServiceUnavailable
from aperture_dagster.media_server.library_options import merge_options
from aperture_dagster.media_server.records import PublishedLibrary
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.media_server.writers import ROOT, SERVERS, service, writing

every_server = pytest.mark.parametrize("server", SERVERS)
NAME, PATH = "Bo's AI Picks - Movies", f"{ROOT}/picks, bo - movies"
GERMAN = ("de", "AT")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of this machine that the media server sees as ``ROOT``."""
    (tmp_path / "picks, bo - movies").mkdir()
    (tmp_path / "picks, bo - movies" / "readme.txt").write_text("Made by aperture-dagster.")
    return tmp_path


def add_film(folder: Path, name: str, title: str) -> None:
    film = folder / "picks, bo - movies" / name
    film.mkdir()
    (film / "movie.nfo").write_text(f"<movie><title>{title}</title><sorttitle>0001 {title}</sorttitle></movie>")
    (film / f"{name}.mkv").symlink_to("/media/movies/Alone (2001)/Alone (2001).mkv")


def create(writer: MediaServerWriter, **changes: Any) -> None:
    how: dict[str, Any] = {"language": GERMAN, "enabled": False, "scan": False}
    writer.create_library(changes.pop("name", NAME), "movie", changes.pop("path", PATH), **how | changes)


def listed(writer: MediaServerWriter, name: str = NAME) -> PublishedLibrary:
    return next(one for one in writer.libraries() if one.name == name)


def with_id(running: RunningSimulator, writer: MediaServerWriter) -> PublishedLibrary:
    """Return the new library once it has an id, which older servers assign with a scan."""
    writer.start_scan()
    running.state.wait_for_scans()
    return listed(writer)


@every_server
def test_a_library_is_created_with_its_options_which_can_be_changed_and_hidden_where_possible(
    server: str, folder: Path
):
    with writing(server, folder) as (running, writer):
        create(writer)
        create(writer)
        library = with_id(running, writer)
        assert library.item_id and library.policy_id and library.call_id
        assert (library.locations, library.collection_type) == ((PATH,), "movies")
        assert writer.language_of(library) == GERMAN
        assert merge_options(library.options, writer.desired_options("movie", GERMAN)) == library.options
        films = next(one for one in library.options["TypeOptions"] if one["Type"] == "Movie")
        assert films["MetadataFetchers"] == films["ImageFetchers"] == []
        assert library.options["MetadataSavers"] == []
        assert not library.options["EnableAutomaticSeriesGrouping"] and not library.options["EnableRealtimeMonitor"]
        assert library.options.get("Enabled") is (None if server == "emby" else False)
        assert writer.writes["library_created"] == 1
        wanted = copy.deepcopy(library.options) | {"PreferredMetadataLanguage": "fr"}
        writer.set_library_options(library, wanted)
        assert listed(writer).options == wanted, "the others are kept"
        writer.set_library_options(listed(writer), wanted)
        assert writer.writes["library_options"] == 1
        part = {name: value for name, value in wanted.items() if name != "TypeOptions"}
        for incomplete in (part, {}, wanted | {"PathInfos": []}):
            with pytest.raises(RequestRejected, match="incomplete"):
                writer.set_library_options(listed(writer), incomplete)
        assert listed(writer).options == wanted


@every_server
def test_a_used_name_or_folder_is_refused_before_anything_is_created(server: str, folder: Path):
    (folder / "media" / "movies" / "bo").mkdir(parents=True)
    with writing(server, folder) as (_, writer):
        before = writer.libraries()
        for changes in ({"name": "Movies"}, {"name": "movies "}, {"path": "/media/movies/bo"}, {"path": "/media"}):
            with pytest.raises(Conflict):
                create(writer, **changes)
        with pytest.raises(PathNotVisible, match="APERTURE_PATH_MAP"):
            create(writer, path=f"{ROOT}/elsewhere")
        if server != "emby":
            with pytest.raises(Conflict, match="APERTURE_PUBLISH_ROOT"):
                create(writer, path=f"{ROOT}/media/movies/bo")
        assert writer.libraries() == before


@every_server
def test_a_library_that_the_server_renamed_is_deleted_again(server: str, folder: Path):
    """Somebody else may take the name between the listing and the creation."""
    with writing(server, folder) as (_, writer):
        (folder / "other").mkdir()
        writer._check_free = lambda libraries, name, path: create_other(writer)  # type: ignore[method-assign]

        def create_other(writer: MediaServerWriter) -> None:
            writer.transport.send(
                writer._creation(NAME, "movie", {"PathInfos": [{"Path": f"{ROOT}/other"}]}, "", scan=False)
            )

        with pytest.raises(Conflict, match="deleted again"):
            create(writer)
        assert [one.locations for one in writer.libraries() if NAME in one.name] == [(f"{ROOT}/other",)]


@every_server
def test_a_library_whose_creation_was_not_answered_is_not_created_twice(server: str, folder: Path):
    with writing(server, folder) as (running, writer):
        running.state.add_fault(FaultRule(service(server), "/VirtualFolders?", "cut_off", times=1))
        create(writer)
        assert len([one for one in writer.libraries() if PATH in one.locations]) == 1
        writer.delete_library(listed(writer), scan=True)
        running.state.clear_faults()
        running.state.add_fault(FaultRule(service(server), "/VirtualFolders?", status=503, times=1))
        with pytest.raises(ServiceUnavailable):
            create(writer)
        assert PATH not in [location for one in writer.libraries() for location in one.locations]


def test_merged_options_keep_what_is_unknown():
    current = {
        "Enabled": True, "New": {"a": 1}, "PathInfos": [{"Path": PATH, "NetworkPath": "x"}], "MetadataSavers": ["Nfo"],
        "TypeOptions": [{"Type": "Movie", "MetadataFetchers": ["TMDb"], "ImageOptions": [1]}, {"Type": "Audio"}],
    }  # fmt: skip
    desired = {"MetadataSavers": [], "Absent": None, "TypeOptions": [{"Type": "Movie", "MetadataFetchers": []}]}
    before = copy.deepcopy(current)
    merged = merge_options(current, desired)
    assert merged == before | {
        "MetadataSavers": [],
        "TypeOptions": [{"Type": "Movie", "MetadataFetchers": [], "ImageOptions": [1]}, {"Type": "Audio"}],
    }
    assert current == before and merge_options(merged, desired) == merged


@every_server
def test_only_the_listed_library_is_deleted(server: str, folder: Path):
    (folder / "other").mkdir()
    with writing(server, folder) as (running, writer):
        create(writer)
        stale = with_id(running, writer)
        writer.delete_library(stale, scan=True)
        writer.delete_library(stale, scan=True)
        running.state.wait_for_scans()
        assert not [one for one in writer.libraries() if one.name == NAME]
        create(writer, path=f"{ROOT}/other")
        with pytest.raises(Conflict, match="other folders"):
            writer.delete_library(stale, scan=False)
        assert listed(writer).locations == (f"{ROOT}/other",)
        assert (folder / "picks, bo - movies" / "readme.txt").exists()


def status(writer: MediaServerWriter) -> tuple[str, bool, float | None]:
    """The status of the library, whether it has a progress, and the progress of a scan of everything."""
    library = listed(writer)
    return library.refresh_status, library.refresh_progress is not None, writer.scan_progress()


@every_server
def test_a_refreshed_library_shows_the_published_files(server: str, folder: Path):
    with writing(server, folder, scan_seconds=0.01) as (running, writer):
        create(writer)
        library = with_id(running, writer)
        running.state.scans.seconds = 30
        add_film(folder, "Alone [ap-1]", "All Alone")
        assert status(writer) == ("Idle", False, None)
        writer.refresh_library(library)
        # Between the queue and its start, a refresh is not seen for a moment.
        running.state.advance(1)
        assert status(writer) == ("Active", True, None)
        assert writer.count_items(library, "Movie") == 0
        running.state.advance(31)
        assert status(writer) == ("Idle", False, None)
        assert writer.count_items(library, "Movie") == 1
        (item,) = writer.library_items(library, "Movie")
        assert item.path is not None and item.path.startswith(f"{PATH}/Alone [ap-1]")
        assert (item.name, item.item_type) == ("All Alone", "Movie")
        writer.start_scan()
        running.state.advance(15)
        progress = writer.scan_progress()
        assert progress is not None and 45 < progress < 60
