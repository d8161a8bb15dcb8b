"""Measure what loading the definitions costs, beside loading Dagster alone: every command and every run does it.

    python benchmarks/loading.py

Both are loaded in one new process, so that what else the machine does affects both; the least of several runs counts.
Exits with 1 if the definitions take more than twice the CPU seconds of Dagster. They take about one and a half times as
many; with pandas, they would exceed the limit.
"""

from __future__ import annotations

import subprocess
import sys

LIMIT = 2.0
RUNS = 3
CODE = """
import time
start = time.process_time()
import dagster
between = time.process_time()
import aperture_dagster.definitions
print(between - start, time.process_time() - between)
"""


def main() -> int:
    """Load both a few times, print the figures, and return 0 if the limit was kept."""
    runs = [
        tuple(map(float, subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True).stdout.split()))
        for _ in range(RUNS)
    ]
    dagster, ours = (min(run[part] for run in runs) for part in (0, 1))
    kept = ours <= LIMIT * dagster
    print(f"Dagster {dagster:.2f} s, the definitions {ours:.2f} s: {ours / dagster:.2f} times as much", end="; ")
    print(f"limit {LIMIT:.0f} times: {'PASS' if kept else 'FAIL'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
