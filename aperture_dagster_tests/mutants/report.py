"""What a session found: figures by part, and the mutants that survived, with the decision on each."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from aperture_dagster_tests.mutants.decisions import Decision
from aperture_dagster_tests.mutants.mutations import Mutant
from aperture_dagster_tests.mutants.session import OUTCOMES, Result, is_alive

SHOWN_TESTS = 12


def diff_of(source: str, mutated: str) -> str:
    """Return the lines that a mutant changes."""
    lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if line[:3] not in ("---", "+++") and not line.startswith("@@"))


def score(results: list[tuple[Mutant, Result]], decisions: Mapping[str, Decision]) -> float:
    """Return the share of mutants that a test noticed, in per cent, without those equivalent to the original."""
    counted = [
        (mutant, result)
        for mutant, result in results
        if result.outcome != "invalid" and not (is_alive(result) and _equivalent(decisions.get(mutant.key)))
    ]
    noticed = sum(not is_alive(result) for _, result in counted)
    return 100 * noticed / len(counted) if counted else 100.0


def _equivalent(decision: Decision | None) -> bool:
    return decision is not None and decision.kind == "equivalent"


def table(parts: Mapping[str, list[tuple[Mutant, Result]]], decisions: Mapping[str, Decision]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'part':<12}" + "".join(f"{name:>11}" for name in ("mutants", *OUTCOMES, "equivalent", "score"))
    everything = [pair for pairs in parts.values() for pair in pairs]
    for name, pairs in [*parts.items(), ("all", everything)]:
        count = Counter(result.outcome for _, result in pairs)
        equivalent = sum(is_alive(result) and _equivalent(decisions.get(one.key)) for one, result in pairs)
        cells = [len(pairs), *(count[outcome] for outcome in OUTCOMES), equivalent]
        yield f"{name:<12}" + "".join(f"{cell:>11}" for cell in cells) + f"{score(pairs, decisions):>10.1f}%"


def survivors(pairs: list[tuple[Mutant, Result]]) -> list[tuple[Mutant, Result]]:
    """Return the mutants that no test noticed, in the order of the code."""
    return sorted((pair for pair in pairs if is_alive(pair[1])), key=lambda pair: (pair[0].path, pair[0].start))


def describe(mutant: Mutant, result: Result, decision: Decision | None) -> Iterator[str]:
    """Yield the lines that describe a survivor."""
    yield f"{mutant.key}  {mutant.path}:{mutant.start[0]}  {mutant.function or '(module)'}  {result.outcome}"
    yield from (f"    {line}" for line in result.diff.splitlines())
    if result.outcome == "no test":
        yield "    no test executes it"
    else:
        more = f", and not {result.left_out} beyond the budget" if result.left_out else ""
        yield f"    {len(result.tests)} tests ran{more}"
    yield f"    {decision.kind}: {decision.reason}" if decision else "    not explained"


def write_survivors(
    folder: Path, part: str, pairs: list[tuple[Mutant, Result]], decisions: Mapping[str, Decision]
) -> None:
    """Write the survivors of a part, with the tests that ran, as Markdown."""
    lines = [f"# Survivors: {part}", ""]
    for mutant, result in survivors(pairs):
        head, *rest = describe(mutant, result, decisions.get(mutant.key))
        lines += [f"## {head}", "", "```", *rest, "```", ""]
        if result.tests:
            shown = result.tests[:SHOWN_TESTS]
            lines += [f"- `{test}`" for test in shown]
            lines += [f"- and {len(result.tests) - len(shown)} more"] if len(result.tests) > len(shown) else []
            lines += [""]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"survivors-{part}.md").write_text("\n".join(lines), encoding="utf-8")
