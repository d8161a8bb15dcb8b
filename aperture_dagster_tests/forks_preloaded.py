"""What the children of :mod:`aperture_dagster_tests.forks` have imported when they start."""

import pytest  # noqa: F401

import aperture_dagster.build
import aperture_dagster.instance.storage
import aperture_dagster.storage.restore  # noqa: F401
