"""Measure how long the demo takes on a new home, and again without any change.

    python benchmarks/demo.py

Runs ``aperture demo`` twice on the same home, as ``make demo`` does, and loads the definitions in a fresh process
before and after. Times are what a person waits, so the machine should have nothing else to do; they are judged as
multiples of loading the definitions once. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
# 30 s and 12 s where the definitions are loaded in 2.4 s.
FIRST_LIMIT, SECOND_LIMIT = 12.5, 5.0
LOADINGS = 3
COMMAND = "from aperture_dagster.cli.main import main; main()"


def main() -> int:
    """Measure both runs, print them, and return 0 if the limits were kept."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="aperture-demo-", ignore_cleanup_errors=True) as folder:
        # Otherwise each process would compile all modules.
        without = {"PYTHONDONTWRITEBYTECODE", "APERTURE_DATABASE_URL"}
        environment = {name: value for name, value in os.environ.items() if name not in without}
        environment |= {"DAGSTER_HOME": str(PROJECT), "APERTURE_HOME": folder}
        load = [sys.executable, "-c", "import aperture_dagster.definitions"]
        demo = [sys.executable, "-c", COMMAND, "demo", "--home", str(Path(folder) / "demo")]
        # The first one compiles what has not been compiled.
        seconds(load, environment)
        loading = [seconds(load, environment) for _ in range(LOADINGS)]
        first, second = seconds(demo, environment), seconds(demo, environment)
        loading += [seconds(load, environment) for _ in range(LOADINGS)]
    least = min(loading)
    print(f"loading the definitions {least:.1f} s, a demo {first:.1f} s, the same again {second:.1f} s")
    verdict.most("the first demo, times loading the definitions", first / least, FIRST_LIMIT)
    verdict.most("the unchanged second demo, times loading the definitions", second / least, SECOND_LIMIT)
    return verdict.close()


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return how long a command takes. Raises CalledProcessError: it failed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
