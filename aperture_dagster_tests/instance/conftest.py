"""Dagster's instance as ``dagster.yaml`` describes it, on a database that other machines could use as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT


@pytest.fixture
def external(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings with a database outside the home; the environment leads Dagster there, too."""
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
    """The instance on that database."""
    with dg.DagsterInstance.get() as instance:
        yield instance
