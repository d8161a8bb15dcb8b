"""Which changes are made: operators of Cosmic Ray, and a few for idioms that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import parso
from cosmic_ray.plugins import get_operator
from parso.python.tree import Keyword

Position = tuple[tuple[int, int], tuple[int, int]]


class Operator(Protocol):
    """What Cosmic Ray uses of an operator to mutate a source."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the places in a node that can be changed."""
        ...

    def mutate(self, node: Any, index: int) -> Any:
        """Change one of them; return the node that takes its place."""
        ...


# Of the dozens of replacements of an operator, the boundary, the negation and the inverse: any test that reaches the
# line notices the others, which would only dilute the score.
CORE = (
    "NumberReplacer",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "AddNot",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "ZeroIterationForLoop",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in (
            "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
            "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt",
            "Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt",
        )
    ),
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in (
            "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul", "BitOr_BitAnd",
            "BitAnd_BitOr",
        )
    ),
)  # fmt: skip


class InvertMembership:
    """Replaces ``in`` with ``not in``, and the other way round."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the membership operators of a comparison."""
        if node.type == "comparison":
            for _, operator in self._points(node):
                yield operator.start_pos, operator.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Invert one of them."""
        place, operator = list(self._points(node))[index]
        inverse = " not in" if operator.get_code().split() == ["in"] else " in"
        node.children[place] = parso.parse(inverse)
        return node

    @staticmethod
    def _points(node: Any) -> Iterator[tuple[int, Any]]:
        for place in range(1, len(node.children), 2):
            if node.children[place].get_code().split() in (["in"], ["not", "in"]):
                yield place, node.children[place]


class NegateComprehensionCondition:
    """Negates the condition of a comprehension or generator."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the condition."""
        if node.type == "comp_if" and node.children[1].type != "not_test":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Negate it."""
        node.children[1] = parso.parse(f" not ({node.children[1].get_code().strip()})")
        return node


class SwapFunction:
    """Replaces a call of ``min`` with ``max``, of ``any`` with ``all``, and the other way round."""

    SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any"}  # noqa: RUF012

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the name of the function."""
        if _called(node) in self.SWAPS:
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Replace it."""
        node.children[0].value = self.SWAPS[node.children[0].value]
        return node


class RemoveSort:
    """Replaces ``sorted(x, …)`` with ``list(x)``."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the name of the function."""
        if _called(node) == "sorted":
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Replace it, and drop the key."""
        node.children[0].value = "list"
        arguments = node.children[1].children
        if len(arguments) == 3 and arguments[1].type == "arglist":
            arguments[1] = arguments[1].children[0]
        return node


class RemoveCall:
    """Replaces a statement that only calls something with ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the call."""
        if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
            last = node.children[0].children[-1]
            if last.type == "trailer" and last.children[0].value == "(":
                yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Replace it."""
        call = node.children[0]
        node.children[0] = Keyword("pass", call.start_pos, call.get_first_leaf().prefix)
        return node


class InvertAugmentedAssignment:
    """Replaces ``+=`` with ``-=``, ``|=`` with ``&=``, and the other way round."""

    SWAPS = {"+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "*=": "/=", "/=": "*="}  # noqa: RUF012

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the operator."""
        if node.type == "operator" and node.value in self.SWAPS:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Replace it."""
        node.value = self.SWAPS[node.value]
        return node


def _called(node: Any) -> str | None:
    """Return the name of the function that a node calls, if it is a plain name."""
    if node.type not in ("atom_expr", "power") or node.children[0].type != "name":
        return None
    first = node.children[1]
    return node.children[0].value if first.type == "trailer" and first.children[0].value == "(" else None


OWN: tuple[type[Operator], ...] = (
    InvertMembership,
    NegateComprehensionCondition,
    SwapFunction,
    RemoveSort,
    RemoveCall,
    InvertAugmentedAssignment,
)

OPERATORS: dict[str, Operator] = {
    **{name: get_operator(f"core/{name}")() for name in CORE},
    **{one.__name__: one() for one in OWN},
}
"""All operators by name."""
