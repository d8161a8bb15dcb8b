"""Which tests can notice a mutant: those that execute its lines, cheapest first, within a budget."""

from __future__ import annotations

import ast
import functools
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aperture_dagster_tests.mutants.mutations import Layout, Mutant, read
from aperture_dagster_tests.mutants.parts import PACKAGE, also_run, reaching_tests
from aperture_dagster_tests.mutants.worker import digest

COST_OF_A_FILE = 0.2
"""CPU seconds to import a file of tests."""
FIRST_STAGE = 1.5
"""CPU seconds of tests in a run of pytest of their own: most mutants need no other, nor the import of other files."""


@dataclass(frozen=True)
class Choice:
    """The tests for one mutant."""

    stages: list[list[str]]
    cpu: float
    """What they cost without a mutant."""
    left_out: int
    """How many others execute the lines, beyond the budget."""

    @property
    def tests(self) -> list[str]:
        """All chosen tests, in order."""
        return [test for stage in self.stages for test in stage]


class Reach:
    """What each test executes, as observed and kept, one file for each file of tests."""

    def __init__(self, project: Path, folder: Path, only: Sequence[str] = ()) -> None:
        self._project = project
        self._only = only
        self._folder = folder
        self._lines: dict[str, dict[int, tuple[set[str], set[str], bool]]] = {}
        self.costs: dict[str, float] = {}

    def kept_at(self, file: str) -> Path:
        """Return where the observation of a file of tests is kept."""
        return self._folder / (file.replace("/", "--") + ".json.gz")

    def to_observe(self, folders: tuple[str, ...]) -> list[str]:
        """Return the files of tests whose observation is missing, or older than they or what they executed."""
        return [file for file in self._files(folders) if not self._fresh(file)]

    def _files(self, folders: tuple[str, ...]) -> list[str]:
        """Return the files of tests in some folders; if ``only`` some are used, those whose paths contain one of it."""
        files = reaching_tests(self._project, folders)
        return [file for file in files if not self._only or any(one in file for one in self._only)]

    def _load(self, file: str) -> dict[str, Any]:
        with gzip.open(self.kept_at(file), "rt", encoding="utf-8") as stream:
            return json.load(stream)

    def _fresh(self, file: str) -> bool:
        try:
            state = self._load(file).get("state")
        except (OSError, EOFError, ValueError):
            return False
        return bool(state) and all(digest(self._project / name) == value for name, value in state.items())

    def load(self, folders: tuple[str, ...]) -> None:
        """Read what was observed in some folders, instead of what was read before."""
        self._lines.clear()
        self.costs.clear()
        self._uses.cache_clear()
        for file in self._files(folders):
            if not self.kept_at(file).exists():
                continue
            kept = self._load(file)
            tests = list(kept["costs"])
            self.costs |= kept["costs"]
            for module, lines in kept["lines"].items():
                known = self._lines.setdefault(module, {})
                for line, (own, shared, at_import) in lines.items():
                    entry = known.get(int(line), (set(), set(), False))
                    entry[0].update(tests[number] for number in own)
                    entry[1].update(tests[number] for number in shared)
                    known[int(line)] = (entry[0], entry[1], entry[2] or bool(at_import))

    def choose(self, mutant: Mutant, *, budget: float, without: Iterable[str] = ()) -> Choice:
        """Choose the tests for a mutant."""
        direct, shared = self._candidates(mutant)
        without = set(without)
        ordered = [*sorted(direct - without, key=self._rank), *sorted(shared - direct - without, key=self._rank)]
        # One that exceeds the budget is better than none.
        cheapest = min(ordered, key=self._rank, default="")
        chosen: list[str] = []
        files: set[str] = set()
        cpu = 0.0
        stages: tuple[list[str], list[str]] = [], []
        for test in ordered:
            file = test.partition("::")[0]
            cost = self.costs[test] + (COST_OF_A_FILE if file not in files else 0)
            if cpu + cost > budget and (chosen or test != cheapest):
                continue
            files.add(file)
            chosen.append(test)
            cpu += cost
            stages[cpu > FIRST_STAGE].append(test)
        return Choice([stage for stage in stages if stage], cpu, len(ordered) - len(chosen))

    def _rank(self, test: str) -> tuple[float, str]:
        return self.costs[test], test

    def _candidates(self, mutant: Mutant) -> tuple[set[str], set[str]]:
        layout = self._layout(mutant.path)
        lines = layout.lines_at(mutant.start)
        direct, shared, at_import = self._executing(mutant.path, lines)
        in_a_body = layout.in_a_body(mutant.start)
        if in_a_body and not at_import:
            return direct, shared
        if not in_a_body:
            # Of what runs at import, coverage only shows who imported first.
            direct, shared = set(), set()
        around = [node for name, node in layout.functions() if name == mutant.function]
        if around:
            body = self._executing(mutant.path, range(around[0].body[0].lineno, (around[0].end_lineno or 0) + 1))
            direct, shared = direct | body[0], shared | body[1]
        names = {mutant.function.rpartition(".")[2]} if mutant.function else _assigned(layout, mutant)
        used = self._using(frozenset(names))
        direct, shared = direct | used[0], shared | used[1]
        if not direct and not shared:
            direct, shared, _ = self._executing(mutant.path, range(1, 100_000))
        for file in also_run(self._project, mutant.path):
            direct |= {test for test in self.costs if test.startswith(f"{file}::")}
        return direct, shared

    def _executing(self, path: str, lines: range) -> tuple[set[str], set[str], bool]:
        direct: set[str] = set()
        shared: set[str] = set()
        at_import = False
        for line, entry in self._lines.get(path, {}).items():
            if line in lines:
                direct |= entry[0]
                shared |= entry[1]
                at_import = at_import or entry[2]
        return direct, shared, at_import

    def _using(self, names: frozenset[str]) -> tuple[set[str], set[str]]:
        """Return the tests that execute a function which uses one of the names, or what was made from them."""
        direct: set[str] = set()
        shared: set[str] = set()
        done: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            done.add(name)
            for path, body, assigned in self._uses().get(name, ()):
                found = self._executing(path, body)
                direct |= found[0]
                shared |= found[1]
                waiting |= assigned - done
        return direct, shared

    @functools.cache  # noqa: B019
    def _uses(self) -> dict[str, list[tuple[str, range, frozenset[str]]]]:
        """Return, by name, the functions of the package that use it, and the names of modules made from it."""
        uses: dict[str, list[tuple[str, range, frozenset[str]]]] = defaultdict(list)
        for file in sorted((self._project / PACKAGE).rglob("*.py")):
            path = file.relative_to(self._project).as_posix()
            if path not in self._lines:
                continue
            layout = self._layout(path)
            for _, function in layout.functions():
                body = range(function.body[0].lineno, (function.end_lineno or 0) + 1)
                for name in _names(function):
                    uses[name].append((path, body, frozenset()))
            for statement in layout.tree.body:
                if isinstance(statement, ast.Assign | ast.AnnAssign):
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    assigned = frozenset(target.id for target in targets if isinstance(target, ast.Name))
                    for name in _names(statement) - assigned:
                        uses[name].append((path, range(0), assigned))
        return uses

    @functools.cache  # noqa: B019
    def _layout(self, path: str) -> Layout:
        return Layout(read(self._project, path))


def _names(node: ast.AST) -> set[str]:
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def _assigned(layout: Layout, mutant: Mutant) -> set[str]:
    """Return the name that the statement assigns, or that of the class around it."""
    statement = layout.statement_at(mutant.start)
    found: set[str] = set()
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        found = {target.id for target in targets if isinstance(target, ast.Name)}
    return found
