"""A Dagster instance on a database that several hosts use."""

from aperture_dagster_tests.instance.conftest import external, instance

__all__ = ["external", "instance"]
