"""Measure what loading the definitions costs, beside loading Dagster alone: every command and every run does it.

    python benchmarks/loading.py

Both are loaded in one new process, so that what else the machine does affects both; the least of several runs counts.
Limit: the definitions take at most twice the CPU seconds of Dagster. They take about one and a half times as many; with
pandas, they would exceed it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from verdict import Verdict

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    runs = [
        tuple(map(float, subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True).stdout.split()))
        for _ in range(RUNS)
    ]
    dagster, ours = (min(run[part] for run in runs) for part in (0, 1))
    print(f"Dagster {dagster:.2f} s, the definitions {ours:.2f} s")
    verdict = Verdict()
    verdict.most("definitions, times Dagster", ours / dagster, LIMIT)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
