"""Run mutation tests: ``python -m aperture_dagster_tests.mutants --sample 400 --seed 1``. See docs/mutants.md."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aperture_dagster_tests.mutants.decisions import read_decisions
from aperture_dagster_tests.mutants.mutations import Mutant, read, sample
from aperture_dagster_tests.mutants.parts import PARTS, ROUNDS, mutants_of
from aperture_dagster_tests.mutants.reach import Reach
from aperture_dagster_tests.mutants.report import describe, diff_of, score, survivors, table, write_survivors
from aperture_dagster_tests.mutants.session import Result, Session, is_alive, open_session
from aperture_dagster_tests.mutants.worker import PATIENCE
from aperture_dagster_tests.mutants.workers import Worker, running_workers, share_out

PROJECT = Path(__file__).resolve().parents[2]
KEPT = PROJECT / ".mutants"


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


class Run:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, workers: list[Worker]) -> None:
        self._options = options
        self._workers = workers
        self._reach = Reach(PROJECT, KEPT / "reach", options.tests or ())

    def observe(self, folders: tuple[str, ...]) -> None:
        """Observe the tests of some folders, if their observation is missing or outdated."""
        files = self._reach.to_observe(folders)
        (KEPT / "reach").mkdir(parents=True, exist_ok=True)
        say(f"{len(files)} files of tests to observe") if files else None

        def observe(worker: Worker, file: str) -> dict[str, Any]:
            return worker.ask(observe=file, into=str(self._reach.kept_at(file)))

        for done, (file, answer) in enumerate(share_out(self._workers, files, observe), 1):
            if "tests" in answer:
                failed = f", failed: {', '.join(answer['failed'])}" if answer["failed"] else ""
                say(f"[{done}/{len(files)}] {file}: {answer['tests']} tests, {answer['cpu']:.0f} s{failed}")
            else:
                say(f"[{done}/{len(files)}] {file} could not be observed:\n{answer['output']}")
        self._reach.load(folders)

    def test(self, worker: Worker, mutant: Mutant, before: Result | None, without: Sequence[str] = ()) -> Result:
        """Find out what becomes of a mutant, which survived ``before``."""
        source = read(PROJECT, mutant.path)
        mutated = mutant.apply(source)
        if mutated is None:
            return Result("invalid")
        result = before or Result("no test", diff=diff_of(source, mutated))
        result = replace(result, rounds=result.rounds + 1)
        choice = self._reach.choose(mutant, budget=self._options.budget, without=without)
        if not choice.tests:
            return result
        answer = worker.ask(
            path=mutant.path,
            source=mutated,
            stages=choice.stages,
            cpu=3 * choice.cpu + 15,
            wall=10 * choice.cpu + PATIENCE,
        )
        result = replace(result, left_out=result.left_out + choice.left_out, cpu=result.cpu + answer["cpu"])
        if answer["timed_out"]:
            return replace(result, outcome="timed out", output=answer["output"])
        if answer["crashed"] or answer["failed"]:
            return replace(result, outcome="killed", by=answer.get("failed") or "crash", output=answer["output"])
        if answer["code"]:
            raise RuntimeError(f"pytest ended with {answer['code']} for {mutant}:\n{answer['output']}")
        return replace(result, outcome="survived", tests=[*result.tests, *choice.tests])

    def test_all(self, session: Session, mutants: list[Mutant], without: Sequence[str] = ()) -> None:
        """Test mutants, round by round, and keep the results."""
        before = {key: one for key, one in session.results().items() if 0 < one.rounds < len(ROUNDS)}
        for number, folders in enumerate(ROUNDS):
            due = [one for one in mutants if one.key not in before or before[one.key].rounds == number]
            due = [one for one in due if one.key not in before or is_alive(before[one.key])]
            if due:
                self.observe(folders)
                say(f"round {number + 1}: {len(due)} mutants")
                before |= self._test(session, due, before, without)

    def _test(
        self, session: Session, mutants: list[Mutant], before: dict[str, Result], without: Sequence[str]
    ) -> dict[str, Result]:
        found: dict[str, Result] = {}
        started, cpu = time.monotonic(), 0.0

        def test(worker: Worker, mutant: Mutant) -> Result:
            return self.test(worker, mutant, before.get(mutant.key), without)

        for done, (mutant, result) in enumerate(share_out(self._workers, mutants, test), 1):
            session.record(mutant, result)
            found[mutant.key] = result
            cpu += result.cpu - (before[mutant.key].cpu if mutant.key in before else 0)
            line = f"[{done}/{len(mutants)}] {result.outcome:9} {mutant.path}:{mutant.start[0]} {mutant.operator}"
            say(f"{line} {result.by.rpartition('/')[2]} {result.cpu:.1f} s")
            if is_alive(result):
                say("\n".join(f"        {one}" for one in result.diff.splitlines()))
                write_reports(session, self._options)
            if done % 25 == 0:
                minutes = (time.monotonic() - started) / 60
                say(f"-- {done}/{len(mutants)} in {minutes:.1f} min, {cpu / done:.1f} CPU seconds for each")
        return found

    def distrust(self, session: Session) -> None:
        """Run the tests that noticed a mutant without one; those that fail here, too, have noticed nothing."""
        results = session.results()
        killers = sorted({one.by for one in results.values() if one.outcome == "killed" and "::" in one.by})
        bad: list[str] = []
        while killers:
            say(f"running {len(killers)} tests that noticed a mutant on the product as it is")
            batches = [killers[place :: len(self._workers)] for place in range(len(self._workers))]

            def run(worker: Worker, batch: list[str]) -> dict[str, Any]:
                cost = sum(self._reach.costs.get(test, 1) for test in batch)
                return worker.ask(path="", stages=[batch], cpu=5 * cost + 60, wall=20 * cost + PATIENCE)

            answers = list(share_out(self._workers, [batch for batch in batches if batch], run))
            failed = {answer["failed"] for _, answer in answers if answer.get("failed")}
            for _, answer in answers:
                if answer.get("code") != 0 and not answer.get("failed"):
                    raise RuntimeError(f"the tests that noticed mutants cannot be run:\n{answer['output']}")
            bad += failed
            killers = [test for test in killers if test not in failed] if failed else []
        if bad:
            say(f"these fail without a mutant, too, and are left out: {', '.join(bad)}")
            again = [session.mutants[key] for key, one in results.items() if one.by in bad]
            session.forget(again)
            self.test_all(session, again, bad)


def chosen_mutants(options: argparse.Namespace) -> tuple[list[Mutant], set[str]]:
    """Return the mutants that the options ask for, and the names of all that there are."""
    parts = options.part or list(PARTS)
    every = [mutant for part in parts for mutant in mutants_of(PROJECT, part)]
    chosen = [one for one in every if options.file is None or options.file in one.path]
    if options.mutant:
        chosen = [one for one in every if one.key in options.mutant]
    elif options.sample:
        chosen = sample(chosen, options.sample, options.seed)
    return chosen, {one.key for one in every}


def session_name(options: argparse.Namespace) -> str:
    """Name the session of these options."""
    start = "mutants" if options.mutant else f"sample-{options.sample}-{options.seed}" if options.sample else "all"
    rest = [options.part, options.file, options.mutant, options.tests]
    return f"{start}-{hashlib.sha256(repr(rest).encode()).hexdigest()[:8]}" if any(rest) else start


def pairs_by_part(session: Session, options: argparse.Namespace) -> dict[str, list[tuple[Mutant, Result]]]:
    """Return what is known, by part."""
    results = session.results()
    part_of = {one.key: part for part in PARTS for one in mutants_of(PROJECT, part)}
    found: dict[str, list[tuple[Mutant, Result]]] = {part: [] for part in options.part or PARTS}
    for key, result in results.items():
        found[part_of[key]].append((session.mutants[key], result))
    return found


def write_reports(session: Session, options: argparse.Namespace) -> None:
    """Write the survivors of each part."""
    decisions = read_decisions()
    for part, pairs in pairs_by_part(session, options).items():
        write_survivors(options.reports, part, pairs, decisions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster_tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="test this many mutants, drawn by chance (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws another sample")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; can be repeated")
    parser.add_argument("--file", help="only files whose path contains this")
    parser.add_argument("--tests", action="append", help="only tests whose path contains this; can be repeated")
    parser.add_argument("--mutant", action="append", help="only the mutant of this name; can be repeated")
    parser.add_argument("--survivors", action="store_true", help="test again the mutants that survived last time")
    parser.add_argument("--budget", type=float, default=20, help="CPU seconds of tests for each mutant")
    parser.add_argument("--floor", type=float, default=85, help="exit with 1 if the score is lower, in per cent")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--reports", type=Path, default=KEPT, help="folder for the lists of survivors")
    parser.add_argument("--observe", action="store_true", help="only observe which tests execute which lines")
    parser.add_argument("--list", action="store_true", help="list the mutants, and test none")
    options = parser.parse_args(arguments)
    # Let the workers end, and remove their copies, when it is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mutants, existing = chosen_mutants(options)
    if options.list:
        for mutant in mutants:
            say(f"{mutant.key} {mutant.path}:{mutant.start[0]} {mutant.operator} {mutant.text}")
        return 0
    if options.observe:
        with running_workers(PROJECT, options.workers, KEPT / "workers.log") as workers:
            for folders in ROUNDS:
                Run(options, workers).observe(folders)
        return 0
    decisions = read_decisions()
    file = KEPT / f"{session_name(options)}.sqlite"
    with open_session(file, PROJECT, mutants, keep=options.survivors) as session:
        pending = session.pending()
        if options.survivors or options.mutant:
            alive = {key for key, one in session.results().items() if options.mutant or is_alive(one)}
            session.forget([one for one in mutants if one.key in alive])
            pending = session.pending()
        say(f"{len(mutants)} mutants, {len(pending)} to test")
        if pending:
            with running_workers(PROJECT, options.workers, KEPT / "workers.log") as workers:
                run = Run(options, workers)
                run.test_all(session, pending)
                run.distrust(session)
        return finish(session, options, decisions, existing)


def finish(session: Session, options: argparse.Namespace, decisions: Any, existing: set[str]) -> int:
    """Report; return the exit status."""
    write_reports(session, options)
    parts = pairs_by_part(session, options)
    everything = [pair for pairs in parts.values() for pair in pairs]
    alive = survivors(everything)
    for mutant, result in alive:
        say("")
        say("\n".join(describe(mutant, result, decisions.get(mutant.key))))
    say("")
    say("\n".join(table(parts, decisions)))
    unexplained = sum(mutant.key not in decisions for mutant, _ in alive)
    say(f"{len(alive)} survived, {unexplained} of them unexplained; lists with the tests that ran: {options.reports}")
    if not options.part:
        for decision in decisions.values():
            if decision.mutant not in existing:
                say(f"decisions.toml: {decision.mutant} ({decision.file}) no longer exists: {decision.change}")
    reached = score(everything, decisions)
    if reached < options.floor:
        say(f"{reached:.1f} % is below {options.floor:g} %")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
