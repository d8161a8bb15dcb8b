"""Fixtures of the tests of definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from aperture_dagster.settings import Settings
from aperture_dagster_tests.defs.check_bench import Bench
from aperture_dagster_tests.instances import instance_in_memory


@pytest.fixture
def bench(make_settings: Callable[..., Settings]) -> Iterator[Bench]:
    """Yield an empty database and instance, with the project's checks."""
    with instance_in_memory() as instance:
        yield Bench(make_settings, instance)
