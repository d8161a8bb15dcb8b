"""Entries on disk: what is placed, changed and removed, and what is left alone."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aperture_dagster.files.open_folder import OpenFolder
from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile, DesiredLibrary, PictureSource
from aperture_dagster.publishing.disk.folder import FolderError, LibraryFolder
from aperture_dagster.publishing.disk.nfo import TitleFacts, film_nfo
from aperture_dagster.publishing.disk.plan import LibraryPlan, plan_library, planned_entries
from aperture_dagster.publishing.disk.root_folder import Root
from aperture_dagster.publishing.placed import PlacedEntry
from aperture_dagster_tests.killing import Killed, killed_at

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Everything that changes something on disk.
KILLED_STEPS = [
    (LibraryFolder, "_place"),
    *((OpenFolder, name) for name in ("make", "rename", "remove", "remove_folder")),
]


def nfo(text: str, marker: str = "ap-bcdf") -> DesiredFile:
    content = film_nfo(TitleFacts(title=text, date_added=NOW, marker=marker))
    return DesiredFile("movie.nfo", "nfo", text, content=content)


def entry(
    rank: int = 1, *, marker: str = "ap-bcdf", text: str = "Alien", target: str = "/media/alien.mkv", poster: int = 1
) -> DesiredEntry:
    folder = f"Alien (1979) [{marker}]"
    return DesiredEntry(
        entry_id=marker,
        work_id=rank,
        item_id=10 + rank,
        rank=rank,
        title="Alien (1979)",
        folder=folder,
        date_added=NOW,
        files=(
            nfo(text, marker),
            DesiredFile("poster.jpg", "poster", str(poster), picture=PictureSource("1", "tag", None, "Alien", poster)),
            DesiredFile(f"{folder}.mkv", "symlink", target, target=target, item_id=10 + rank),
        ),
    )


def library(*entries: DesiredEntry) -> DesiredLibrary:
    return DesiredLibrary("recommendations/a/movie", "Picks", "movie", "a", frozenset({"a"}), entries)


def draw(picture: PictureSource) -> bytes:
    return f"poster {picture.rank}".encode()


class Shelf:
    """A folder with its manifest."""

    def __init__(self, path: Path) -> None:
        self.root = Root(path.parent, "us")
        self.root.mark()
        self.folder = LibraryFolder(self.root, path.name, clock_skew=timedelta(days=1))
        self.placed: dict[str, PlacedEntry] = {}
        self.folder.prepare()

    def plan(self, *entries: DesiredEntry, now: datetime = NOW) -> LibraryPlan:
        return plan_library(library(*entries), self.placed, self.folder.intact(self.placed.values()), now=now)

    def publish(self, *entries: DesiredEntry, now: datetime = NOW) -> LibraryPlan:
        plan = self.plan(*entries, now=now)
        for each in [*plan.add, *plan.change]:
            self.placed[each.entry.entry_id] = self.folder.place(each, draw)
        for gone in plan.remove:
            assert self.folder.remove(gone)
            del self.placed[gone.entry_id]
        return plan

    def files(self) -> set[str]:
        return {
            path.relative_to(self.folder.path).as_posix() for path in self.folder.path.rglob("*") if not path.is_dir()
        }


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "picks")


def test_a_new_entry_is_complete_and_readable_by_others(shelf: Shelf):
    umask = os.umask(0o077)
    try:
        shelf.publish(entry())
    finally:
        os.umask(umask)
    folder = shelf.folder.path / "Alien (1979) [ap-bcdf]"
    assert {one.name for one in folder.iterdir()} == {"movie.nfo", "poster.jpg", f"{folder.name}.mkv"}
    assert str((folder / f"{folder.name}.mkv").readlink()) == "/media/alien.mkv"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "movie.nfo").stat().st_mode) == 0o644
    assert (folder / "poster.jpg").stat().st_mtime == pytest.approx(time.time() + 86_400, abs=60)


def test_only_the_files_that_differ_are_written_and_an_unchanged_entry_is_not_touched(shelf: Shelf):
    shelf.publish(entry())
    untouched = {path: path.lstat() for path in shelf.folder.path.rglob("*")}
    plan = shelf.publish(entry())
    assert (plan.kept, plan.changes) == (1, 0)
    assert {path: path.lstat() for path in shelf.folder.path.rglob("*")} == untouched
    folder = shelf.folder.path / "Alien (1979) [ap-bcdf]"
    before = {path.name: path.lstat().st_ino for path in folder.iterdir()}
    plan = shelf.publish(entry(poster=2))
    assert [one.kind for one in plan.change[0].write] == ["poster"]
    after = {path.name: path.lstat().st_ino for path in folder.iterdir()}
    assert after.pop("poster.jpg") != before.pop("poster.jpg")
    assert after == before
    assert (folder / "poster.jpg").read_bytes() == b"poster 2"


@pytest.mark.parametrize("damage", ["missing", "rewritten", "other target"])
def test_a_file_that_somebody_changed_is_put_right(shelf: Shelf, damage: str):
    shelf.publish(entry())
    folder = shelf.folder.path / "Alien (1979) [ap-bcdf]"
    video = folder / f"{folder.name}.mkv"
    if damage == "missing":
        (folder / "poster.jpg").unlink()
    elif damage == "rewritten":
        (folder / "movie.nfo").write_text("<movie/>")
    else:
        video.unlink()
        video.symlink_to("/media/other.mkv")
    shelf.publish(entry())
    assert str(video.readlink()) == "/media/alien.mkv"
    assert (folder / "poster.jpg").read_bytes() == b"poster 1"
    assert b"Alien" in (folder / "movie.nfo").read_bytes()


def test_from_links_to_strm_and_back(shelf: Shelf):
    one = entry()
    strm = DesiredFile(f"{one.folder}.strm", "strm", "/media/alien.mkv", content=b"/media/alien.mkv\n", item_id=11)
    shelf.publish(one)
    shelf.publish(replace(one, files=(*one.files[:2], strm)))
    assert {path.rpartition(".")[2] for path in shelf.files()} == {"nfo", "jpg", "strm", "txt"}
    shelf.publish(one)
    assert {path.rpartition(".")[2] for path in shelf.files()} == {"nfo", "jpg", "mkv", "txt"}


def test_after_a_kill_at_any_step_the_next_run_leaves_nothing_that_nobody_owns(tmp_path: Path):
    stays, leaves, comes = entry(), entry(2, marker="ap-ghjk"), entry(3, marker="ap-mnpq")
    changed = entry(text="Alien, changed", poster=2)
    for step in itertools.count(1):
        shelf = Shelf(tmp_path / str(step))
        shelf.publish(stays, leaves)
        # As a run does before it begins to place them.
        shelf.placed |= {one.entry_id: one for one in planned_entries(shelf.plan(changed, comes))}
        with killed_at(KILLED_STEPS, step) as done, suppress(Killed):
            shelf.publish(changed, comes)
        at = f"killed at {step}, {done[-1]}"
        # The list may be another one by then.
        shelf.publish(*((stays, leaves) if step % 2 else (changed, comes)))
        assert len(shelf.files()) == 7 and not [path for path in shelf.files() if path.startswith(".")], at
        shelf.publish()
        assert shelf.files() == {"about.txt"} and len(list(shelf.folder.path.iterdir())) == 1, at
        if len(done) * 2 < step:
            break


def test_entries_of_a_restored_database_are_recognised_by_their_marker(shelf: Shelf):
    shelf.publish(entry(), entry(2, marker="ap-ghjk"))
    stranger = shelf.folder.path / "Holidays (2020) [ap-zzzz]"
    stranger.mkdir()
    (stranger / "movie.nfo").write_text("<movie><title>Holidays</title></movie>")
    (stranger / "holidays.mkv").write_bytes(b"mine")
    found = shelf.folder.strangers({"ap-bcdf"})
    assert [one.entry_id for one in found] == ["ap-ghjk"]
    shelf.placed = {"ap-ghjk": found[0], "ap-bcdf": shelf.placed["ap-bcdf"]}
    shelf.publish(entry())
    assert {path.partition("/")[0] for path in shelf.files()} == {
        "Alien (1979) [ap-bcdf]",
        "Holidays (2020) [ap-zzzz]",
        "about.txt",
    }


def test_a_full_disk_is_reported_and_leaves_what_was_visible_since_the_video_changes_last(shelf: Shelf):
    shelf.publish(entry())
    before = shelf.files()

    def full(picture: PictureSource) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    changed = entry(text="Aliens", target="/media/aliens.mkv", poster=2)
    (plan,) = shelf.plan(changed, now=NOW + timedelta(minutes=5)).change
    with pytest.raises(FolderError, match="the disk is full"):
        shelf.folder.place(plan, full)
    assert shelf.files() == before
    folder = shelf.folder.path / "Alien (1979) [ap-bcdf]"
    assert str((folder / f"{folder.name}.mkv").readlink()) == "/media/alien.mkv"
