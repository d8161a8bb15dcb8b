"""Find the mutants of a module: every place where an operator applies, less those where a change proves nothing."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from aperture_dagster_tests.mutants.operators import OPERATORS

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Keywords of calls whose value is shown to a person, or is a habit of style without effect on a result.
IGNORED_KEYWORDS = frozenset({"description", "strict", "frozen", "slots", "kw_only", "stacklevel"})
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})


@dataclass(frozen=True)
class Mutant:
    """One change: the operator's ``occurrence``-th place in a file."""

    path: str
    """Relative to the project, with slashes."""
    operator: str
    occurrence: int
    start: tuple[int, int]
    end: tuple[int, int]
    function: str
    """Qualified name of the function that contains it; empty at the top of a module."""
    text: str
    """The line that it changes, stripped."""
    ordinal: int
    """Its number among those with the same operator on the same line of the same function."""

    @property
    def key(self) -> str:
        """A name that survives changes elsewhere in the file."""
        parts = (self.path, self.function, self.text, self.operator, str(self.ordinal))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]

    def apply(self, source: str) -> str | None:
        """Return the mutated source; None if nothing changed, or it does not compile."""
        mutated = mutate_code(source, OPERATORS[self.operator], self.occurrence)
        if mutated is None:
            return None
        try:
            same = ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source))
            compile(mutated, self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return None
        return None if same else mutated


def find_mutants(path: str, source: str) -> list[Mutant]:
    """Return the mutants of a module."""
    layout = Layout(source)
    tree = get_ast(source)
    lines = source.splitlines()
    found: list[Mutant] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    nodes = list(ast_nodes(tree))
    for name, operator in OPERATORS.items():
        positions = ((node, place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (node, (start, end)) in enumerate(positions):
            if _redundant(name, node) or layout.ignored(start):
                continue
            function = layout.function_at(start)
            if not function and name.startswith("ReplaceBinaryOperator_Bit"):
                continue  # An alias of types.
            text = lines[start[0] - 1].strip()
            ordinal = seen[function, text, name]
            seen[function, text, name] += 1
            found.append(Mutant(path, name, occurrence, start, end, function, text, ordinal))
    return found


def _redundant(operator: str, node: Any) -> bool:
    """Whether another operator makes the same change, or the place is no expression."""
    if operator.startswith("ReplaceBinaryOperator"):
        return node.parent.type in ("parameters", "lambdef")
    if operator == "AddNot":
        condition = node.children[2] if node.type == "test" else node.children[1]
        return condition.type == "not_test" or _single_comparison(condition)
    if operator == "NegateComprehensionCondition":
        return _single_comparison(node.children[1])
    return False


def _single_comparison(node: Any) -> bool:
    return node.type == "comparison" and len(node.children) == 3


class Layout:
    """What is where in a source: functions, and ranges that are not mutated.

    Positions are those of parso: a line from 1, and a column in characters.
    """

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self._lines = source.splitlines()
        self._functions: list[tuple[str, Function]] = []
        self._ignored: list[ast.AST] = []
        self._walk(self.tree, "")

    def _walk(self, node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    self._functions.append((name, child))
            self._ignored += _ignored_parts(child)
            self._walk(child, name)

    def _contains(self, node: Any, position: tuple[int, int]) -> bool:
        line, column = position
        place = line, len(self._lines[line - 1][:column].encode())
        first = min((one.lineno for one in getattr(node, "decorator_list", ())), default=node.lineno)
        start = (first, 0) if first < node.lineno else (node.lineno, node.col_offset)
        return start <= place < (node.end_lineno, node.end_col_offset)

    def ignored(self, position: tuple[int, int]) -> bool:
        """Whether a change at this position proves nothing."""
        return any(self._contains(node, position) for node in self._ignored)

    def function_at(self, position: tuple[int, int]) -> str:
        """Return the qualified name of the innermost function at a position."""
        around = [name for name, node in self._functions if self._contains(node, position)]
        return around[-1] if around else ""


def _ignored_parts(node: ast.AST) -> Iterable[ast.AST]:
    """Return the parts of a node in which nothing is mutated."""
    match node:
        case ast.arg(annotation=ast.AST() as annotation) | ast.AnnAssign(annotation=annotation):
            return [annotation]
        case ast.FunctionDef(returns=ast.AST() as returns) | ast.AsyncFunctionDef(returns=ast.AST() as returns):
            return [returns]
        case ast.Raise():
            # What an error says; whether it is raised depends on statements around it.
            return [node]
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return [node]
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return [node]
        case ast.keyword(arg=name) if name in IGNORED_KEYWORDS:
            return [node]
        case ast.Call(func=ast.Attribute(attr=method, value=owner)) if method in LOG_METHODS and _is_log(owner):
            return [node]
        case ast.ClassDef():
            return [one for one in node.decorator_list if "dataclass" in ast.unparse(one)]
        case ast.Import() | ast.ImportFrom():
            return [node]
    return []


def _is_log(owner: ast.expr) -> bool:
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name.strip("_").lower() in ("log", "logger", "logging")


def sample(mutants: Iterable[Mutant], size: int, seed: int) -> list[Mutant]:
    """Draw mutants by chance: those whose hashed keys are smallest.

    Unlike a draw by position, it stays nearly the same when code or operators change elsewhere.
    """

    def rank(mutant: Mutant) -> str:
        return hashlib.sha256(f"{seed}\0{mutant.key}".encode()).hexdigest()

    return sorted(mutants, key=rank)[:size]
