"""Paths are translated by whole folders, and a root in which publishing would do harm is refused with a reason."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.media_server.records import PublishedItem
from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile
from aperture_dagster.publishing.disk.names import LONGEST_BELOW_ROOT
from aperture_dagster.publishing.disk.nfo import TitleFacts, film_nfo
from aperture_dagster.publishing.disk.paths import PathMap, as_path, root_problems, separator
from aperture_dagster.publishing.server.places import library_names, not_read

PATHS = PathMap(
    {"/volume1/media": "/media", "/volume1/media/tv/": "D:\\Shows\\", "/nas": "\\\\nas\\share", "/drive": "E:"}
)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("/volume1/media/Films/A.mkv", "/media/Films/A.mkv"),
        ("/volume1/media", "/media"),
        ("/volume1/media/tv/Lost/S01/a.mkv", "D:\\Shows\\Lost\\S01\\a.mkv"),
        ("/nas/a b/c", "\\\\nas\\share\\a b\\c"),
        ("/drive", "E:\\"),
        ("/drive/x", "E:\\x"),
        # Part of a name is not a folder.
        ("/volume1/media2/x", "/volume1/media2/x"),
        ("/other/back\\slash", "/other/back\\slash"),
    ],
)
def test_a_path_is_translated_by_its_longest_folder(here: str, there: str):
    assert PATHS.to_server(here) == PATHS.to_server(Path(here)) == there


def test_dots_do_not_lead_out_of_a_folder():
    assert PATHS.to_server("/volume1/media/../secret/a") == "/volume1/secret/a"


segments = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
inner = st.lists(segments.filter(lambda one: one not in (".", "..")), max_size=4)


@given(inner)
def test_a_path_that_no_folder_contains_stays_as_it_is(rest: list[str]):
    here = "/".join(["/volume1/media", *rest])
    assert PathMap({}).to_server(here) == here


@pytest.mark.parametrize("pairs", [{"media": "/media"}, {"/media": "media"}, {"/a": ""}])
def test_a_mapping_of_relative_folders_is_refused(pairs: dict[str, str]):
    with pytest.raises(ValueError, match="absolute"):
        PathMap(pairs)


@pytest.mark.parametrize(
    ("root", "library", "reason"),
    [
        ("/movies/aperture", "/movies", "is inside the library folder /movies"),
        ("/movies", "/movies/", "is inside the library folder /movies/"),
        ("/data", "/data/movies", "contains the library folder /data/movies"),
        ("/", "/data/movies", "contains the library folder"),
        ("d:\\media\\ours", "D:\\Media", "is inside the library folder"),
        # The server looks for the one path anywhere in the other.
        ("/data/movies/ours", "/movies", "contains the path of the library /movies as a text"),
        ("/srv/movies", "/movies", "contains the path of the library /movies as a text"),
        ("/ours", "/data/ours/films", "The path of the library /data/ours/films contains /ours as a text"),
    ],
)
def test_a_root_that_conflicts_with_a_library_is_refused(root: str, library: str, reason: str):
    (problem,) = root_problems(root, [library, "not a path"])
    assert reason in problem and problem.endswith(".")


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        *((f"/srv/{name.upper()}/x", f'"{name.upper()}"') for name in ("metadata", "@eadir", "lost+found")),
        ("/srv/a.trickplay", '"a.trickplay"'),
        ("/srv/.aperture", '".aperture"'),
        ("/.aperture", '".aperture"'),
        ("/srv/tt1234567", '"tt1234567"'),
        ("/srv/x [tmdbid=1]", "[tmdbid="),
        ("/srv/x [dontfetchmeta]", "[dontfetchmeta]"),
        ("/srv/tab/x", '"tab"'),
        ("C:\\" + "x" * (259 - LONGEST_BELOW_ROOT), "259 characters of Windows"),
        ("aperture", "not an absolute path"),
    ],
)
def test_a_root_that_the_scanner_would_skip_or_misread_is_refused(root: str, reason: str):
    (problem,) = root_problems(root, [])
    assert reason in problem and problem.endswith(".")


@pytest.mark.parametrize(
    "root", ["/data/aperture", "/data/.hidden/aperture", "/srv/metadata2", "C:\\" + "x" * (256 - LONGEST_BELOW_ROOT)]
)
def test_an_ordinary_root_beside_the_libraries_has_no_problems(root: str):
    assert root_problems(root, ["/data/movies", "/data/aperture2", "/media/tv", "D:\\media", "\\\\nas\\films"]) == []


# Names and paths of published libraries, and what the server did not read of them


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_name_that_is_taken_is_followed_by_others_without_what_servers_replace():
    names = list(itertools.islice(library_names(' For  "Ada": a/b\x00 '), 4))
    assert names == ["For Ada a b", "For Ada a b (Aperture)", "For Ada a b (Aperture 2)", "For Ada a b (Aperture 3)"]
    assert len(list(library_names("x"))) == 100


@pytest.mark.parametrize(
    ("path", "compared", "between"),
    [
        ("/a/b/", "/a/b", "/"),
        ("D:\\a\\b\\", "D:/a/b", "\\"),
        ("\\\\nas\\a", "//nas/a", "\\"),
        ("D:/a\\b", "D:/a/b", "/"),
    ],
)
def test_paths_of_windows_are_compared_with_slashes_and_continued_with_their_own(
    path: str, compared: str, between: str
):
    assert (as_path(path), separator(path)) == (compared, between)


@pytest.mark.parametrize(
    ("name", "sort_name", "is_read"),
    [
        ("The Film", "0003 film", True),
        ("The Film", "0000000003 film", True),
        ("The  Film", "0003", True),
        # The server does not say.
        ("The Film", None, True),
        ("The Film", "0004 film", False),
        ("The Film", "film", False),
        ("A Film", "0003 film", False),
    ],
)
def test_what_the_server_shows_with_another_rank_or_title_was_not_read(name: str, sort_name: str | None, is_read: bool):
    content = film_nfo(TitleFacts("The Film", NOW, "ap-a"))
    files = (
        DesiredFile("Season 01/x.nfo", "nfo", "", content=film_nfo(TitleFacts("Episode", NOW, ""))),
        DesiredFile("poster.jpg", "poster", "", content=b"<title>no</title>"),
        DesiredFile("movie.nfo", "nfo", "", content=content),
    )
    entry = DesiredEntry("ap-a", 1, 1, 3, "The Film", "folder", NOW, files)
    item = PublishedItem("1", "Movie", name, sort_name=sort_name)
    assert not_read([entry], {}) == [], "it is missing, which is another problem"
    assert not_read([entry], {"folder": item}) == ([] if is_read else [(entry, item)])
