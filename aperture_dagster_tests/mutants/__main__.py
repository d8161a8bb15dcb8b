"""Run mutation tests: ``python -m aperture_dagster_tests.mutants --sample 100 --seed 1``. See docs/mutants.md."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from aperture_dagster_tests.mutants.mutations import Mutant, find_mutants, sample

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE, TESTS = "aperture_dagster", "aperture_dagster_tests"
LEFT_OUT = ("simulator", "settings", "cli")
"""Rooms whose tests say little of a result that a user sees."""
SCHEMA_TESTS = f"{TESTS}/postgres/test_migrations.py"
DECISIONS = Path(__file__).with_name("decisions.toml")
KINDS = ("equivalent", "accepted")
PATIENCE = 60.0
"""Seconds beyond three times what the tests take on the product as it is."""


class Result(NamedTuple):
    """What became of a mutant: ``killed``, ``timed out``, ``survived``, ``no test`` or ``invalid``."""

    mutant: Mutant
    outcome: str
    diff: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether no test noticed it."""
        return self.outcome in ("survived", "no test")


def all_mutants(rooms: Sequence[str]) -> list[Mutant]:
    """Return the mutants of some rooms, by default of all but a few."""
    found: list[Mutant] = []
    for file in sorted((PROJECT / PACKAGE).rglob("*.py")):
        path = file.relative_to(PROJECT)
        room = path.parts[1].removesuffix(".py")
        if room in rooms or not (rooms or room in LEFT_OUT):
            found += find_mutants(path.as_posix(), file.read_text(encoding="utf-8"))
    return found


def lines_since(project: Path, revision: str) -> dict[str, set[int]]:
    """Return which lines of the package were written after a revision, by file; a move writes none."""
    command = ["git", "diff", "--unified=0", "--find-renames", "--no-color", "--no-ext-diff", revision, "--", PACKAGE]
    said = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout
    found: dict[str, set[int]] = {}
    lines: set[int] = set()
    for line in said.splitlines():
        if line.startswith("+++ b/"):
            lines = found.setdefault(line.removeprefix("+++ b/"), set())
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first = int(hunk[1])
            lines.update(range(first, first + int(hunk[2] or 1)))
    return found


def nearest_tests(project: Path, path: str) -> list[list[str]]:
    """Return the tests of a module, nearest first: those named after it, then those of the folder that mirrors its own.

    A module may have a folder of tests to itself. A folder without tests of its own has those of the folder around it.
    Tables are compared with the migrations.
    """
    module = Path(path)
    own = project / TESTS / module.with_suffix("").relative_to(PACKAGE)
    folder = own if own.is_dir() else own.parent
    while not list(folder.glob("test_*.py")) and folder != project / TESTS:
        folder = folder.parent
    names = sorted(file.relative_to(project).as_posix() for file in folder.glob("test_*.py"))
    near = [name for name in names if module.stem.strip("_") in name]
    near += [SCHEMA_TESTS] if module.name == "tables.py" else []
    return [stage for stage in (near, [name for name in names if name not in near]) if stage]


def read_decisions(file: Path = DECISIONS) -> dict[str, str]:
    """Return the decisions on survivors by mutant, as ``kind: reason``.

    Raises:
        ValueError: an entry has no reason, or there are two for a mutant.
    """
    found: dict[str, str] = {}
    for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("survivor", []):
        name = entry["mutant"]
        if entry["decision"] not in KINDS or not entry["reason"].strip() or name in found:
            raise ValueError(f"{file.name}: {name} needs one entry, one of {', '.join(KINDS)}, and a reason")
        found[name] = f"{entry['decision']}: {entry['reason']}"
    return found


def score(results: Sequence[Result], decisions: dict[str, str]) -> float:
    """Return the share of mutants that a test noticed, in per cent, without those equivalent to the original."""
    counted = [
        one
        for one in results
        if one.outcome != "invalid"
        and not (one.is_alive and decisions.get(one.mutant.key, "").startswith("equivalent"))
    ]
    return 100 * sum(not one.is_alive for one in counted) / len(counted) if counted else 100.0


