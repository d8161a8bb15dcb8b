"""The mutation tests themselves: what is changed and what is not, which tests run, and what becomes of a mutant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_code

from aperture_dagster_tests.mutants.__main__ import Copy, Result, read_decisions, score
from aperture_dagster_tests.mutants.mutations import find_mutants, sample
from aperture_dagster_tests.mutants.operators import OPERATORS, OWN


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("InvertMembership", "x in y", "x not in y"),
        ("NegateComprehensionCondition", "[x for x in y if x and z]", "[x for x in y if not (x and z)]"),
        ("SwapFunction", "min(x)", "max(x)"),
        ("RemoveSort", "sorted(x, key=f)", "list(x)"),
        ("RemoveCall", "a.b(x)\n", "pass\n"),
        ("InvertAugmentedAssignment", "x += 1", "x -= 1"),
        ("ReplaceComparisonOperator_Lt_LtE", "x < y", "x <= y"),
    ],
)
def test_an_operator_makes_its_change(operator: str, before: str, after: str):
    assert mutate_code(before, OPERATORS[operator], 0) == after


def test_every_operator_of_ours_is_in_use():
    assert {one.__name__ for one in OWN} <= OPERATORS.keys()


CODE = '''
"""Has 1 docstring."""
from dataclasses import dataclass

LIMIT: int | None = 5


@dataclass(frozen=True)
class Point:
    """One of 2."""

    x: int = 1


def good(values: list[int] | None, *, log) -> list[int]:
    log.warning("at %s", 3 + 4)
    if values is None:
        raise ValueError(f"not {1 + 1}")
    note(description="a" if 7 in values else "b")
    return [one for one in values if one > LIMIT]
'''


def test_what_is_shown_or_typed_is_not_changed():
    found = {(one.text, one.operator.partition("_")[0]) for one in find_mutants("a.py", CODE)}
    assert {text for text, _ in found} == {
        "LIMIT: int | None = 5",
        "x: int = 1",
        "if values is None:",
        'note(description="a" if 7 in values else "b")',
        "return [one for one in values if one > LIMIT]",
    }
    assert ("LIMIT: int | None = 5", "ReplaceBinaryOperator") not in found
    assert ('note(description="a" if 7 in values else "b")', "InvertMembership") not in found


def test_a_mutant_keeps_its_name_and_its_place_in_the_sample_when_other_code_changes():
    before = find_mutants("a.py", CODE)
    after = find_mutants("a.py", "FIRST = 100\n\n" + CODE)
    assert {one.key for one in before} < {one.key for one in after}
    assert len({one.key for one in after}) == len(after)
    drawn = sample(before, 5, seed=1)
    assert drawn == sample(list(reversed(before)), 5, seed=1) != sample(before, 5, seed=2)
    assert {one.key for one in drawn} <= {one.key for one in sample(after, 7, seed=1)}


TOY = "def bounded(x):\n    return 9 if x > 9 else x\n"
TOY_TESTS = """
from aperture_dagster.room.toy import bounded

def test_small():
    assert bounded(3) == 3
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project with one module, whose only test does not reach its limit."""
    module, tests = "aperture_dagster/room/toy.py", "aperture_dagster_tests/room/test_toy.py"
    for name, text in ((module, TOY), (tests, TOY_TESTS)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    subprocess.run("git init -q && git add .", shell=True, cwd=tmp_path, check=True)
    return tmp_path


def test_a_mutant_is_killed_or_survives_and_the_project_stays_as_it_is(toy: Path, tmp_path_factory):
    copy = Copy(toy, tmp_path_factory.mktemp("copy"))
    mutants = {one.operator: one for one in find_mutants("aperture_dagster/room/toy.py", TOY)}
    below, boundary = (mutants[f"ReplaceComparisonOperator_Gt_{other}"] for other in ("LtE", "GtE"))
    assert copy.test(boundary).outcome == "survived"
    killed = copy.test(below)
    assert killed.outcome == "killed"
    assert killed.diff.splitlines() == ["-    return 9 if x > 9 else x", "+    return 9 if x <= 9 else x"]
    assert (copy.folder / below.path).read_text() == (toy / below.path).read_text() == TOY


def test_an_equivalent_mutant_does_not_count_and_an_accepted_one_counts_as_survived(tmp_path: Path):
    killed, accepted, equivalent, invalid = find_mutants("a.py", CODE)[:4]
    entry = '[[survivor]]\nmutant = "{}"\ndecision = "{}"\nreason = "{}"\n'
    kept = tmp_path / "decisions.toml"
    kept.write_text(entry.format(accepted.key, "accepted", "small") + entry.format(equivalent.key, "equivalent", "so"))
    decisions = read_decisions(kept)
    results = [
        Result(killed, "timed out"),
        Result(accepted, "survived"),
        Result(equivalent, "survived"),
        Result(invalid, "invalid"),
    ]
    assert score(results, decisions) == 50.0
    kept.write_text(entry.format(accepted.key, "accepted", " "))
    with pytest.raises(ValueError, match="a reason"):
        read_decisions(kept)


def test_every_decision_of_the_project_is_explained():
    assert read_decisions()
