"""Run the tests that kill something, and print what was killed and what held afterwards.

``python -m aperture_dagster_tests.kills``; the names of the tests say what holds.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.killing import KILLS

# The soak kills too, and takes longer than all of these.
NAMED = "(kill or old_backup) and not mutant and not days_with_kills"
FOLDER = Path(__file__).parent


class Table:
    """Gathers cases and outcomes by test."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a case; what fails before the test itself counts as well."""
        name = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed[name] += 1
        elif report.when == "call" and report.passed:
            self.passed[name] += 1

    def lines(self) -> list[str]:
        """Return the table, by file."""
        kills: Counter[str] = Counter()
        for test, count in KILLS.items():
            kills[test.partition("[")[0]] += count
        found = []
        for name in sorted({*self.passed, *self.failed}):
            path, _, test = name.partition("::")
            sentence = test.removeprefix("test_").replace("_", " ")
            state = f"FAILED in {self.failed[name]} cases" if self.failed[name] else "held"
            # What kills by a signal of its own kills once a case.
            count = max(kills[name], self.passed[name] + self.failed[name])
            found.append(f"{count:5} kills  {state:6}  {sentence}\n{'':21}{path}")
        return found


def main() -> int:
    """Run the tests; return the exit code of pytest."""
    table = Table()
    chosen = ["-m", "not (nightly or containers)", "-k", NAMED]
    code = pytest.main([*chosen, "-q", "-p", "no:cacheprovider", str(FOLDER), *sys.argv[1:]], plugins=[table])
    print("\n".join(table.lines()))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
