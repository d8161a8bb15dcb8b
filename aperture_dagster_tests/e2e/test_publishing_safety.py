"""What publishing does when something is wrong: files that the server passes over, a full disk, a restored database."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.world import World, WorldLibrary, WorldUser
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.publishing import Publishing, at_night, publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, film, shelf

pytestmark = pytest.mark.e2e

FILMS = ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


# Processes that die, disks that are full


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a command that works with these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    given |= {name: value.get_secret_value() for name, value in given.items() if isinstance(value, SecretStr)}
    texts = {
        f"APERTURE_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
        for name, value in given.items()
        if value is not None
    }
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.home_path),
        "APERTURE_CONFIG": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
        **texts,
    }


def start(place: Publishing, *, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Start ``aperture publish``; files that it writes cannot become larger than so many bytes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [Path(sys.executable).parent / "aperture", "publish"],
        env=environment(place.home.settings),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
def test_a_process_that_is_killed_leaves_what_the_next_one_repairs(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.publish_now()
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5", "Film 3")
        place.recommend("ben", "Film 2")
        place.state.reset_counters()
        process = start(place)
        deadline = time.monotonic() + 240
        while not place.state.requests("jellyfin") and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert place.titles(ANNAS) in (FILMS, ["Film 8", "Film 5", "Film 3"])
        assert ANNAS not in place.views("ben") and BENS not in place.views("anna")
        place.state.wait_for_scans()
        place.publish_now()
        assert place.titles(ANNAS) == ["Film 8", "Film 5", "Film 3"]
        assert place.titles(BENS) == ["Film 2"]
        assert set(place.files()) == place.owned()


# How titles are published


def test_a_play_that_cannot_be_trusted_does_not_count(household: Any, tmp_path: Path):
    """A STRM file has no length before it is played, and counts as played as soon as it is started."""
    with shelf(household, tmp_path, server="jellyfin@10.11.6", publish_as="strm") as place:
        place.publish_now()
        place.home.must("sync_watch_history", users=place.home.everyone())
        copy = place.items(ANNAS)["Film 5"]
        place.state.play_item("anna", copy.server_item_id, 0.05, datetime.now(UTC))
        catalogue = place.state.catalogue
        item = catalogue.find(copy.server_item_id) or catalogue.at_number(copy.server_item_id)
        assert place.state.user_named("anna").has_played(item)
        place.home.must("sync_watch_history", users=place.home.everyone())
        assert place.home.value("SELECT count(*) FROM plays") == 0


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="publishing/test_entries.py::test_a_film_is_an_nfo_a_poster_and_a_link_to_its_best_copy",
)
def test_the_best_copy_that_a_viewer_may_see_is_linked_with_everything_beside_it(household: Any, tmp_path: Path):
    kids = WorldLibrary("Kids", "movies", ("/media/kids",))
    titles = [
        film(1, "Two Libraries", heights=(480,), library="Movies"),
        replace(film(1, "Two Libraries", heights=(1080,), library="Kids"), key="movie:2"),
        film(3, "Versions", versions=3, heights=(480, 2160, 720)),
        film(4, "Two Parts", parts=2, sidecars=(".en.srt", ".de.forced.srt")),
        film(5, "A Disc", disc="dvd"),
        film(6, "An Image", disc="iso"),
    ]
    world = World("copies", titles, users=[WorldUser("anna"), WorldUser("ben")])
    world.libraries = (*world.libraries, kids)
    with publishing(household, world, tmp_path) as place:
        place.state.allow_libraries("ben", ["Movies"])
        place.synced()
        wanted = ["Two Libraries", "Versions", "Two Parts", "A Disc", "An Image"]
        for user in ("anna", "ben"):
            place.recommend(user, *wanted)
        recorded = place.must_publish()
        skipped = [one["skipped_titles"] for one in recorded.values()]
        assert all("A Disc: it is on the server as a disc folder" in one for one in skipped) and len(skipped) == 2
        folders = {
            row["user_id"]: place.root / row["folder"]
            for row in place.home.rows("SELECT user_id, folder FROM published_libraries")
        }

        def targets(user: str, title: str) -> dict[str, str]:
            (folder,) = folders[place.user_id(user)].glob(f"{title} *")
            return {
                path.name[len(folder.name) :]: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()
            }

        ((ending, of_anna),) = targets("anna", "Two Libraries").items()
        assert of_anna.startswith("/media/kids/") and ending == ".mkv"
        assert next(iter(targets("ben", "Two Libraries").values())).startswith("/media/movies/")
        ((_, best),) = targets("anna", "Versions").items()
        items = place.state.catalogue.top_items("movie:3")
        known = {one.path for item in items for one in (item, *item.versions)}
        assert best in known and best != items[0].path
        original = place.state.catalogue.top_items("movie:4")[0]
        parts = targets("ben", "Two Parts")
        videos = [path for _, path in sorted(parts.items()) if path.endswith(".mkv")]
        assert videos == [original.media_path, *original.part_paths]
        for ending in (".en.srt", ".de.forced.srt"):
            assert [name for name in parts if name.endswith(ending)]
        assert next(iter(targets("ben", "An Image"))).endswith(".iso")
        assert place.titles(BENS) == [one for one in wanted if one != "A Disc"]


# What is refused before anything is changed


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("/media/movies/aperture", "is inside the library folder /media/movies"),
        ("/data/media/movies/aperture", "contains the path of the library /media/movies"),
        ("/media", "contains the library folder /media/movies"),
    ],
)
def test_a_root_that_the_server_would_confuse_is_refused(household: Any, tmp_path: Path, root: str, words: str):
    paths = {str(tmp_path / "published"): root}
    with shelf(household, tmp_path, path_map=paths) as place:
        place.state.reset_counters()
        with place.publication() as publication, pytest.raises(OperatorError, match="Nothing is published") as refused:
            publication.publish(["recommendations"])
        assert words in str(refused.value)
        assert place.changes() == 0 and place.files() == {}


# What can be seen meanwhile


@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("jellyfin@12.0.0")])
def test_at_no_moment_does_anybody_see_lists_of_others_or_half_of_one(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
):
    write = MediaServerChanges._write
    seen: list[str] = []

    with shelf(household, tmp_path, server=server) as place:

        def watched(changes: MediaServerChanges, kind: str, *rest: Any) -> Any:
            if kind == "library_deleted" and ANNAS in place.views("anna"):
                assert place.titles(ANNAS) == FILMS and any("Film 3" in path for path in place.files())
            answer = write(changes, kind, *rest)
            seen.extend(f"{kind}: ben" for _ in range(ANNAS in place.views("ben")))
            if ANNAS in place.views("anna") and place.titles(ANNAS) != FILMS:
                seen.append(f"{kind}: {place.titles(ANNAS)}")
            return answer

        with monkeypatch.context() as patched:
            patched.setattr(MediaServerChanges, "_write", watched)
            place.publish_now()
            place.publish_now(without=["ben"])
            with place.publication() as publication:
                publication.unpublish()
        assert seen == []
        assert ANNAS not in place.libraries()
