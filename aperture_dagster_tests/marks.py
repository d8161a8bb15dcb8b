"""Marks that several files of tests use."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

MISSING = "is missing: apt-get install"
"""What tells that a test is skipped for want of a program; the end of a run counts these."""


def why_missing(program: str, package: str) -> str:
    """Return why a test that needs a program is skipped, with the package of Debian that has it."""
    return f"{program} {MISSING} {package}"


def needs_program(program: str, package: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=why_missing(program, package))


ANOTHER_CASE = pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.", instead="the same test in another case"
)


def at_night(*cases: Any) -> list[Any]:
    """Return cases of a parameter, such as versions of a server, that only ``make nightly`` tests."""
    return [pytest.param(case, marks=ANOTHER_CASE) for case in cases]
