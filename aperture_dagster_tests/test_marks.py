"""What is not tested for want of a program is said at the end of a run."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
TESTS = """
from aperture_dagster_tests.marks import needs_program

@needs_program("no-such-program", "no-such-package")
def test_one(): ...

@needs_program("no-such-program", "no-such-package")
def test_another(): ...

@needs_program("sh", "dash")
def test_that_has_its_program(): ...
"""


def test_the_last_lines_count_what_is_skipped_and_say_what_to_install(pytester: pytest.Pytester):
    pytester.makeconftest("from aperture_dagster_tests.conftest import pytest_terminal_summary")
    pytester.makepyfile(TESTS)
    lines = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider").outlines
    assert lines[-2] == "2 skipped: no-such-program is missing: apt-get install no-such-package", lines
    assert "1 passed, 2 skipped" in lines[-1]