class Copy:
    """A copy of the project in which mutants are tested, so that the working tree is never changed."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.folder = folder
        self._usual: dict[tuple[str, ...], float] = {}
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=project, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (project / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(project / name, folder / name)

    def test(self, mutant: Mutant) -> Result:
        """Find out what becomes of a mutant."""
        file = self.folder / mutant.path
        source = file.read_text(encoding="utf-8")
        if (mutated := mutant.apply(source)) is None:
            return Result(mutant, "invalid")
        lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), lineterm="", n=0)
        diff = "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
        outcome = "no test"
        for stage in nearest_tests(self.folder, mutant.path):
            usual = self._usual_seconds(stage)
            file.write_text(mutated, encoding="utf-8")
            try:
                outcome = self._run(stage, 3 * usual + PATIENCE)
            finally:
                file.write_text(source, encoding="utf-8")
            if outcome != "survived":
                break
        return Result(mutant, outcome, diff)

    def _usual_seconds(self, stage: list[str]) -> float:
        """Return how long tests take on the product as it is, where they have to pass."""
        if (key := tuple(stage)) not in self._usual:
            started = time.monotonic()
            if (outcome := self._run(stage, 3600)) != "survived":
                raise RuntimeError(f"{' '.join(stage)}: {outcome} without a mutant")
            self._usual[key] = time.monotonic() - started
        return self._usual[key]

    def _run(self, tests: list[str], seconds: float) -> str:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
        process = subprocess.Popen(
            [*command, "-m", "not (nightly or ui or namespaces or root)", *tests],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            # 5: all of these tests are among those left out.
            return "survived" if process.wait(seconds) in (0, 5) else "killed"
        except subprocess.TimeoutExpired:
            return "timed out"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_all(mutants: Sequence[Mutant], workers: int) -> Iterator[Result]:
    """Test mutants in several copies at once; yield each result as the mutants are in order."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(workers):
            copies.put(Copy(PROJECT, Path(folder) / str(number)))

        def test(mutant: Mutant) -> Result:
            copy = copies.get()
            try:
                return copy.test(mutant)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(test, mutants)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster_tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="test this many mutants, drawn by chance (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws another sample")
    parser.add_argument("--room", action="append", default=[], help="only this folder of the package; can be repeated")
    parser.add_argument("--file", default="", help="only files whose path contains this")
    parser.add_argument("--since", help="only lines that were written after this revision")
    parser.add_argument("--mutant", action="append", help="only the mutant of this name; can be repeated")
    parser.add_argument("--floor", type=float, default=85, help="exit with 1 if the score is lower, in per cent")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    decisions = read_decisions()
    every = all_mutants(options.room)
    mutants = [one for one in every if options.file in one.path and one.key in (options.mutant or [one.key])]
    if options.since:
        fresh = lines_since(PROJECT, options.since)
        mutants = [one for one in mutants if one.start[0] in fresh.get(one.path, ())]
    if options.sample:
        mutants = sample(mutants, options.sample, options.seed)
    results: list[Result] = []
    for result in test_all(mutants, options.workers):
        results.append(result)
        mutant = result.mutant
        print(f"[{len(results)}/{len(mutants)}] {result.outcome:9} {mutant.path}:{mutant.start[0]} {mutant.operator}")
        if result.is_alive:
            print("\n".join(f"        {line}" for line in result.diff.splitlines()))
            print(f"        {mutant.key}: {decisions.get(mutant.key, 'not explained')}", flush=True)
    if not options.room:
        for key in decisions.keys() - {one.key for one in every}:
            print(f"{DECISIONS.name}: {key} names no mutant any more")
    noticed = score(results, decisions)
    print(f"{noticed:.1f} % of {len(results)} mutants were noticed (at least {options.floor:g} %)")
    return int(noticed < options.floor)


if __name__ == "__main__":
    sys.exit(main())
