"""A test that ``make test`` leaves out says why, and which test of the same outcome it keeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from aperture_dagster_tests.conftest import PROJECT

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
NEEDS = {"needs_root", "needs_namespaces", "needs_network_namespaces"}


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def nightly_marks(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield each ``pytest.mark.nightly``, with its arguments if it has any."""
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.nightly":
            yield called.get(id(node), node)


def words_of(mark: ast.expr) -> dict[str | None, str]:
    given = mark.keywords if isinstance(mark, ast.Call) else []
    return {one.arg: str(one.value.value) for one in given if isinstance(one.value, ast.Constant)}


def always_run(path: Path) -> set[str]:
    """Return the tests of a file that have no mark ``nightly`` of their own, nor with the whole file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]
    if any(list(nightly_marks(node)) for node in whole):
        return set()
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        # A mark inside of a ``parametrize`` leaves other parameters.
        and not any(ast.unparse(one).startswith(("pytest.mark.nightly", "long")) for one in node.decorator_list)
    }


def problem(words: dict[str | None, str]) -> str | None:
    """Return what is missing in the arguments of a mark ``nightly``."""
    if len(words.get("reason", "").split()) < 4:
        return "reason: why is it too long for every run?"
    named = words.get("instead", "")
    if "::" in named:
        file, _, test = named.partition("::")
        return None if test in always_run(TESTS / file) else f"instead: {named} is no test that make test runs"
    # Other parameters of the test itself.
    return None if named.startswith("the same test") else "instead: which test of every run asserts the same outcome?"


def test_a_nightly_test_says_why_and_names_a_test_of_the_same_outcome_that_always_runs():
    # Most files have no such mark, and need not be parsed.
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    marks = {
        f"{name_of(path)}:{mark.lineno}": words_of(mark)
        for path, text in texts.items()
        if "nightly" in text
        for mark in nightly_marks(ast.parse(text))
    }
    assert marks
    problems = {place: problem(words) for place, words in marks.items()}
    assert {place: found for place, found in problems.items() if found} == {}


def test_nightly_tests_are_left_out_unless_asked_for(pytestconfig: pytest.Config):
    # ``make test`` gives no ``-m``.
    assert "-m not nightly" in " ".join(pytestconfig.getini("addopts"))


def test_every_test_that_needs_root_or_namespaces_is_listed_in_the_documentation():
    listed = (PROJECT / "docs" / "testing.md").read_text(encoding="utf-8")
    needy = {
        node.name
        for path in FILES
        if "needs_" in (text := path.read_text(encoding="utf-8"))
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and NEEDS & {ast.unparse(one) for one in node.decorator_list}
    }
    assert needy
    assert {name for name in needy if f"`{name}`" not in listed} == set()
