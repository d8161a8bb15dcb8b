"""Fixtures of rooms that discovery builds on."""

from aperture_dagster_tests.defs.conftest import bench
from aperture_dagster_tests.ranking.conftest import library, vectors
from aperture_dagster_tests.resources.conftest import scripted
from aperture_dagster_tests.storage.conftest import shelf

__all__ = ["bench", "library", "scripted", "shelf", "vectors"]
