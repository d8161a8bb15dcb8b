"""Fixtures of the tests of definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from aperture_dagster.settings import Settings
from aperture_dagster_tests.defs.check_bench import Bench


@pytest.fixture
def bench(make_settings: Callable[..., Settings]) -> Iterator[Bench]:
    """Yield an empty database and instance, with the project's checks."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench(make_settings, instance)
