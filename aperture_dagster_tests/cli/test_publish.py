"""``aperture publish`` and ``aperture unpublish``: what they say, what they change, and that all of it can go back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.defs.publishing import why_nobody_is_listed, why_nothing_to_share
from aperture_dagster.model import Clock
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.commands import environment
from aperture_dagster_tests.e2e.publishing import ROOT_ON_SERVER, Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf
from aperture_dagster_tests.household import failures, materializations
from aperture_dagster_tests.marks import ANOTHER_CASE, at_night
from aperture_dagster_tests.media_server.writers import views_of
from aperture_dagster_tests.settled import Templates, households

pytestmark = pytest.mark.e2e

TABLES = ("published_entries", "published_libraries", "published_lists", "published_access", "library_lists")
PLAN = re.compile(r"^  ([+~-] .+)$", re.MULTILINE)


@pytest.fixture
def household(templates: Templates, serve: Callable[..., Any]) -> Callable[..., Any]:
    return households(templates, serve)


@contextlib.contextmanager
def command(place: Publishing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Run commands with the settings of a household."""
    with monkeypatch.context() as patched:
        for name, value in environment(place.home.settings).items():
            patched.setenv(name, value)
        yield lambda *arguments: CliRunner().invoke(main, list(arguments))


def rows(place: Publishing) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, with what changes when it is written again; but for the count of transactions, of which
    a lease that is taken and given back is one.
    """
    tables = place.home.rows(
        "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'changes'"
    )
    every = "SELECT xmin::text, one.*::text FROM {} one ORDER BY 2"
    return {table["name"]: place.home.rows(every.format(table["name"])) for table in tables}


def on_disk(place: Publishing) -> list[tuple[str, int, int]]:
    """Every file and folder of the home and of the published libraries."""
    folders = (place.home.settings.home_path, place.root)
    paths = [one for folder in folders for one in (folder, *folder.rglob("*"))]
    return sorted((str(one), (status := one.lstat()).st_ino, status.st_mtime_ns) for one in paths)


def test_a_dry_run_prints_the_plan_that_a_run_carries_out_and_changes_nothing(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with shelf(household, tmp_path) as place, command(place, monkeypatch) as run:

        def dry(*arguments: str) -> str:
            users = place.users()
            # As on a home that only ever looked.
            place.home.rows("DELETE FROM facts WHERE name = 'media_server' RETURNING 1")
            before, files = rows(place), on_disk(place)
            place.state.reset_counters()
            planned = run(*arguments, "--dry-run")
            assert planned.exit_code == 0, planned.output
            assert planned.output.endswith(" Nothing was changed.\n")
            assert place.changes() == 0
            assert (rows(place), on_disk(place), place.users()) == (before, files, users)
            return planned.output

        for step in ("first", "changed", "unchanged"):
            if step == "changed":
                place.state.advance(180)
                place.recommend("anna", "Film 8", "Film 5", "Film 3", "Film 2")
            planned = dry("publish")
            done = run("publish")
            assert done.exit_code == 0, done.output
            assert PLAN.findall(planned) == PLAN.findall(done.output)
            assert bool(PLAN.findall(done.output)) == (step != "unchanged")
            if step == "changed":
                assert {"+   1. Film 8 (2008)", "- Film 1 (2001)", "- Film 4 (2004)"} <= set(PLAN.findall(done.output))
        assert re.search(r"^[1-9] lists would be removed. Nothing was changed.$", dry("unpublish"), re.MULTILINE)
        assert place.titles(ANNAS) == ["Film 8", "Film 5", "Film 3", "Film 2"]


@pytest.mark.nightly(
    reason="A run that is killed.",
    instead="publishing/server/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
def test_what_was_done_before_an_interruption_is_kept(household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with shelf(household, tmp_path, stand_ins={"scan_seconds": 2.0}) as place, command(place, monkeypatch) as run:
        with monkeypatch.context() as patched:
            patched.setattr("aperture_dagster.publishing.server.polling.Watch.sleep", interrupt)
            told = run("publish")
        assert told.exit_code == 1
        assert told.output.endswith("Interrupted. What was done is kept; run this again to go on from there.\n")
        done = run("publish")
        assert done.exit_code == 0 and not PLAN.findall(done.output), "everything had been placed"
        assert len(place.titles(ANNAS)) == 5


def test_a_folder_that_the_server_does_not_see_is_one_sentence_before_anything_else(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As with Docker, if the folder is not mounted in the server's container."""
    paths = {str(tmp_path / "published"): "/not/mounted"}
    with shelf(household, tmp_path, path_map=paths) as place, command(place, monkeypatch) as run:
        before, files = rows(place), on_disk(place)
        place.state.reset_counters()
        for told in (run("publish"), run("publish", "--dry-run")):
            assert told.exit_code == 1
            (line,) = told.output.splitlines()
            assert line.startswith("Error: Nothing is published, and nothing was changed. Jellyfin does not see the")
            assert "/not/mounted" in line and "`volumes:` of Jellyfin's service" in line and "APERTURE_PATH_MAP" in line
            assert len(line) < 480
            assert place.changes() == 0 and rows(place) == before
            # A file is placed for a moment.
            assert [path for path, *_ in on_disk(place)] == [path for path, *_ in files]
        failed = place.publish()
        (said,) = {message for step, message in failures(failed).items() if step == "recommendation_libraries"}
        assert "does not see the files" in said and place.changes() == 0


