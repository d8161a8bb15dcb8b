"""Runs whose process is killed for real: after one more run, everything is as if there had been no kill.

What the process did before each point is seen from outside: files, the media server, Trakt, and the database. All of it
is compared with a twin, a household of the same kind in which the run was not disturbed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aperture_dagster_tests.e2e import one_run
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.rating import JOB, Raters, rating
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf
from aperture_dagster_tests.household import Household

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly(
        reason="Each point takes two households and three processes.",
        instead="publishing/test_crashes.py and ratings/test_sync.py, which kill in their own process",
    ),
]

POINTS = int(os.environ.get("KILL_POINTS", "2"))
"""At how many points a run is killed."""
PUBLISHED = ("published_copies", "published_access", "library_lists")
# Without the numbers of a sequence, of which a killed transaction leaves some out.
COPIES = "SELECT server_item_id, primary_item_id, is_published FROM item_versions ORDER BY 1"
# Without how many entries the last run has changed.
LIBRARIES = """
    SELECT list_key, name, folder, server_item_id, policy_id, missing, root, root_on_server, unverified_since
    FROM published_libraries ORDER BY 1"""
# Without when it was placed, and what the file system says of it.
ENTRIES = """
    SELECT list_key, entry_id, rank, state, array_agg(f.key || ' ' || (f.value->>0) ORDER BY f.key) AS files
    FROM published_entries LEFT JOIN jsonb_each(files) f ON true GROUP BY 1, 2, 3, 4 ORDER BY 1, 2"""
NOW = datetime.now(UTC).replace(microsecond=0)
RATED = ("ratings", "trakt_ratings", "rating_outbox")
# Without when it was written here.
REMOVALS = "SELECT user_id, work_id, removed_on, had, passed_at, accepted_at FROM rating_removals ORDER BY 1, 2"


class Scene(NamedTuple):
    """A household before a run, the job to run, and a look at all that the run may change."""

    home: Household
    job: str
    now: datetime
    look: Callable[[], dict[str, Any]]


Opened = Callable[..., Any]


def content(path: Path) -> str:
    """The target of a link, the text of an NFO file without its date, or what another file holds."""
    if path.is_symlink():
        return str(path.readlink())
    return re.sub("<dateadded>.*</dateadded>", "", path.read_bytes().decode("latin-1"))


def published(place: Publishing) -> dict[str, Any]:
    """What publishing leaves on disk, on the server and in the database, without the folder of the test."""
    rows = place.home.snapshot()
    libraries = place.libraries()
    seen = {
        "files": {path: content(place.root / path) for path in sorted(place.files())},
        "titles": {name: place.titles(name) for name in (ANNAS, BENS) if name in libraries},
        "libraries": {name: (one.options.get("Enabled"), one.locations) for name, one in libraries.items()},
        "views": {name: place.views(name) for name in ("anna", "ben")},
        "policies": {key: one["Policy"] for key, one in place.users().items()},
        "libraries here": place.home.rows(LIBRARIES),
        "entries": place.home.rows(ENTRIES),
        "copies": place.home.rows(COPIES),
        "rows": {name: rows[name] for name in PUBLISHED},
    }
    return json.loads(json.dumps(seen, default=str).replace(str(place.root), "ROOT"))


@contextmanager
def first_publication(household: Any, folder: Path) -> Iterator[Scene]:
    """Nothing is published yet."""
    with shelf(household, folder) as place:
        yield Scene(place.home, "sync_libraries", datetime.now(UTC), lambda: published(place))


@contextmanager
def other_lists(household: Any, folder: Path) -> Iterator[Scene]:
    """Both lists have changed."""
    with shelf(household, folder) as place:
        place.publish_now()
        place.recommend("anna", "Film 8", "Film 1", "Film 3")
        place.recommend("ben", "Film 2", "Film 6")
        yield Scene(place.home, "sync_libraries", datetime.now(UTC), lambda: published(place))


@contextmanager
def user_who_leaves(household: Any, folder: Path) -> Iterator[Scene]:
    """Ben no longer takes part: his library goes, and anna's stays."""
    with shelf(household, folder) as place:
        place.publish_now()
        place.use(place.home.settings.model_copy(update={"exclude_users": ("ben",)}))
        yield Scene(place.home, "sync_libraries", datetime.now(UTC), lambda: published(place))


def rated(place: Raters) -> dict[str, Any]:
    """What a sync leaves on Trakt and in the database."""
    rows = place.home.snapshot()
    there = {name: place.state.trakt_ratings(name) for name in place.ids}
    seen = {"there": there, "removals": place.home.rows(REMOVALS), "rows": {name: rows[name] for name in RATED}}
    return json.loads(json.dumps(seen, default=str))


@contextmanager
def ratings_on_both_sides(household: Any, folder: Path) -> Iterator[Scene]:
    """Two users have ratings here and on Trakt, and take some back."""
    with rating(household, now=NOW) as place:
        place.connect("ann", "bob")
        then = place.clock.now() - timedelta(days=2)
        for user in ("ann", "bob"):
            place.state.rate(user, "movie:1", 8.0)
            place.state.rate(user, "movie:2", 6.0)
            place.state.trakt_rate(user, "movie:3", 9, rated_at=then)
            place.state.trakt_rate(user, "movie:4", 3, rated_at=then)
        place.read_server()
        place.sync()
        place.clock.moment += timedelta(days=1)
        place.state.rate("ann", "movie:1", None)
        place.state.rate("bob", "movie:3", 5.0)
        place.state.trakt_unrate("ann", "movie:4", at=place.clock.now())
        place.state.trakt_rate("bob", "movie:1", 1, rated_at=place.clock.now())
        place.read_server()
        yield Scene(place.home, JOB, place.clock.now(), lambda: rated(place))


def run_through(scene: Scene, kill_at: int) -> int:
    """Run the job in a process of its own; return the number of half steps, 0 if it was killed."""
    process = one_run.start(scene.home.settings, scene.job, now=scene.now, users=scene.home.everyone(), kill_at=kill_at)
    said, errors = process.communicate()
    if process.wait() == -9:
        return 0
    result = json.loads(said)
    assert result["success"], (result["failures"], errors)
    return result["steps"]


@pytest.mark.parametrize("open_scene", [first_publication, other_lists, user_who_leaves, ratings_on_both_sides])
def test_after_a_kill_and_another_run_all_is_as_without(household: Any, tmp_path: Path, open_scene: Opened):
    def folder(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    with open_scene(household, folder("twin")) as twin:
        before = twin.look()
        steps = run_through(twin, 0)
        expected = twin.look()
    assert steps > 2 * POINTS and expected != before
    stride, killed = steps // POINTS, 0
    for kill_at in range(stride // 2 + 1, steps, stride):
        with open_scene(household, folder(str(kill_at))) as scene:
            # A server that reads faster is asked less often, so a run may be over before.
            killed += run_through(scene, kill_at) == 0
            assert run_through(scene, 0)
            assert scene.look() == expected, f"killed at {kill_at} of {steps}"
    assert killed
