"""The verdict of a benchmark: a line for each figure with its limit, and the exit code.

Limits are ratios to another program or to a floor in the same run, or documented. A benchmark without the data that it
needs is not applicable, which is no success.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import NoReturn

# argparse exits with 2.
KEPT, MISSED, NOT_APPLICABLE = 0, 1, 3
UNMEETABLE = "BENCHMARKS_MUST_MISS"
"""Environment variable with which no limit can be kept: a test sets it to see that each benchmark can fail."""


def peak_memory() -> float:
    """Return the peak memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike the kernel's other figure, this one does not begin with that of the process that started this one.
        return float(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 1e3
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


class Verdict:
    """Collects the figures of a benchmark; ``close`` prints the last line and returns the exit code."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.judged = 0

    def most(self, name: str, value: float, limit: float, unit: str = "") -> bool:
        """Judge a figure that must not be above its limit, and return whether it is kept."""
        share = f", {value / limit:.2f} of it" if limit else ""
        return self.holds(f"{name}: {_shown(value)}{unit}, limit {_shown(limit)}{unit}{share}", value <= limit)

    def least(self, name: str, value: float, limit: float, unit: str = "") -> bool:
        """Judge a figure that must not be below its limit, and return whether it is kept."""
        return self.holds(f"{name}: {_shown(value)}{unit}, at least {_shown(limit)}{unit}", value >= limit)

    def holds(self, promise: str, kept: bool) -> bool:
        """Judge a promise that is kept or not, and return whether it is."""
        kept = bool(kept) and UNMEETABLE not in os.environ
        self.judged += 1
        if not kept:
            self.missed.append(promise)
        print(f"{'PASS' if kept else 'MISSED'}  {promise}", flush=True)
        return kept

    def close(self) -> int:
        """Print how many figures were missed; return 0 if there were figures, and all were kept."""
        if not self.judged:
            print("MISSED: nothing was measured")
        elif self.missed:
            print(f"MISSED: {len(self.missed)} of {self.judged}")
        else:
            print(f"PASS: all {self.judged}")
        return KEPT if self.judged and not self.missed else MISSED


def not_applicable(why: str) -> NoReturn:
    """End a benchmark that cannot be run here, with an exit code of its own."""
    print(f"NOT APPLICABLE: {why}")
    sys.exit(NOT_APPLICABLE)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value, 9) // 1 else f"{value:.3g}"