def test_another_folder_of_the_same_name_in_the_servers_container_is_noticed(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other"
    other.mkdir()
    with shelf(household, tmp_path, volumes={ROOT_ON_SERVER: str(other)}) as place, command(place, monkeypatch) as run:
        told = run("publish")
        assert told.exit_code == 1 and "does not see the files" in told.output
        assert place.changes() == 0 and list(place.root.iterdir()) == [] == list(other.iterdir())
        # With anything in it, a dry run sees the difference, too.
        (place.root / ".keep").write_text("mine")
        assert "does not see the files" in run("publish", "--dry-run").output


def test_each_line_says_what_it_is_about_and_whose(household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    also = ["top_picks_libraries", "top_picks_collections", "top_picks_playlists"]
    with shelf(household, tmp_path, also=also) as place, command(place, monkeypatch) as run:
        place.pick("Film 1", "Film 2")
        done = run("publish")
        assert done.exit_code == 0, done.output
        assert 'Library "Top Picks - Movies": 2 added (2 titles)' in done.output
        assert 'Collection "Top Picks - Movies": 2 added (2 titles)' in done.output
        for user, count in (("anna", 5), ("ben", 3)):
            assert f'Library "{user}\'s AI Picks - Movies" of {user}: {count} added ({count} titles)' in done.output
            assert f'Playlist "Top Picks - Movies" of {user}: 2 added (2 titles)' in done.output


def test_what_failed_is_not_counted_as_changed(household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lists = {"publish_lists": ("recommendation_playlists",)}
    with shelf(household, tmp_path, http_attempts=1, **lists) as place, command(place, monkeypatch) as run:
        place.state.add_fault(FaultRule("jellyfin", "/Playlists", status=500))
        told = run("publish")
        assert told.exit_code == 1
        assert "0 lists, 0 entries changed, 3 changes on the media server; 3 failed." in told.output
        assert 'Playlist "ben\'s AI Picks - Movies" of ben: failed' in told.output


@pytest.mark.parametrize(
    ("server", "strict"),
    [
        pytest.param("jellyfin@10.10.7", False, marks=ANOTHER_CASE),
        ("jellyfin@10.11.11", True),
        pytest.param("jellyfin@12.0.0", False, marks=ANOTHER_CASE),
        pytest.param("emby", True, marks=ANOTHER_CASE),
    ],
)
def test_unpublish_takes_everything_back(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, strict: bool
):
    """Whole objects of users and libraries are as before; with strict access, Ben has an explicit list."""
    # Emby needs an administrator for collections.
    also = ["recommendation_playlists", *([] if server == "emby" else ["top_picks_collections"])]
    with (
        shelf(household, tmp_path, server=server, publish_strict_access=strict, also=also) as place,
        command(place, monkeypatch) as run,
    ):
        place.state.allow_libraries("ben", ["Movies"])
        # Left over in the policy, and without effect.
        anna = place.state.user_named("anna")
        with place.writer() as writer:
            policy = writer.user_objects()[place.user_id("anna")]["Policy"]
            writer.set_policy(place.user_id("anna"), policy | {"EnabledFolders": ["0" * 31 + "1"]})
        assert anna.policy.enable_all_folders
        place.pick("Film 1", "Film 2")
        users, libraries = place.users(), place.libraries()
        with place.publication() as publication:
            assert not [one for one in publication.publish_all().outcomes if one.error is not None]
        assert ANNAS in place.views("anna") and place.users() != users
        assert place.home.rows("SELECT 1 FROM published_lists")
        told = run("unpublish", "--dry-run")
        assert told.exit_code == 0 and f'Library "{ANNAS}" of anna: would be removed' in told.output
        # Nobody has answered.
        assert run("unpublish").exit_code == 1
        assert ANNAS in place.libraries() and place.files()
        done = run("unpublish", "--yes")
        assert done.exit_code == 0, done.output
        for user_id, before in users.items():
            for part, after in place.users()[user_id].items():
                assert after == before[part], part
        assert place.users().keys() == users.keys()
        assert {name: one for name, one in place.libraries().items() if name in libraries} == libraries
        assert not [name for name in place.libraries() if "AI Picks" in name]
        assert list(place.root.rglob("*")) == []
        assert [row for table in TABLES for row in place.home.rows(f"SELECT * FROM {table}")] == []
        with place.writer() as writer:
            assert not [one.name for one in writer.collections() if one.marker is not None]
        again = run("unpublish", "--yes")
        assert (again.exit_code, again.output) == (0, "Nothing is published.\n")


@pytest.mark.parametrize("server", [*at_night("jellyfin@10.11.11"), "emby"])
def test_with_strict_access_nobody_sees_the_lists_of_others(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server, publish_strict_access=True) as place:
        before = place.users()
        place.publish_now()
        for user, own, other in (("anna", ANNAS, BENS), ("ben", BENS, ANNAS)):
            views = place.views(user)
            assert own in views and other not in views
            assert {"Movies", "TV Shows"} <= set(views)
            with place.writer() as writer:
                hidden = [name for _, name in views_of(writer, place.state.user_named(user).id, hidden=True)]
            assert other not in hidden, "hidden is not enough"
        add_library(place, tmp_path, "More")
        place.publish_now()
        assert "More" in place.views("anna")
        place.use(place.home.settings.model_copy(update={"publish_strict_access": False}))
        place.publish_now()
        after = place.users()
        assert {key: after[key]["Policy"] for key in before} == {key: before[key]["Policy"] for key in before}
        assert BENS not in place.views("anna")


def add_library(place: Publishing, folder: Path, name: str) -> None:
    """Add a library, as the operator does on the server."""
    here = folder / name
    here.mkdir()
    (here / "note.txt").write_text("mine")
    place.state.add_volume(f"/srv/{name}", here)
    with place.writer() as writer:
        writer.create_library(name, "movie", f"/srv/{name}", enabled=True, scan=True)
    place.state.wait_for_scans()


def take_off(place: Publishing, user: str, library: str) -> None:
    """Take a library off a user's list, as the operator does on the server."""
    with place.writer() as writer:
        policy = writer.user_objects()[place.user_id(user)]["Policy"]
        folder = next(one.policy_id for one in writer.libraries() if one.name == library)
        assert not policy["EnableAllFolders"] and folder in policy["EnabledFolders"]
        kept = [one for one in policy["EnabledFolders"] if one != folder]
        writer.set_policy(place.user_id(user), policy | {"EnabledFolders": kept})


@pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("emby")])
def test_a_library_that_the_operator_adds_reaches_everybody_but_whom_the_operator_restricted(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
):
    with shelf(household, tmp_path, server=server) as place, command(place, monkeypatch) as run:
        settings, clock, before = place.home.settings, Clock(), place.users()
        assert why_nobody_is_listed(settings) is not None
        planned = run("publish", "--dry-run")
        said = "anna and ben: a list in place of all libraries, with Movies, TV Shows"
        assert said in planned.output, planned.output
        assert place.users() == before
        done = run("publish")
        assert done.exit_code == 0 and "Access to libraries, which changed:" in done.output
        assert "Access to libraries" not in run("publish", "--dry-run").output
        assert "ben: all libraries again." in run("unpublish", "--dry-run").output
        assert why_nobody_is_listed(settings) is None
        assert why_nothing_to_share(settings, clock) == "No library was added since the last run."
        add_library(place, tmp_path, "More")
        assert why_nothing_to_share(settings, clock) is None
        assert "More" not in place.views("anna")
        files = place.files()
        place.home.must("sync_library_access")
        assert "More" in place.views("anna") and "More" in place.views("ben") and place.files() == files
        assert why_nothing_to_share(settings, clock) is not None
        # The operator takes one from Ben, and adds another.
        take_off(place, "ben", "TV Shows")
        add_library(place, tmp_path, "Even more")
        place.home.must("sync_library_access")
        assert {"More", "TV Shows", "Even more"} <= set(place.views("anna"))
        place.publish_now()
        assert "TV Shows" not in place.views("ben") and "Even more" not in place.views("ben")
        assert run("unpublish", "--yes").exit_code == 0
        after = place.users()
        anna, ben = place.user_id("anna"), place.user_id("ben")
        assert after[anna] == before[anna]
        assert not after[ben]["Policy"]["EnableAllFolders"], "what the operator restricted stays so"
        assert why_nobody_is_listed(settings) is not None


def test_a_library_is_shared_once_although_somebody_has_left(household: Any, tmp_path: Path):
    """Otherwise a run would start every quarter of an hour, for ever, and each would count as a change."""
    with shelf(household, tmp_path) as place:
        place.publish_now()
        place.state.remove_user("ben")
        place.home.must("sync_users")
        add_library(place, tmp_path, "More")
        shared, again = (next(materializations(place.home.must("sync_library_access"))) for _ in range(2))
        assert "More" in place.views("anna")
        assert why_nothing_to_share(place.home.settings, Clock()) == "No library was added since the last run."
        version = "dagster/data_version"
        assert (shared.tags or {})[version] == (again.tags or {})[version]
