"""What the children of :mod:`aperture_dagster_tests.forks` have imported when they start."""
# ruff: noqa: F401

import pytest

import aperture_dagster.build
import aperture_dagster.cli.main
import aperture_dagster.instance.storage
import aperture_dagster.postgres.restore
import aperture_dagster_tests.household
