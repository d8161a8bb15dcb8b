"""What comes in from outside, broken at random.

The suite runs a few examples, the same each time; ``make nightly`` runs more, and others.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Of the profile that is loaded: `make nightly` has another one.
FEW = settings(
    max_examples=settings().max_examples * 2 // 5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
"""The settings of every test here."""

_TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", " ", "\0", "a\0b", "\ud800", "N/A", "null", "-1", "٣", "²", "9" * 5000, "0001-01-01T00:00:00Z", "<b>", "../..",
     "9999-12-31T23:59:59.9999999-14:00", "tt", "tt²", "\x1b[2J", "‮", "NaN"]
)  # fmt: skip
_NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, math.inf])
ANYTHING = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
"""Whatever JSON can hold, above all what is rarely thought of."""


@st.composite
def broken(draw: Callable[[Any], Any], whole: Any) -> Any:
    """Return a copy of an answer in which up to four values were removed, repeated, or replaced by anything."""
    changed = {"": copy.deepcopy(whole)}
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(changed))
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(["replace", "remove", "repeat"]))
        if how == "repeat" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif how == "remove" and parent is not changed:
            del parent[key]
        else:
            parent[key] = draw(ANYTHING)
    return changed[""]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Iterable[Any] = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def why_not_storable(value: Any) -> str | None:
    """Say why PostgreSQL would refuse a value of a record, and everything stored with it; None if it takes it."""
    match value:
        # What a text cannot hold is removed where rows are written.
        case None | bool() | datetime() | date() | str() | Decimal():
            return None
        case int():
            return None if -(2**63) <= value < 2**63 else f"{value} is too large"
        case float():
            return None if math.isfinite(value) or math.isnan(value) else f"{value} is no number"
        case dict():
            return next(filter(None, map(why_not_storable, [*value, *value.values()])), None)
        case list() | tuple() | set() | frozenset():
            return next(filter(None, map(why_not_storable, value)), None)
        case _:
            fields = getattr(value, "__slots__", None) or vars(value)
            return why_not_storable([getattr(value, name) for name in fields])
