"""Fixtures of the tests of ratings."""

from aperture_dagster_tests.services import scripted
from aperture_dagster_tests.shelf import admin, clusters, empty, folder, shelf

__all__ = ["admin", "clusters", "empty", "folder", "scripted", "shelf"]
