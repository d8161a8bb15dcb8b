"""Observe which lines of the product each test executes, by coverage.py with a context per test."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from aperture_dagster_tests.mutants.worker import digest, pytest_options, quick_hypothesis

SHARED = "shared:"
# What tests share although it is no fixture: the method that makes it, and the fixture by which tests get it.
MADE_ONCE = {"aperture_dagster_tests.settled:Templates._make": "templates"}


class Observer:
    """A plugin that switches coverage's context: to the test, or to the fixture that several tests share."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._context = ""
        self.costs: dict[str, float] = {}
        self.failed: set[str] = set()
        self.skipped: set[str] = set()
        self.fixtures: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def context(self, name: str) -> Iterator[None]:
        """Attribute what is executed to a context."""
        before, self._context = self._context, name
        self._measured.switch_context(name)
        try:
            yield
        finally:
            self._context = before
            self._measured.switch_context(before)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Observe a test."""
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", ()))
        before = _cpu()
        with self.context(item.nodeid):
            result = yield
        self.costs[item.nodeid] = round(_cpu() - before, 3)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """Observe a fixture that outlives one test."""
        if request.scope == "function":
            return (yield)
        with self.context(SHARED + fixturedef.argname):
            return (yield)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note tests that do not pass: they cannot judge a mutant."""
        if report.failed:
            self.failed.add(report.nodeid)
        if report.skipped:
            self.skipped.add(report.nodeid)

    def share(self, place: str, fixture: str) -> None:
        """Attribute what a method does to all tests that use a fixture."""
        module_name, _, attribute = place.partition(":")
        class_name, _, method_name = attribute.partition(".")
        try:
            owner = getattr(importlib.import_module(module_name), class_name)
            method = getattr(owner, method_name)
        except (ImportError, AttributeError):
            return

        def observed(*arguments: Any, **keywords: Any) -> Any:
            with self.context(SHARED + fixture):
                return method(*arguments, **keywords)

        setattr(owner, method_name, observed)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def observe(file: str, into: Path) -> dict[str, Any]:
    """Run a file of tests; write the cost of each test, and the lines of each module that it executes."""
    package = Path("aperture_dagster").resolve()
    measured = coverage.Coverage(data_file=None, source=[str(package)], config_file=False, messages=False)
    observer = Observer(measured)
    started = time.monotonic()
    measured.start()
    quick_hypothesis()
    for place, fixture in MADE_ONCE.items():
        observer.share(place, fixture)
    code = pytest.main([*pytest_options(), file], [observer])
    measured.stop()
    if code not in (0, 1, 5):
        return {"code": int(code)}
    passed = [test for test in observer.costs if test not in observer.failed | observer.skipped]
    data = measured.get_data()
    lines = {
        Path(module).relative_to(package.parent).as_posix(): data.contexts_by_lineno(module)
        for module in data.measured_files()
    }
    written = {
        "file": file,
        "costs": {test: observer.costs[test] for test in passed},
        "lines": _by_test(lines, passed, observer.fixtures),
        # The observation is outdated when one of these changes.
        "state": {name: digest(Path(name)) for name in (file, *lines)},
    }
    part = into.with_suffix(".part")
    with gzip.open(part, "wt", encoding="utf-8") as stream:
        json.dump(written, stream)
    part.rename(into)
    return {
        "code": int(code),
        "tests": len(passed),
        "failed": sorted(observer.failed)[:20],
        "seconds": time.monotonic() - started,
    }


def _by_test(
    lines: dict[str, dict[int, list[str]]], passed: list[str], fixtures: dict[str, list[str]]
) -> dict[str, dict[str, list[list[int]]]]:
    """Return, by module and line, the numbers of the tests: those that execute it, and those that share what did."""
    number = {test: place for place, test in enumerate(passed)}
    users: dict[str, list[int]] = defaultdict(list)
    for test, names in fixtures.items():
        for name in names:
            if test in number:
                users[SHARED + name].append(number[test])
    found: dict[str, dict[str, list[list[int]]]] = {}
    for module, contexts in lines.items():
        found[module] = {}
        for line, names in contexts.items():
            own = {number[name] for name in names if name in number}
            shared = {place for name in names if name.startswith(SHARED) for place in users[name]} - own
            found[module][str(line)] = [sorted(own), sorted(shared), [1] if "" in names else []]
    return found
