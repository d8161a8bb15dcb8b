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
from aperture_dagster_tests.e2e.publishing import OTHER_VERSIONS, Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf
from aperture_dagster_tests.e2e.test_publishing_safety import environment
from aperture_dagster_tests.settled import Templates, households

pytestmark = pytest.mark.e2e

TABLES = ("published_entries", "published_libraries", "published_lists", "published_access")
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


def test_a_dry_run_prints_the_plan_that_a_run_carries_out_and_changes_nothing(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with shelf(household, tmp_path) as place, command(place, monkeypatch) as run:
        for step in ("first", "changed", "unchanged"):
            if step == "changed":
                place.state.advance(180)
                place.recommend("anna", "Film 8", "Film 5", "Film 3", "Film 2")
            place.state.reset_counters()
            tables, files, users = place.home.snapshot(), place.files(), place.users()
            planned = run("publish", "--dry-run")
            assert planned.exit_code == 0, planned.output
            assert place.changes() == 0
            assert (place.home.snapshot(), place.files(), place.users()) == (tables, files, users)
            done = run("publish")
            assert done.exit_code == 0, done.output
            assert PLAN.findall(planned.output) == PLAN.findall(done.output)
            assert bool(PLAN.findall(done.output)) == (step != "unchanged")
            if step == "changed":
                assert {"+   1. Film 8 (2008)", "- Film 1 (2001)", "- Film 4 (2004)"} <= set(PLAN.findall(done.output))
        assert place.titles(ANNAS) == ["Film 8", "Film 5", "Film 3", "Film 2"]


@pytest.mark.parametrize(
    ("server", "strict"),
    [
        pytest.param("jellyfin@10.10.7", False, marks=OTHER_VERSIONS),
        ("jellyfin@10.11.11", True),
        pytest.param("jellyfin@12.0.0", False, marks=OTHER_VERSIONS),
        pytest.param("emby", True, marks=OTHER_VERSIONS),
    ],
)
def test_unpublish_takes_everything_back(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, strict: bool
):
    """Whole objects of users and libraries are as before; with strict access, Ben has an explicit list."""
    # Emby needs an administrator for collections.
    kinds = {"recommendation_collections": server != "emby", "recommendation_playlists": True}
    with (
        shelf(household, tmp_path, server=server, publish_strict_access=strict, **kinds) as place,
        command(place, monkeypatch) as run,
    ):
        place.state.allow_libraries("ben", ["Movies"])
        users, libraries = place.users(), place.libraries()
        place.publish_now()
        assert ANNAS in place.views("anna") and place.users() != users
        assert place.home.rows("SELECT 1 FROM published_lists")
        told = run("unpublish", "--dry-run", "--yes")
        assert told.exit_code == 0 and f"{ANNAS}: would be removed" in told.output
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
        assert run("unpublish", "--yes").exit_code == 0


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
                hidden = [name for _, name in writer.views(place.state.user_named(user).id, hidden=True)]
            assert other not in hidden, "hidden is not enough"
        # The operator adds a library.
        folder = tmp_path / "more"
        folder.mkdir()
        (folder / "note.txt").write_text("mine")
        place.state.add_volume("/srv/more", folder)
        with place.writer() as writer:
            writer.create_library("More", "movie", "/srv/more", enabled=True, scan=True)
        place.state.wait_for_scans()
        place.publish_now()
        assert "More" in place.views("anna")
        place.use(place.home.settings.model_copy(update={"publish_strict_access": False}))
        place.publish_now()
        after = place.users()
        assert {key: after[key]["Policy"] for key in before} == {key: before[key]["Policy"] for key in before}
        assert BENS not in place.views("anna")
