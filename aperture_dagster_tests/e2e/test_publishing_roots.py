"""Other settings than before: what was published is recognised and taken back where it was placed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.doctor import Finding, examine
from aperture_dagster.cli.main import main
from aperture_dagster.publishing.paths import MARKER
from aperture_dagster.settings import Settings
from aperture_dagster_tests.e2e.publishing import ROOT_ON_SERVER, Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, SHOWS, shelf
from aperture_dagster_tests.e2e.test_publishing_safety import environment

pytestmark = pytest.mark.e2e

TABLES = ("published_entries", "published_libraries", "published_lists", "published_access")
MOVED = "/srv/moved"


def words(result: Result) -> str:
    """What a command said, on one line whatever the width of the terminal."""
    return " ".join(result.output.split())


def run(settings: Settings, *arguments: str) -> Result:
    """Run a command with settings."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(settings).items():
            patched.setenv(name, value)
        return CliRunner().invoke(main, list(arguments))


def elsewhere(place: Publishing, settings: str) -> Settings:
    """The settings of a home after the operator changed them."""
    if settings == "no root":
        return place.home.settings.model_copy(update={"publish": False, "publish_root": None, "path_map": {}})
    moved = place.root.parent / "moved"
    moved.mkdir(exist_ok=True)
    place.state.add_volume(MOVED, moved)
    paths = {str(place.root): ROOT_ON_SERVER, str(moved): MOVED}
    return place.home.settings.model_copy(update={"publish_root": moved, "path_map": paths})


@contextlib.contextmanager
def unmounted(place: Publishing) -> Iterator[None]:
    """Have an empty folder in the place of the root, as when its disk is not mounted."""
    aside = place.root.with_name("unmounted")
    place.root.rename(aside)
    place.root.mkdir()
    yield
    assert list(place.root.iterdir()) == []
    place.root.rmdir()
    aside.rename(place.root)


def nothing_is_left(place: Publishing) -> bool:
    return not [row for table in TABLES for row in place.home.rows(f"SELECT * FROM {table}")]


@pytest.mark.parametrize("settings", ["no root"])
def test_unpublish_takes_everything_back_whatever_the_settings_name_now(household: Any, tmp_path: Path, settings: str):
    with shelf(household, tmp_path, also=["recommendation_playlists"]) as place:
        place.state.allow_libraries("ben", ["Movies"])
        users = place.users()
        place.publish_now()
        now = elsewhere(place, settings)
        with unmounted(place):
            refused = run(place.home.settings, "unpublish", "--yes")
            assert refused.exit_code == 1 and f"The folder {place.root} has no marker" in words(refused)
            assert ANNAS in place.views("anna"), "it stays with its owner"
        again = run(now, "unpublish", "--yes")
        assert again.exit_code == 0, again.output
        owners = {ANNAS: "anna", BENS: "ben", SHOWS: "anna"}
        removed = {f'Library "{name}" of {owner}: removed' for name, owner in owners.items()}
        assert removed <= set(again.output.splitlines())
        assert list(place.root.rglob("*")) == [] and nothing_is_left(place)
        assert not [name for name in place.libraries() if "AI Picks" in name] and place.users() == users
        assert run(now, "unpublish", "--yes").exit_code == 0


def test_without_its_marker_nothing_is_published_until_the_operator_accepts_the_root(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        settings = place.home.settings

        def doctor() -> Finding:
            return {one.what: one for one in examine(settings, ["publishing"])}["publishing"]

        assert doctor().state == "ok" and list(place.root.iterdir()) == []
        place.publish_now()
        assert doctor().state == "ok"
        titles = place.titles(ANNAS)
        place.recommend("anna", "Film 8")
        place.state.reset_counters()
        with unmounted(place):
            tables = place.home.snapshot()
            for arguments in (["publish"], ["publish", "--dry-run"]):
                refused = run(settings, *arguments)
                assert refused.exit_code == 1 and "has no marker (.aperture-published)" in words(refused)
                assert "Make sure that its disk or share is mounted" in words(refused)
                assert "`aperture publish --accept-root`" in words(refused)
            assert doctor().state == "failed" and "has no marker" in doctor().message
            failed = place.publish()
            assert not failed.success
            assert place.changes() == 0
            assert {name: rows for name, rows in place.home.snapshot().items() if name.startswith("published")} == {
                name: rows for name, rows in tables.items() if name.startswith("published")
            }
        assert place.titles(ANNAS) == titles
        place.state.advance(180)
        (place.root / MARKER.name).unlink()
        accepted = run(settings, "publish", "--accept-root")
        assert accepted.exit_code == 0, accepted.output
        assert place.titles(ANNAS) == ["Film 8"] and set(place.files()) == place.owned()
