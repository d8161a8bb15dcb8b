"""Print in what the stand-ins differ from the recorded answers of real servers, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from aperture_dagster_tests.recordings.comparison import compared
from aperture_dagster_tests.recordings.differences import DIFFERENCES
from aperture_dagster_tests.recordings.recording import SERVERS, load


def main() -> int:
    """Print the table for each server; return 1 if it is wrong, or 0."""
    wrong = 0
    for server in SERVERS:
        with TemporaryDirectory() as folder:
            found = compared(server, Path(folder))
        print(f"{server}: {len(load(server))} answers, {len(found)} differences")
        for one in DIFFERENCES:
            if server in one.servers:
                print(f"  {one.because}")
                for name in one.names():
                    print(f"    {name}{'' if name in found else '  <- no longer so'}")
                wrong += len(set(one.names()) - found)
        new = sorted(found - {name for one in DIFFERENCES if server in one.servers for name in one.names()})
        wrong += len(new)
        for name in new:
            print(f"  new: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
