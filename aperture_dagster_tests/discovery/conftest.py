"""Fixtures of rooms that discovery builds on."""

from aperture_dagster_tests.defs.conftest import bench
from aperture_dagster_tests.taste.conftest import library, vectors

__all__ = ["bench", "library", "vectors"]
