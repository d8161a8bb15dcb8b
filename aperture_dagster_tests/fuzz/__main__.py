"""Run the tests of this folder again and again, with other examples each time, for as many minutes as are given."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from aperture_dagster_tests.fuzz import EXAMPLES

_EXAMPLES = 2_000


def main() -> int:
    """Run until the time is over, or until something is found; return the exit code."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    began, seed = time.monotonic(), int(time.time())
    while (left := began + minutes * 60 - time.monotonic()) > 0:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(Path(__file__).parent)]
        print(f"seed {seed}, {left / 60:.0f} minutes left", flush=True)
        examples = str(min(_EXAMPLES, max(50, round(left * 2))))
        ran = subprocess.run([*command, f"--hypothesis-seed={seed}"], env=os.environ | {EXAMPLES: examples})
        if ran.returncode:
            print("Keep what was found: add it to the test with @example, or as a test of its own.")
            return ran.returncode
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
