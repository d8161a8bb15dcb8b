"""Marks that several files of tests use."""

from __future__ import annotations

from typing import Any

import pytest

ANOTHER_CASE = pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.", instead="the same test in another case"
)


def at_night(*cases: Any) -> list[Any]:
    """Return cases of a parameter, such as versions of a server, that only ``make nightly`` tests."""
    return [pytest.param(case, marks=ANOTHER_CASE) for case in cases]
