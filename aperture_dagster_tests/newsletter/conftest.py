"""Fixtures of the tests of the newsletter."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import Shelf


@pytest.fixture
def home(shelf: Shelf) -> Home:
    return Home(shelf)
