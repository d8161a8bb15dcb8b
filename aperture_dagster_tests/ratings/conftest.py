"""Fixtures of the tests of ratings."""

from aperture_dagster_tests.resources.conftest import scripted
from aperture_dagster_tests.storage.conftest import admin, clusters, empty, folder, shelf

__all__ = ["admin", "clusters", "empty", "folder", "scripted", "shelf"]
