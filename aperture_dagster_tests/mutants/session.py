"""A session: a sample of mutants and their results, kept in Cosmic Ray's database, so that it can be continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from aperture_dagster_tests.mutants.mutations import Mutant
from aperture_dagster_tests.mutants.parts import PACKAGE, ROUNDS, TESTS

OUTCOMES = ("killed", "survived", "timed out", "no test", "invalid")


@dataclass(frozen=True)
class Result:
    """What became of a mutant."""

    outcome: str
    """One of ``OUTCOMES``; ``invalid`` is a change that does not compile or changes nothing."""
    by: str = ""
    """The test that noticed."""
    tests: list[str] = field(default_factory=list)
    """The tests that were chosen, if it survived."""
    left_out: int = 0
    """How many tests beyond the budget execute the line."""
    rounds: int = 0
    """How many rounds it has been through."""
    cpu: float = 0.0
    diff: str = ""
    output: str = ""


def is_alive(result: Result) -> bool:
    """Whether no test noticed."""
    return result.outcome in ("survived", "no test")


def fingerprint(project: Path) -> str:
    """Return a digest of the package and its tests."""
    whole = hashlib.sha256()
    for folder in (PACKAGE, TESTS):
        for file in sorted((project / folder).rglob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()


class Session:
    """The results of a sample."""

    def __init__(self, database: WorkDB, mutants: Iterable[Mutant]) -> None:
        self._database = database
        self.mutants = {mutant.key: mutant for mutant in mutants}
        known = {item.job_id for item in database.work_items}
        database.add_work_items([_item(one) for key, one in self.mutants.items() if key not in known])

    def results(self) -> dict[str, Result]:
        """Return what is known, by mutant."""
        found: dict[str, Result] = {str(key): _result(stored) for key, stored in self._database.results}
        return {key: found[key] for key in self.mutants if key in found}

    def pending(self) -> list[Mutant]:
        """Return the mutants without a result, or with more rounds to go."""
        done = self.results()
        over = {key for key, one in done.items() if not is_alive(one) or one.rounds == len(ROUNDS)}
        return [mutant for key, mutant in self.mutants.items() if key not in over]

    def forget(self, mutants: Iterable[Mutant]) -> None:
        """Let mutants be tested again."""
        for mutant in mutants:
            self.record(mutant, Result("no test"))

    def record(self, mutant: Mutant, result: Result) -> None:
        """Keep a result."""
        self._database.set_result(mutant.key, _stored(result))


def _item(mutant: Mutant) -> WorkItem:
    name = mutant.function or None
    place = MutationSpec(Path(mutant.path), mutant.operator, mutant.occurrence, mutant.start, mutant.end, {}, name)
    return WorkItem.single(mutant.key, place)


def _stored(result: Result) -> WorkResult:
    worker = {"no test": WorkerOutcome.NO_TEST, "invalid": WorkerOutcome.SKIPPED}
    tested = {"killed": TestOutcome.KILLED, "timed out": TestOutcome.KILLED, "survived": TestOutcome.SURVIVED}
    return WorkResult(
        worker_outcome=worker.get(result.outcome, WorkerOutcome.NORMAL),
        test_outcome=tested.get(result.outcome),
        diff=result.diff,
        output=json.dumps(asdict(result)),
    )


def _result(stored: WorkResult) -> Result:
    return Result(**json.loads(stored.output or "{}"))


@contextmanager
def open_session(file: Path, project: Path, mutants: list[Mutant], *, keep: bool) -> Iterator[Session]:
    """Open the session of a sample; begin it again if the package or the tests changed, unless ``keep``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = file.with_suffix(".state")
    current = fingerprint(project)
    same = state.exists() and state.read_text(encoding="utf-8") == current
    with use_db(str(file)) as database:
        if not same and not keep:
            database.clear()
        state.write_text(current, encoding="utf-8")
        yield Session(database, mutants)
