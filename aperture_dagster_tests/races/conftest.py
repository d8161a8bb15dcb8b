"""Fixtures of the tests of races."""

from aperture_dagster_tests.storage.conftest import admin, empty, folder, shelf

__all__ = ["admin", "empty", "folder", "shelf"]
