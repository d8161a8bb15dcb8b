"""Households on stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldTitle
from aperture_dagster_tests.e2e.library import NOON, Library
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.settled import Templates, households, settled_households


@pytest.fixture
def household(templates: Templates, serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with household(world, **settings) as (simulator, home)``: stand-ins, and an empty home that uses them.

    ``after`` names jobs that have run there.
    """
    return households(templates, serve)


@pytest.fixture
def settled(templates: Templates, serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with settled(**settings) as (simulator, home, world)``: a small world whose home has run every job once."""
    return settled_households(templates, serve)


@pytest.fixture
def library(household: Callable[..., Any]) -> Callable[..., Any]:
    """``with library(titles, **settings) as library``: a library with these titles, which all stand-ins know, at noon.

    ``shelved`` are the titles on the media server, if they differ.
    """

    @contextmanager
    def living(
        titles: Sequence[WorldTitle],
        *,
        shelved: Sequence[WorldTitle] | None = None,
        stand_ins: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> Iterator[Library]:
        known = {"omdb_unknown_share": 0.0, "mdblist_unknown_share": 0.0}
        clock = SetClock(NOON)
        with household(
            World("a library", list(titles)),
            parts={"clock": clock},
            stand_ins=SimulatorSettings(**known | (stand_ins or {})),
            **overrides,
        ) as (simulator, home):
            library = Library(simulator, home, clock)
            library.shelve(*(titles if shelved is None else shelved))
            yield library

    return living
