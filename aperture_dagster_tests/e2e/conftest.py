"""Worlds in small, and a household on the stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.household import Household


@pytest.fixture
def household(serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with household(world, **settings) as (simulator, home)``: stand-ins, and an empty home set up on them."""

    @contextmanager
    def living(
        world: World, parts: dict[str, Any] | None = None, **overrides: Any
    ) -> Iterator[tuple[RunningSimulator, Household]]:
        with serve(world, **overrides) as (simulator, settings), dg.DagsterInstance.ephemeral() as instance:
            yield simulator, Household(settings, instance, **(parts or {}))

    return living
