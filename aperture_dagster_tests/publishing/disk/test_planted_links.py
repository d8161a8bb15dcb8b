"""Links that somebody plants below the root, before a run or in the middle of one: nothing is changed behind them."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.files.open_folder import OpenFolder
from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile, PictureSource
from aperture_dagster.publishing.disk.folder import FolderError
from aperture_dagster.publishing.disk.nfo import TitleFacts, series_nfo
from aperture_dagster_tests.publishing.disk.test_folder import NOW, Shelf

ENTRY = "Dark (2017) [ap-bcdf]"
SEASON = f"{ENTRY}/Season 01"
VIDEO = f"{SEASON}/Dark S01E01 [ap-bcdf].mkv"
# What of ours a link can be planted for, by its path below the folder of the library.
FOLDERS = ["", ENTRY, SEASON]
HIDDEN = [".ap-bcdf.new", ".ap-bcdf.old"]
PARTS = [f"{ENTRY}/.tvshow.nfo.part", f"{ENTRY}/.poster.jpg.part", f"{SEASON}/.Dark S01E01 [ap-bcdf].mkv.part"]
FILES = ["about.txt", f"{ENTRY}/tvshow.nfo", f"{ENTRY}/poster.jpg", VIDEO]
# Everything that asks the system to change or to open something.
CALLS = ["open", "mkdir", "rename", "replace", "unlink", "rmdir", "symlink", "link", "stat", "chmod", "utime"]


def series(text: str = "Dark", *, episodes: int = 2, poster: int = 1) -> DesiredEntry:
    nfo = series_nfo(TitleFacts(title=text, date_added=NOW, marker="ap-bcdf"))
    files = [
        DesiredFile("tvshow.nfo", "nfo", text, content=nfo),
        DesiredFile("poster.jpg", "poster", str(poster), picture=PictureSource("1", "tag", None, "Dark", poster)),
    ]
    for number in range(1, episodes + 1):
        name, target = f"Season 01/Dark S01E0{number} [ap-bcdf].mkv", f"/media/{text}{number}.mkv"
        files.append(DesiredFile(name, "symlink", target, target=target, item_id=number))
    return DesiredEntry("ap-bcdf", 1, 11, 1, "Dark", ENTRY, NOW, tuple(files))


class Guarded(Shelf):
    """A library with a series, and what a killed run left; and a precious folder elsewhere.

    That holds everything by the same names; or with ``bare`` nothing of it, so that it shows what is created there.
    """

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        super().__init__(path / "root" / "picks")
        self.publish(series())
        self.precious, self.bare = path / "precious", bare
        shutil.copytree(self.folder.path, self.precious, symlinks=True)
        for hidden in HIDDEN:
            shutil.copytree(self.precious / ENTRY, self.precious / hidden, symlinks=True)
        for name in PARTS:
            (self.precious / name).write_text("precious")
        for one in self.precious.rglob("*"):
            if one.is_dir():
                (one / "mine.txt").write_text("precious")
            elif not one.is_symlink():
                one.write_text("precious")
        if bare:
            shutil.rmtree(self.precious)
            self.precious.mkdir()
            (self.precious / "mine.txt").write_text("precious")
        for one in (self.precious, *self.precious.rglob("*/")):
            one.chmod(0o700)
        for hidden in HIDDEN:
            shutil.copytree(self.folder.path / ENTRY, self.folder.path / hidden, symlinks=True)
        self.before = snapshot(self.precious)

    def plant(self, name: str) -> None:
        """Put a link to the precious counterpart in the place of something of ours."""
        place, target = self.folder.path / name, self.precious / name
        if self.bare:
            target = self.precious if name in (*FOLDERS, *HIDDEN) else self.precious / Path(name).name
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.is_dir():
            place.rename(place.with_name(f"{place.name} moved"))
        # It, or the folder that it is in, may be gone by then.
        with suppress(FileNotFoundError):
            place.symlink_to(target)

    def actions(self) -> Iterator[Callable[[], Any]]:
        """Everything that is done to a library in its life, each as a run does it."""
        yield self.folder.prepare
        yield lambda: self.folder.strangers({"ap-zzzz"})
        for wanted in (series("Dark, changed", poster=2, episodes=1), series()):
            yield lambda wanted=wanted: self.publish(wanted)
        yield self.leave
        # From the beginning.
        yield lambda: self.publish(series())
        yield self.leave
        yield self.folder.retire

    def leave(self) -> None:
        for one in list(self.placed.values()):
            self.folder.remove(one)
            del self.placed[one.entry_id]


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, permissions, time of change, and content."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


@pytest.mark.parametrize(
    ("name", "bare"),
    [*((one, False) for one in (*FOLDERS, *HIDDEN, *PARTS, *FILES)), *((one, True) for one in (*FOLDERS, HIDDEN[0]))],
)
def test_nothing_is_changed_behind_a_link_in_the_place_of_something_of_ours(tmp_path: Path, name: str, bare: bool):
    number = len(list(Guarded(tmp_path / "count").actions()))
    for step in range(number):
        guarded = Guarded(tmp_path / str(step), bare=bare)
        for at, action in enumerate(guarded.actions()):
            if at == step:
                guarded.plant(name)
            with suppress(FolderError):
                action()
            assert snapshot(guarded.precious) == guarded.before, f"planted before action {step}, changed by {at}"


@pytest.mark.parametrize("name", [*FOLDERS[1:], *HIDDEN, *PARTS, *FILES])
def test_a_link_in_a_library_is_replaced_by_what_belongs_there(tmp_path: Path, name: str):
    guarded = Guarded(tmp_path)
    guarded.plant(name)
    guarded.folder.prepare()
    guarded.publish(series("Dark, changed", poster=2))
    placed = guarded.folder.path
    assert not any(one.is_symlink() for one in placed.rglob("*") if one.suffix != ".mkv")
    assert str((placed / VIDEO).readlink()) == "/media/Dark, changed1.mkv"
    assert b"Dark, changed" in (placed / ENTRY / "tvshow.nfo").read_bytes()
    assert (placed / "about.txt").read_bytes().startswith(b"This folder belongs to")


@pytest.mark.parametrize("name", ["", ENTRY, SEASON])
def test_a_file_in_the_place_of_a_folder_is_an_error_that_names_it_and_stays(tmp_path: Path, name: str):
    guarded = Guarded(tmp_path)
    shutil.rmtree(guarded.folder.path / name)
    (guarded.folder.path / name).write_text("mine")
    with pytest.raises(FolderError, match="is a link or a file, where a folder") as refused:
        guarded.publish(series("Dark, changed"))
    assert f"{guarded.folder.path / name} is" in str(refused.value)
    with suppress(FolderError):
        assert not guarded.folder.remove(guarded.placed["ap-bcdf"])
    assert (guarded.folder.path / name).read_text() == "mine"


def test_a_pipe_or_a_folder_in_the_place_of_a_file_neither_blocks_nor_is_removed(tmp_path: Path):
    guarded = Guarded(tmp_path)
    nfo = guarded.folder.path / ENTRY / "tvshow.nfo"
    nfo.unlink()
    os.mkfifo(nfo)
    assert guarded.folder.strangers(()) == [], "without an NFO it is not ours"
    nfo.unlink()
    nfo.mkdir()
    with pytest.raises(FolderError, match=r"tvshow\.nfo.* cannot be written: a folder is in its place"):
        guarded.publish(series("Dark, changed"))
    assert nfo.is_dir()


def test_a_file_that_is_a_hard_link_to_another_one_is_replaced_and_not_written(tmp_path: Path):
    guarded = Guarded(tmp_path)
    for name in ("about.txt", f"{ENTRY}/tvshow.nfo", f"{ENTRY}/poster.jpg", f"{ENTRY}/.tvshow.nfo.part"):
        place = guarded.folder.path / name
        place.unlink(missing_ok=True)
        place.hardlink_to(guarded.precious / name)
    before = {name: one[:2] + one[3:] for name, one in snapshot(guarded.precious).items()}
    guarded.folder.prepare()
    guarded.publish(series("Dark, changed", poster=2))
    guarded.folder.remove(guarded.placed["ap-bcdf"])
    guarded.folder.retire()
    assert {name: one[:2] + one[3:] for name, one in snapshot(guarded.precious).items()} == before


@pytest.mark.parametrize("name", ["../precious/mine.txt", "", ".", "..", "a/b"])
def test_no_name_leads_out_of_an_open_folder(tmp_path: Path, name: str):
    guarded = Guarded(tmp_path)
    content = b""
    with OpenFolder.at(guarded.folder.path) as folder:
        for action in (
            lambda: folder.status(name),
            lambda: folder.read(name),
            lambda: folder.child(name),
            lambda: folder.make(name),
            lambda: folder.write(name, content),
            lambda: folder.symlink(name, "/"),
            lambda: folder.rename("about.txt", name),
            lambda: folder.rename(name, "about.txt"),
            lambda: folder.remove(name),
            lambda: folder.remove_tree(name),
        ):
            with pytest.raises(OSError, match="a path rather than a name"):
                action()
    assert snapshot(guarded.precious) == guarded.before


# In the middle of a run


@contextmanager
def before_call(step: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Act right before the n-th call of the system; yields the calls so far."""
    calls: list[str] = []

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == step:
                act()
            return original(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield calls


@pytest.mark.parametrize(("name", "bare", "first"), [("", True, 1), (ENTRY, False, 2), (SEASON, False, 3)])
def test_a_link_that_is_planted_at_any_moment_leads_to_no_change_behind_it(
    tmp_path: Path, name: str, bare: bool, first: int
):
    """At every fifth call; in all of them with ``CRASH_STRIDE=1``."""
    for step in itertools.count(first, int(os.environ.get("CRASH_STRIDE", "5"))):
        guarded = Guarded(tmp_path / str(step), bare=bare)
        with before_call(step, lambda guarded=guarded: guarded.plant(name)) as calls:
            for action in guarded.actions():
                with suppress(FolderError):
                    action()
        assert snapshot(guarded.precious) == guarded.before, f"planted before call {step}, {calls[step - 1]}"
        shutil.rmtree(tmp_path / str(step))
        if len(calls) < step:
            break
