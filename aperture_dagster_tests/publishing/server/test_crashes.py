"""A run of publishing that is killed between two writes: viewers see the old list or the new one, and the next run
repairs the rest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.files.open_folder import OpenFolder
from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.publishing.disk.folder import Draw, FolderError, LibraryFolder
from aperture_dagster.publishing.disk.plan import EntryPlan
from aperture_dagster.publishing.disk.root_folder import MARKER
from aperture_dagster.publishing.placed import PlacedEntry
from aperture_dagster_tests.killing import Killed, killed_at
from aperture_dagster_tests.publishing.place import Memory, Place, a_place

OLD, NEW = ["Alone", "Merged", "Part One"], ["Two Files", "Part One", "Alone"]
PICKS = "ada's picks"
# Everything that changes something: on the server, on disk, in the manifest.
STEPS = [
    (MediaServerChanges, "_write"),
    *((LibraryFolder, name) for name in ("_place", "prepare", "retire")),
    *((OpenFolder, name) for name in ("make", "rename", "remove", "remove_folder")),
    *((Memory, f"write_{name}") for name in ("library", "entries", "copies")),
    *((Memory, name) for name in ("forget_library", "note_settings")),
]


def owned(place: Place) -> set[str]:
    """Every file that the manifest knows of."""
    records = place.manifest.libraries().values()
    return {f"{one.folder}/about.txt" for one in records} | {
        f"{one.folder}/{entry.folder}/{path}"
        for one in records
        for entry in place.manifest.entries(one.list_key).values()
        for path in entry.files
    }


@pytest.mark.parametrize(("server", "first"), [("10.10.7", 3), ("12.0.0", 10)])
def test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs(
    tmp_path: Path, server: str, first: int
):
    key, is_over = Place.key("ada"), False
    with a_place(tmp_path, server) as place:
        for step in range(first, 1000, int(os.environ.get("CRASH_STRIDE", "61"))):
            place.publish(retired=[key])
            place.publish(place.wanted("ada", *OLD))
            place.wait(180)
            with killed_at(STEPS, step) as done, suppress(Killed):
                place.publish(place.wanted("ada", *NEW), place.wanted("bo", "Alone"), retired=["top_picks/movie"])
            at = f"killed at {step}, {done[-1]}"
            place.viewers[key] = frozenset({place.user("ada")})
            place.state.wait_for_scans()
            assert place.shown(PICKS) in (OLD, NEW), at
            assert PICKS not in place.views("bo") and "bo's picks" not in place.views("ada"), at
            assert {path for path in place.files() if "/." not in path} <= owned(place), at
            place.wait(180)
            place.publish(place.wanted("ada", *NEW), place.wanted("bo", "Alone"))
            assert (place.shown(PICKS), place.shown("bo's picks")) == (NEW, ["Alone"]), at
            assert (place.views("ada"), place.views("bo")) == ([PICKS], ["bo's picks"]), at
            assert set(place.files()) == owned(place), at
            place.publish(retired=[Place.key("bo")])
            is_over = len(done) * 2 < step
            if is_over:
                break
    assert is_over


def test_a_killed_move_to_another_root_is_finished_by_the_next_run(tmp_path: Path):
    other, is_over = tmp_path / "other", False
    other.mkdir()
    roots = [{"path": other, "on_server": "/srv/other"}, {}]
    with a_place(tmp_path) as place:
        place.state.add_volume("/srv/other", other)
        lists = [place.wanted("ada", *OLD), place.wanted("bo", "Alone")]
        place.publish(*lists)
        for step in range(4, 1000, int(os.environ.get("CRASH_STRIDE", "61"))):
            now: dict[str, Any] = roots[0]
            with killed_at(STEPS, step) as done, suppress(Killed):
                place.publish(*lists, **now)
            at = f"killed at {step}, {done[-1]}"
            assert PICKS not in place.views("bo") and "bo's picks" not in place.views("ada"), at
            place.state.wait_for_scans()
            place.wait(180)
            place.publish(*lists, **now)
            assert (place.shown(PICKS), place.shown("bo's picks")) == (OLD, ["Alone"]), at
            assert (place.views("ada"), place.views("bo")) == ([PICKS], ["bo's picks"]), at
            left, filled = (place.root, other) if now else (other, place.root)
            # A run that is killed between the last file of ours and the marker leaves the marker.
            assert {one.name for one in left.iterdir()} <= {MARKER.name} and (filled / MARKER.name).is_file(), at
            assert {one.root for one in place.manifest.libraries().values()} == {str(filled)}, at
            roots.reverse()
            is_over = len(done) * 2 < step
            if is_over:
                break
    assert is_over


def test_after_a_kill_users_who_were_given_a_list_of_libraries_get_all_back_in_the_end(tmp_path: Path):
    steps = [(MediaServerWriter, "set_policy"), (MediaServerWriter, "set_configuration"), (Memory, "note_settings")]
    is_over = False
    with a_place(tmp_path) as place:
        before = place.writer.user_objects()
        for step in range(1, 100):
            with killed_at(steps, step) as done, suppress(Killed):
                place.publish(place.wanted("ada", "Alone"), strict=True)
            at = f"killed at {step}, {done[-1]}"
            place.publish(place.wanted("ada", "Alone"), strict=True)
            assert place.views("cleo") == [], at
            place.publish(retired=[Place.key("ada")], strict=True)
            assert place.writer.user_objects() == before, at
            is_over = len(done) * 2 < step
            if is_over:
                break
    assert is_over


def test_a_killed_unpublishing_is_finished_by_the_next_one_and_leaves_nothing(tmp_path: Path):
    is_over = False
    with a_place(tmp_path) as place:
        before, libraries = place.writer.user_objects(), place.writer.libraries()
        lists = [place.wanted("ada", *OLD), place.wanted("bo", "Alone")]
        for step in range(1, 1000, int(os.environ.get("CRASH_STRIDE", "29"))):
            place.publish(*lists, strict=True)
            assert (place.shown(PICKS), place.views("bo")) == (OLD, ["bo's picks"])
            with killed_at(STEPS, step) as done, suppress(Killed):
                place.publish(retired=[Place.key("ada"), Place.key("bo")], strict=True)
            at = f"killed at {step}, {done[-1]}"
            place.state.wait_for_scans()
            assert PICKS not in place.views("bo") and "bo's picks" not in place.views("ada"), at
            place.wait(180)
            place.publish(retired=[Place.key("ada"), Place.key("bo")], strict=True)
            # Like a server on which nothing was ever published.
            assert (place.writer.user_objects(), place.writer.libraries()) == (before, libraries), at
            assert not place.files() and not place.manifest.libraries(), at
            is_over = len(done) * 2 < step
            if is_over:
                break
    assert is_over


def test_what_was_placed_before_a_failure_is_in_the_manifest_as_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key, put = Place.key("ada"), LibraryFolder.place
    left = iter((True, True, False))

    def placing(folder: LibraryFolder, plan: EntryPlan, draw: Draw) -> PlacedEntry:
        if not next(left):
            raise FolderError("the disk is full")
        return put(folder, plan, draw)

    with a_place(tmp_path) as place:
        monkeypatch.setattr(LibraryFolder, "place", placing)
        (outcome,) = place.publish(place.wanted("ada", *OLD), errors=True)
        assert isinstance(outcome.error, FolderError)
        entries = place.manifest.entries(key).values()
        assert [one.state for one in sorted(entries, key=lambda one: one.rank)] == ["placed", "placed", "planned"]
        monkeypatch.undo()
        (outcome,) = place.publish(place.wanted("ada", *OLD))
        assert (outcome.added, outcome.changed) == (0, 1), "what is there is not placed again"
        assert set(place.files()) == owned(place)
