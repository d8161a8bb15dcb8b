"""Clusters of PostgreSQL that are copies of one, in this process and, as a program, in those of :mod:`programs`.

To initialize a cluster takes 0.4 s of processor time, and to copy one a tenth of that. Copies have the same system
identifier, as those of a home that was copied have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.postgres import cluster as module
from aperture_dagster.postgres.cluster import Cluster
from aperture_dagster_tests.waiting import SECONDS

FOLDER = "TESTS_CLUSTERS"
"""The variable with the folder of the clusters that are copied."""


def copy_clusters(patch: pytest.MonkeyPatch, folder: Path | str) -> None:
    """Let this process and its programs copy the clusters in ``folder``, where the first of each kind is kept."""
    patch.setenv(FOLDER, str(folder))
    run = Cluster.run

    def initialize_or_copy(self: Cluster, program: str, *arguments: str, folder: Path, **more: Any) -> None:
        original = Path(os.environ[FOLDER]) / f"{module.VERSION}-{self.account}"
        if program != "initdb":
            run(self, program, *arguments, folder=folder, **more)
        elif original.exists():
            _copy(original, folder)
        else:
            run(self, program, *arguments, folder=folder, **more)
            copy = original.with_name(uuid.uuid4().hex)
            _copy(folder, copy)
            with suppress(OSError):
                copy.rename(original)
            shutil.rmtree(copy, ignore_errors=True)

    patch.setattr(Cluster, "run", initialize_or_copy)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True, timeout=SECONDS)


if __name__ == "__main__":
    copy_clusters(pytest.MonkeyPatch(), os.environ[FOLDER])
    _, program, *arguments = sys.argv
    sys.argv = ["-c", *arguments]
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
