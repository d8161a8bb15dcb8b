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

from aperture_dagster.errors import OperatorError
from aperture_dagster.publishing.publisher import Publisher
from aperture_dagster.resources.errors import UnknownServerVersion
from aperture_dagster.resources.media_server.changes import MediaServerChanges
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.world import World, WorldLibrary, WorldUser
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.publishing import ROOT_ON_SERVER, Publishing, at_night, publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, film, shelf

pytestmark = pytest.mark.e2e

FILMS = ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


# Files that the server passes over


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="publishing/test_publisher.py::test_an_nfo_is_not_replaced_twice_within_two_minutes",
)
@pytest.mark.parametrize("skew", [0, *at_night(3600, -3600)])
def test_a_list_that_changes_within_a_minute_is_read_all_the_same(household: Any, tmp_path: Path, skew: int):
    """Jellyfin 10.11.3 and newer read an NFO again only if it is a minute newer than the item."""
    with shelf(household, tmp_path) as place:
        place.state.skew_clock(skew)
        place.publish_now()
        place.recommend("anna", *reversed(FILMS))
        assert place.publish_now().warnings == []
        assert place.titles(ANNAS) == FILMS[::-1]
        place.state.reset_counters()
        place.publish_now()
        assert place.changes() == 0


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="publishing/test_publisher.py::test_new_files_have_the_time_of_a_server_whose_clock_is_wrong",
)
@pytest.mark.parametrize("server", [*at_night("jellyfin@10.11.11"), "emby"])
def test_a_wrong_clock_is_no_obstacle(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.state.skew_clock(-3600)
        place.publish_now()
        place.state.advance(180)
        place.recommend("anna", *reversed(FILMS))
        result = place.publish_now()
        assert place.titles(ANNAS) == FILMS[::-1]
        assert result.writes["library_refreshed"] == 1, "nothing had to be forced"


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_places.py::test_what_the_server_shows_with_another_rank_or_title_was_not_read",
)
def test_a_title_that_the_server_does_not_read_again_is_named(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.publish_now()
        place.state.catalogue.by_id[place.items(ANNAS)["Film 1"].server_item_id].locked = True
        place.state.advance(180)
        place.recommend("anna", "Film 1", *(one for one in FILMS if one != "Film 1"))
        (warning,) = place.publish_now().warnings
        assert "does not read what changed of 1 titles, such as Film 1" in warning
        assert ANNAS in warning


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
def test_files_that_a_killed_run_changed_are_read_in_the_next_one(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is left to place then, and the server shows the same titles."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with shelf(household, tmp_path) as place:
        place.publish_now()
        place.state.advance(180)
        place.recommend("anna", *reversed(FILMS))
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Publisher, "_scan", killed)
            place.publish_now()
        assert place.titles(ANNAS) == FILMS
        place.publish_now()
        assert place.titles(ANNAS) == FILMS[::-1]


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


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_folder.py::test_a_full_disk_is_reported_and_leaves_what_was_visible",
)
def test_on_a_full_disk_the_last_good_list_stays_and_other_lists_go_on(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.publish_now()
        posters = [path.stat().st_size for path in place.root.rglob("poster.jpg")]
        largest_nfo = max(path.stat().st_size for path in place.root.rglob("*.nfo"))
        assert largest_nfo + 500 < min(posters), "files of the limit are posters"
        place.state.advance(180)
        # Ben's new titles need posters, for which there is no room; Anna's list is only in another order.
        place.recommend("anna", *reversed(FILMS))
        place.recommend("ben", "Film 8", "Film 6", "Film 3", "Film 7")
        process = start(place, largest_file=largest_nfo + 500)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "disk is full" in output and "What was published before is kept" in " ".join(output.split())
        assert "Traceback" not in output
        assert place.titles(ANNAS) == FILMS[::-1]
        assert place.titles(BENS) == ["Film 6", "Film 3", "Film 7"]
        assert set(place.files()) <= place.owned(), "half of a file is left"
        place.publish_now()
        assert place.titles(BENS) == ["Film 8", "Film 6", "Film 3", "Film 7"]
        assert set(place.files()) == place.owned()


# A database that does not know what is there


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="publishing/test_publisher.py::test_entries_that_no_database_knows_are_taken_over",
)
@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("jellyfin@12.0.0", "emby")])
def test_after_the_restore_of_an_older_database_nothing_is_doubled(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.publish_now()
        libraries, items = place.libraries(), place.items(ANNAS)
        for table in ("published_entries", "published_libraries", "published_lists", "published_access"):
            place.home.rows(f"DELETE FROM {table} RETURNING 1")
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5", "Film 3")
        place.publish_now()
        assert place.libraries().keys() == libraries.keys()
        assert place.titles(ANNAS) == ["Film 8", "Film 5", "Film 3"]
        now = place.items(ANNAS)
        for title in ("Film 5", "Film 3"):
            assert now[title].server_item_id == items[title].server_item_id
        assert set(place.files()) == place.owned()
        place.state.reset_counters()
        place.publish_now()
        assert place.changes() == 0


# How titles are published


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_entries.py::test_hard_links_need_the_original_here_and_follow_a_replaced_file",
)
def test_hard_links_share_the_original_and_follow_it(household: Any, tmp_path: Path):
    media = tmp_path / "media"
    root = str(tmp_path / "published")
    paths = {root: ROOT_ON_SERVER, str(media): "/media/movies"}
    with shelf(household, tmp_path, publish_as="hardlink", path_map=paths) as place:
        originals = {}
        for title in place.films():
            path = place.home.value("SELECT path FROM present_titles WHERE title = :title", title=title)
            originals[title] = media / Path(path).relative_to("/media/movies")
            originals[title].parent.mkdir(parents=True, exist_ok=True)
            originals[title].write_bytes(title.encode())
        place.publish_now()
        (link,) = place.root.rglob("Film 5 *.mkv")
        assert link.stat().st_ino == originals["Film 5"].stat().st_ino
        files = place.files()
        place.publish_now()
        assert place.files() == files
        # Somebody replaces the original.
        replaced = media / "new.mkv"
        replaced.write_bytes(b"better")
        replaced.replace(originals["Film 5"])
        place.state.advance(180)
        place.publish_now()
        (link,) = place.root.rglob("Film 5 *.mkv")
        assert link.read_bytes() == b"better"
        with place.publication() as publication:
            publication.unpublish()
        assert place.files() == {}
        assert all(path.is_file() and path.stat().st_nlink == 1 for path in originals.values())


