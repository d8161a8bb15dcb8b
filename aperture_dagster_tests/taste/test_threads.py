"""How many threads numpy computes in."""

from __future__ import annotations

import os
import subprocess
import sys


def test_numpy_computes_in_one_thread_unless_asked_for_more():
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    # It is set before anything is built, and before the part that does not exist is refused.
    program = """
import contextlib, os, sys
from aperture_dagster.build import build_definitions
for asked in (None, "2"):
    os.environ |= {"OPENBLAS_NUM_THREADS": asked} if asked else {}
    with contextlib.suppress(TypeError):
        build_definitions(no_such_part=None)
    print(os.environ["OPENBLAS_NUM_THREADS"])
assert "numpy" not in sys.modules, "too late"
"""
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "2"]
