"""Names and paths of published libraries, and what the server did not read of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from aperture_dagster.media_server.records import PublishedItem
from aperture_dagster.publishing.nfo import TitleFacts, film_nfo
from aperture_dagster.publishing.paths import as_path, separator
from aperture_dagster.publishing.plan import DesiredEntry, DesiredFile
from aperture_dagster.publishing.preflight import library_names, not_read

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
