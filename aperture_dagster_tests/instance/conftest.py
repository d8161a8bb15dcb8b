"""A Dagster instance configured by ``dagster.yaml``, on an external database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT


@pytest.fixture
def external(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Return settings with an external database, and point Dagster's environment at it."""
    settings = make_settings()
    assert settings.database_url is not None
    for name, value in {
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
        "APERTURE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def instance(external: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance on the external database."""
    with dg.DagsterInstance.get() as instance:
        yield instance
