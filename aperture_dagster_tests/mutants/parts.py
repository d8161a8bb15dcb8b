"""What is mutated, part by part, and which tests may notice."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from aperture_dagster_tests.mutants.mutations import Chosen, Function, Mutant, find_mutants, read

PACKAGE = "aperture_dagster"
TESTS = "aperture_dagster_tests"


def is_check(function: Function) -> bool:
    """Whether a function is an asset check, or makes its result."""
    decorators = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in function.decorator_list]
    returns = ast.unparse(function.returns) if function.returns else ""
    return any(name.endswith("check") for name in decorators) or "AssetCheck" in returns


PARTS: dict[str, tuple[tuple[str, ...], Chosen | None]] = {
    "ranking": (("ranking/*.py",), None),
    "library": (("library/*.py",), None),
    "publishing": (("publishing/*.py",), None),
    "checks": (("defs/**/checks.py", "defs/freshness.py", "defs/**/*.py"), is_check),
    "sensors": (("sensors/*.py",), None),
    "conditions": (("automation.py", "defs/gates.py"), None),
}
"""Files of each part, under the package; and which of their functions, if not all. ``checks.py`` counts whole."""

ROUNDS = (("ranking", "library", "publishing", "sensors", "worklist"), ("defs", "sources", "instance", "races", "e2e"))
"""Folders of tests that may notice: what survives the first round, of functions, is tested in the second, of runs.

The tests of stand-ins, storage, clients, the command line and the UI are of code that is not mutated.
"""

PROGRAMS = (
    "test_a_day", "test_command_line", "test_daemon", "test_demo_and_up", "test_dg", "test_fault_matrix",
    "test_first_hour", "test_installed", "test_operator_mistakes", "test_processes", "test_publishing_crashes",
    "test_restore", "test_side_by_side", "test_up", "test_whole_cycle",
)  # fmt: skip
"""Tests that run programs, which are not observed from outside, or take too long for one mutant."""

ALSO = {
    "automation.py": ("defs/test_automation*.py", "defs/test_definitions.py", "e2e/test_change_is_an_event.py"),
    "defs/": ("defs/test_definitions.py",),
}
"""What is only executed when the definitions load shows in these tests, whatever lines they execute."""


@functools.cache
def mutants_of(project: Path, part: str) -> list[Mutant]:
    """Return all mutants of a part."""
    patterns, chosen = PARTS[part]
    found: dict[str, Mutant] = {}
    for pattern in patterns:
        for file in sorted((project / PACKAGE).glob(pattern)):
            path = file.relative_to(project).as_posix()
            whole = file.name == "checks.py" or file.name == "freshness.py"
            for mutant in find_mutants(path, read(project, path), None if whole else chosen):
                found.setdefault(mutant.key, mutant)
    return list(found.values())


def reaching_tests(project: Path, folders: tuple[str, ...]) -> Iterator[str]:
    """Yield the files of tests in some folders that may notice a mutant."""
    for folder in folders:
        for file in sorted((project / TESTS / folder).glob("test_*.py")):
            if file.stem not in PROGRAMS:
                yield file.relative_to(project).as_posix()


def also_run(project: Path, path: str) -> list[str]:
    """Return the files of tests that notice what a file does when it is imported."""
    return [
        file.relative_to(project).as_posix()
        for start, patterns in ALSO.items()
        if path.removeprefix(f"{PACKAGE}/").startswith(start)
        for pattern in patterns
        for file in sorted((project / TESTS).glob(pattern))
    ]