@pytest.mark.parametrize("server", ["jellyfin@10.9.11", *at_night("emby")])
def test_a_play_that_cannot_be_trusted_does_not_count(household: Any, tmp_path: Path, server: str):
    """A STRM file has no length before it is played, and counts as played as soon as it is started."""
    with shelf(household, tmp_path, server=server, publish_as="strm", publish_provider_ids="none") as place:
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
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_forms.py::test_strm_files_on_jellyfin_are_warned_of",
)
def test_strm_files_that_will_not_play_are_warned_of(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, server="jellyfin@10.11.11", publish_as="strm") as place:
        (warning,) = place.publish_now().warnings
        assert "Jellyfin 10.11.11 does not play STRM files with local paths" in warning


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


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="resources/test_media_server_writer.py::test_nothing_is_written_to_a_server_of_an_unknown_version",
)
def test_an_unknown_version_of_the_server_is_left_alone(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, server="jellyfin@13.0.0") as place:
        place.state.reset_counters()
        with pytest.raises(UnknownServerVersion, match="nothing was changed on it"), place.publication() as publication:
            publication.publish(["recommendations"])
        assert place.changes() == 0 and place.files() == {}


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_user_with_blocked_libraries_is_reported",
)
def test_a_user_whose_old_rules_override_everything_is_named(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.state.user_named("ben").policy.blocked_folders = ("f" * 32,)
        (warning,) = place.publish_now().warnings
        assert "ben has a list of blocked libraries" in warning


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
