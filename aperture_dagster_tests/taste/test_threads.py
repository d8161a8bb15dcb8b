"""How many threads numpy computes in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        pytest.param(None, "1"),
        pytest.param(
            "2",
            "2",
            marks=pytest.mark.nightly(reason="A process that loads everything.", instead="the same test unasked"),
        ),
    ],
)
def test_numpy_computes_in_one_thread_unless_asked_for_more(asked: str | None, threads: str):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {} if asked is None else {"OPENBLAS_NUM_THREADS": asked}
    program = """
import os, sys
from aperture_dagster.build import build_definitions
assert "numpy" not in sys.modules, "too late"
build_definitions()
print(os.environ["OPENBLAS_NUM_THREADS"])"""
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == threads
