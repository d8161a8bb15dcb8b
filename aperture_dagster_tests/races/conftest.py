"""Fixtures of the tests of races."""

from aperture_dagster_tests.shelf import admin, clusters, empty, folder, shelf

__all__ = ["admin", "clusters", "empty", "folder", "shelf"]
