"""A configuration of Dagster that an operator made from ours is used, and never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aperture_dagster.instance import home
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT

OURS = (PROJECT / "dagster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def installed(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a package without a checkout."""
    monkeypatch.setattr(home, "checkout", lambda: None)
    return make_settings()


@pytest.mark.parametrize("unless_set", [False, True])
def test_a_given_configuration_that_was_made_from_ours_is_left_alone(
    installed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unless_set: bool
):
    given = tmp_path / "given"
    given.mkdir()
    changed = OURS.replace("aperture_dagster.instance.launcher", "dagster_docker").replace("Patient", "Docker")
    (given / "dagster.yaml").write_text(changed)
    monkeypatch.setenv("DAGSTER_HOME", str(given))
    assert use_dagster_home(installed, unless_set=unless_set) == given
    assert (given / "dagster.yaml").read_text() == changed
    assert not (installed.home_path / "dagster" / "dagster.yaml").exists()


@pytest.mark.parametrize("content", ["telemetry:\n  enabled: true\n", None, home.HEADER + OURS])
def test_the_configuration_of_another_project_or_home_is_neither_used_nor_changed(
    installed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
):
    """Its runs would be in another database."""
    given = tmp_path / "given"
    given.mkdir()
    if content is not None:
        (given / "dagster.yaml").write_text(content)
    monkeypatch.setenv("DAGSTER_HOME", str(given))
    used = use_dagster_home(installed)
    assert used == installed.home_path / "dagster"
    assert (used / "dagster.yaml").read_text() == home.HEADER + OURS
    left = {path.name: path.read_text() for path in given.iterdir()}
    assert left == ({"dagster.yaml": content} if content is not None else {})
