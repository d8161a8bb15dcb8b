"""A run of publishing that is killed at any step: viewers see the old list or the new one, and the next run repairs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.open_folder import OpenFolder
from aperture_dagster.publishing.folder import LibraryFolder
from aperture_dagster.resources.media_server.changes import MediaServerChanges
from aperture_dagster.storage.published import StoredManifest
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf
from aperture_dagster_tests.killing import Killed, killed_at

pytestmark = pytest.mark.e2e

OLD = ["Film 3", "Film 1", "Film 5"]
NEW = ["Film 8", "Film 5", "Film 3"]
# Everything that changes something: on the server, on disk, in the manifest.
STEPS = [
    (MediaServerChanges, "_write"),
    (LibraryFolder, "_place"),
    (LibraryFolder, "prepare"),
    (LibraryFolder, "retire"),
    (OpenFolder, "make"),
    (OpenFolder, "rename"),
    (OpenFolder, "remove"),
    (OpenFolder, "remove_folder"),
    (StoredManifest, "write_library"),
    (StoredManifest, "write_entries"),
    (StoredManifest, "forget_library"),
    (StoredManifest, "note_root"),
    (StoredManifest, "write_copies"),
    (StoredManifest, "note_settings"),
]


def shown(place: Publishing, user: str, library: str) -> list[str] | None:
    """What a user sees of a library; None if it is not in their views."""
    return place.titles(library) if library in place.views(user) else None


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
@pytest.mark.parametrize("server", ["jellyfin@12.0.0", "jellyfin@10.10.7"])
@pytest.mark.parametrize("begin", ["changed", "new", "left"])
def test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_run_repairs(
    household: Any, tmp_path: Path, server: str, begin: str
):
    with shelf(household, tmp_path, server=server) as place:
        step = 0
        while True:
            step += int(os.environ.get("CRASH_STRIDE", "31"))
            reset(place)
            if begin != "new":
                place.recommend("anna", *OLD)
                place.publish_now()
                place.state.advance(180)
            before = shown(place, "anna", ANNAS)
            place.recommend("anna", *NEW)
            without = ("ben",) if begin == "left" else ()
            with killed_at(STEPS, step) as done, suppress(Killed):
                place.publish_now(without=without)
            seen = shown(place, "anna", ANNAS)
            assert seen in (before, NEW), f"killed at step {step}, {done[-1]}"
            assert ANNAS not in place.views("ben")
            unowned = {path for path in place.files() if "/." not in path} - place.owned()
            assert not {path for path in unowned if not path.endswith("about.txt")}, f"step {step}, {done[-1]}"
            place.state.advance(180)
            place.publish_now(without=without)
            assert shown(place, "anna", ANNAS) == NEW, f"killed at step {step}, {done[-1]}"
            assert set(place.files()) == place.owned(), f"killed at step {step}, {done[-1]}"
            assert (shown(place, "ben", BENS) is None) is (begin == "left")
            if len(done) * 2 < step:
                break


def reset(place: Publishing) -> None:
    """Take everything back, and give Ben his list again."""
    with place.publication() as publication:
        publication.unpublish()
    place.recommend("ben", "Film 6", "Film 7")
    assert place.files() == {}
    assert not [name for name in place.libraries() if "AI Picks" in name]
