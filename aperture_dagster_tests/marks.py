"""Marks that several files of tests use."""

import pytest

ANOTHER_CASE = pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.", instead="the same test in another case"
)
