"""The embedded database moves to the next major version of PostgreSQL, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster.storage import locks
from aperture_dagster.storage.cluster import Cluster, embedded_tool
from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.storage.errors import DatabaseError
from aperture_dagster_tests.holders import run
from aperture_dagster_tests.processes import all_gone

OLD = 16


@pytest.fixture(scope="session")
def old_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster of the older version with two databases, in a home of its own."""
    ...


def test_placeholder(folder: Path):
    ...
