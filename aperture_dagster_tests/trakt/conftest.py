"""Fixtures of the tests of ratings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import TraktHome, trakt_home


@pytest.fixture
def home(serve: Callable[..., Any]) -> Iterator[TraktHome]:
    with trakt_home(serve) as opened:
        yield opened


@pytest.fixture
def rated(home: TraktHome) -> RatedHome:
    """A home with a user who is connected to Trakt."""
    home.connect("ada")
    return RatedHome(home)
