"""The mutation tests themselves: what is changed and what is not, which tests run, and what becomes of a mutant."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.mutating import mutate_code

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.mutants import parts
from aperture_dagster_tests.mutants.decisions import read_decisions
from aperture_dagster_tests.mutants.mutations import Mutant, find_mutants, sample
from aperture_dagster_tests.mutants.operators import OPERATORS, OWN
from aperture_dagster_tests.mutants.reach import Reach
from aperture_dagster_tests.mutants.report import describe, score
from aperture_dagster_tests.mutants.session import Result, open_session
from aperture_dagster_tests.mutants.workers import PREFIX, remove_abandoned


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("InvertMembership", "x in y", "x not in y"),
        ("InvertMembership", "x not in y", "x in y"),
        ("NegateComprehensionCondition", "[x for x in y if x and z]", "[x for x in y if not (x and z)]"),
        ("SwapFunction", "min(x)", "max(x)"),
        ("SwapFunction", "any(x)", "all(x)"),
        ("RemoveSort", "sorted(x, key=f)", "list(x)"),
        ("RemoveSort", "sorted(x)", "list(x)"),
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


def test_every_part_has_mutants_and_checks_are_found_wherever_they_are():
    found = {part: parts.mutants_of(PROJECT, part) for part in ("checks", "conditions")}
    assert all(found.values())
    assert "aperture_dagster/defs/maintenance/backup.py" in {one.path for one in found["checks"]}
    assert not {one.key for one in found["checks"]} & {one.key for one in found["conditions"]}


RUN = """
import json, sys
import hypothesis
from aperture_dagster_tests.mutants.worker import answer
print(json.dumps([answer(one) for one in json.load(sys.stdin)]))
"""


@pytest.mark.nightly(
    reason="A process that loads pytest, and a mutant that runs into its limit.",
    instead="test_mutants.py::test_the_tests_of_a_mutant_are_those_that_execute_its_line_cheapest_first_within_a_budget",
)
def test_a_mutant_is_killed_survives_or_times_out(tmp_path: Path):
    source = "def bounded(x):\n    while x > 9:\n        x -= 1\n    return x\n"
    (tmp_path / "toy.py").write_text(source)
    (tmp_path / "test_toy.py").write_text(
        "import toy\n\ndef test_small():\n    assert toy.bounded(3) == 3\n\n"
        "def test_large():\n    assert toy.bounded(12) == 9\n"
    )
    small, large = "test_toy.py::test_small", "test_toy.py::test_large"
    mutants = {one.operator: one for one in find_mutants("toy.py", source)}
    endless, bound = mutants["InvertAugmentedAssignment"], mutants["ReplaceComparisonOperator_Gt_GtE"]

    def request(mutant: Mutant | None, *stages: list[str]) -> dict[str, Any]:
        mutated = mutant.apply(source) if mutant else None
        return {"path": "toy.py", "source": mutated, "stages": stages, "cpu": 1, "wall": 120}

    requests = [
        request(None, [small], [large]),
        request(bound, [small]),
        request(bound, [small], [large]),
        request(endless, [large]),
        {**request(None, [small]), "source": "raise OSError\n"},
    ]
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    original, survived, killed, late, broken = json.loads(done.stdout)
    assert (original["code"], original["ran"]) == (0, 2)
    assert (survived["code"], survived["failed"]) == (0, None)
    assert killed["failed"] == large
    assert late["timed_out"]
    assert broken["failed"] == "test_toy.py"
    assert (tmp_path / "toy.py").read_text() == source


def observed(folder: Path, test_file: str, costs: dict[str, float], lines: dict[str, Any]) -> None:
    name = test_file.replace("/", "--") + ".json.gz"
    with gzip.open(folder / name, "wt", encoding="utf-8") as stream:
        json.dump({"costs": costs, "lines": lines}, stream)


def test_the_tests_of_a_mutant_are_those_that_execute_its_line_cheapest_first_within_a_budget(tmp_path: Path):
    module, tests = "aperture_dagster/ranking/toy.py", "aperture_dagster_tests/ranking/test_toy.py"
    for name, text in ((module, "TOP = 3\n\n\ndef best(x):\n    return x[:TOP]\n"), (tests, "")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    names = [f"{tests}::test_{name}" for name in ("slow", "quick", "other", "late")]
    costs = dict(zip(names, (2.0, 0.1, 0.1, 50.0), strict=True))
    observed(tmp_path, tests, costs, {module: {"1": [[], [], [1]], "4": [[], [], [1]], "5": [[0, 1, 3], [2], []]}})
    reach = Reach(tmp_path, tmp_path)
    reach.load(("ranking",))
    # The constant is read when the module is imported; tests of the function that uses it can notice.
    number = find_mutants(module, (tmp_path / module).read_text())[0]
    choice = reach.choose(number, budget=20)
    assert (choice.tests, choice.left_out) == ([names[1], names[0], names[2]], 1)
    assert [len(stage) for stage in choice.stages] == [1, 2]
    assert reach.choose(number, budget=20, without=names[:2]).tests == [names[2]]


def test_a_session_goes_on_where_it_stopped_and_begins_again_when_the_code_changed(tmp_path: Path):
    for folder in (parts.PACKAGE, parts.TESTS):
        (tmp_path / folder).mkdir()
    mutants = find_mutants("a.py", CODE)
    file = tmp_path / "kept" / "one.sqlite"
    with open_session(file, tmp_path, mutants, keep=False) as session:
        session.record(mutants[0], Result("killed", by="a test", rounds=1))
        session.record(mutants[1], Result("survived", rounds=1))
        session.record(mutants[2], Result("survived", rounds=len(parts.ROUNDS)))
    with open_session(file, tmp_path, mutants, keep=False) as session:
        assert session.results()[mutants[0].key] == Result("killed", by="a test", rounds=1)
        assert session.pending() == [mutants[1], *mutants[3:]]
    (tmp_path / parts.TESTS / "test_new.py").touch()
    (tmp_path / parts.TESTS / "test_new.py").write_text("1")
    with open_session(file, tmp_path, mutants, keep=True) as session:
        assert len(session.results()) == 3
    (tmp_path / parts.TESTS / "test_new.py").write_text("2")
    with open_session(file, tmp_path, mutants, keep=False) as session:
        assert session.pending() == mutants


def test_copies_of_a_killed_run_are_removed_by_the_next(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned, used = (tmp_path / f"{PREFIX}{pid}-x" for pid in (ended.pid, os.getpid()))
    abandoned.mkdir()
    used.mkdir()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [used]


def test_an_equivalent_mutant_does_not_count_and_an_accepted_one_counts_as_survived(tmp_path: Path):
    killed, accepted, equivalent, invalid = find_mutants("a.py", CODE)[:4]
    entry = '[[survivor]]\nmutant = "{}"\nfile = "a.py"\nchange = "x"\ndecision = "{}"\nreason = "{}"\n'
    kept = tmp_path / "decisions.toml"
    kept.write_text(entry.format(accepted.key, "accepted", "small") + entry.format(equivalent.key, "equivalent", "so"))
    decisions = read_decisions(kept)
    results = [
        (killed, Result("timed out")),
        (accepted, Result("survived")),
        (equivalent, Result("survived")),
        (invalid, Result("invalid")),
    ]
    assert score(results, decisions) == 50.0
    assert "    accepted: small" in describe(accepted, results[1][1], decisions[accepted.key])
    kept.write_text(entry.format(accepted.key, "accepted", " "))
    with pytest.raises(ValueError, match="a reason"):
        read_decisions(kept)


def test_every_decision_of_the_project_has_a_reason():
    assert all(one.file.startswith("aperture_dagster/") for one in read_decisions().values())
