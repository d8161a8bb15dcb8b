"""What changes in a library, compared with what was placed and what is on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile, DesiredLibrary, PictureSource
from aperture_dagster.publishing.disk.plan import LibraryPlan, pictures_of, plan_library, planned_entries
from aperture_dagster.publishing.placed import PlacedEntry, PlacedFile

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILES = {"movie.nfo": "nfo", "poster.jpg": "poster", "a.mkv": "symlink"}
PICTURE = PictureSource("1", None, None, "A", None)


def desired(key: str = "ap-a", *, rank: int = 1, digests: Mapping[str, str] | None = None) -> DesiredEntry:
    given = dict.fromkeys(FILES, "1") if digests is None else digests
    kinds: Any = FILES
    files = tuple(
        DesiredFile(path, kinds.get(path, "symlink"), digest, picture=PICTURE if path == "poster.jpg" else None)
        for path, digest in given.items()
    )
    return DesiredEntry(key, 7, 17, rank, f"Title {key}", f"folder {key}", NOW, files)


def placed(key: str = "ap-a", **changes: Any) -> PlacedEntry:
    files = {path: PlacedFile(kind, "1", 5, 6, 7) for path, kind in FILES.items()}
    usual: dict[str, Any] = {
        "entry_id": key, "work_id": 7, "folder": f"folder {key}", "rank": 1, "state": "placed", "date_added": NOW,
        "files": files,
    }  # fmt: skip
    return PlacedEntry(**usual | changes)


def plan(
    *wanted: DesiredEntry, before: Collection[PlacedEntry] = (), intact: Collection[str] = tuple(FILES),
    now: datetime = NOW,
) -> LibraryPlan:  # fmt: skip
    library = DesiredLibrary("top_picks/movie", "Picks", "movie", None, frozenset(), wanted)
    known = {one.entry_id: one for one in before}
    return plan_library(library, known, {key: set(intact) for key in known}, now=now)


@pytest.mark.parametrize("path", [*FILES])
def test_only_files_that_differ_or_are_not_intact_are_written(path: str):
    changed = plan(desired(digests=dict.fromkeys(FILES, "1") | {path: "2"}), before=[placed()])
    damaged = plan(desired(), before=[placed()], intact=set(FILES) - {path})
    other = placed(files=placed().files | {path: PlacedFile("strm", "1", 5, 6, 7)})
    other_kind = plan(desired(), before=[other])
    for made in (changed, damaged, other_kind):
        (change,) = made.change
        assert ([one.path for one in change.write], change.remove, made.kept) == ([path], (), 0)
        name = {"movie.nfo": "nfo", "poster.jpg": "poster", "a.mkv": "video"}[path]
        assert made.lines({}) == [f"~   1. Title ap-a ({name})"]


@pytest.mark.parametrize("changes", [{"state": "planned"}, {"state": "leaving"}, {"rank": 2}])
def test_an_entry_whose_record_differs_is_recorded_again_without_writing(changes: dict[str, Any]):
    (change,) = plan(desired(), before=[placed(**changes)]).change
    assert (change.write, change.remove) == ((), ())


@pytest.mark.parametrize(
    ("seconds", "state", "digests", "intact", "waits"),
    [
        (119, "placed", {"movie.nfo": "2"}, [*FILES], True),
        (0, "placed", {"movie.nfo": "2"}, [*FILES], True),
        (10, "placed", {"movie.nfo": "2", "poster.jpg": "2"}, [*FILES], True),
        (120, "placed", {"movie.nfo": "2"}, [*FILES], False),
        # The clock was wrong.
        (-1, "placed", {"movie.nfo": "2"}, [*FILES], False),
        # The run ended while it was placed.
        (10, "planned", {"movie.nfo": "2"}, [*FILES], False),
        # No NFO is replaced.
        (10, "placed", {"poster.jpg": "2"}, [*FILES], False),
        (10, "placed", {"movie.nfo": "2"}, ["poster.jpg", "a.mkv"], False),
    ],
)
def test_an_nfo_waits_for_two_minutes_after_the_last_one(
    seconds: float, state: str, digests: dict[str, str], intact: list[str], waits: bool
):
    before = placed(state=state, nfo_changed_at=NOW - timedelta(seconds=seconds))
    made = plan(desired(digests=dict.fromkeys(FILES, "1") | digests), before=[before], intact=intact)
    assert (len(made.waiting), len(made.change)) == (int(waits), int(not waits))
    if waits:
        assert made.lines({}) == ["    1. Title ap-a waits: its NFO changed less than two minutes ago"]
        assert made.changes == 0


def test_before_a_change_every_file_that_may_be_there_is_recorded():
    before = placed("ap-b", nfo_changed_at=NOW, files=placed().files | {"old.srt": PlacedFile("symlink", "1", 1, 1, 1)})
    gone = placed("ap-c")
    changed = desired("ap-b", rank=2, digests=dict.fromkeys(FILES, "1") | {"a.mkv": "2", "new.srt": "1"})
    made = plan(desired(), changed, before=[before, gone])
    change, add, leave = planned_entries(made)
    assert (change.entry_id, change.state, change.rank, change.nfo_changed_at) == ("ap-b", "planned", 2, NOW)
    assert change.files.keys() == {*FILES, "old.srt", "new.srt"}
    assert change.files["a.mkv"] == PlacedFile("symlink", "2") and change.files["poster.jpg"].size == 5
    assert (add.entry_id, add.state, add.nfo_changed_at, add.work_id) == ("ap-a", "planned", None, 7)
    assert (add.files.keys(), add.folder, add.date_added) == (FILES.keys(), "folder ap-a", NOW)
    assert (leave.entry_id, leave.state, leave.files) == ("ap-c", "leaving", gone.files)


def test_pictures_are_needed_only_for_posters_that_are_written():
    new, same = plan(desired()), plan(desired(), before=[placed()])
    changed = plan(desired(digests=dict.fromkeys(FILES, "1") | {"poster.jpg": "2"}), before=[placed()])
    assert list(pictures_of([new, same, changed])) == [PICTURE, PICTURE]
