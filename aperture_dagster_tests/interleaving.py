"""Forced interleavings for tests of races.

Chance rarely finds the order of events in which a missing lock loses. These helpers force it: one side stops at a named
point, such as a statement, and goes on only when the other side waits for a lock or has done its work. With the lock,
both then leave the right outcome; without it, the test fails every time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import psycopg
import pytest
from sqlalchemy import Engine, event

from aperture_dagster_tests.waiting import SECONDS, wait_for

POLL_SECONDS = 0.005

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

# Waiting for a lock of any kind: advisory, of a table, of a row, or for another transaction.
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND pid <> pg_backend_pid()"
)


class Side(Generic[T]):
    """One side of a race, in a thread that begins at once."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        # A test that fails must not wait for a side that hangs.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error

    @property
    def is_over(self) -> bool:
        """Whether the work is done or has failed."""
        return not self._thread.is_alive()

    def result(self, seconds: float = SECONDS) -> T:
        """Wait so long for the end, and return the result; raises what the work raised."""
        self._thread.join(seconds)
        assert self.is_over, "one side of the race hangs"
        if self._error is not None:
            raise self._error
        return self._result[0]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    wait_for(condition, f"never happened: {what}", pause=POLL_SECONDS)


def wait_until_blocked(url: str, *sides: Side[Any]) -> None:
    """Return when each side waits for a lock in the database of a URL, or is over."""
    with psycopg.connect(re.sub(r"\+\w+", "", url, count=1), autocommit=True) as connection:

        def are_blocked() -> bool:
            left = sum(not side.is_over for side in sides)
            (blocked,) = connection.execute(BLOCKED).fetchone() or (0,)
            return blocked >= left

        wait_until(are_blocked, "a side waits for a lock, or ends")


def wait_until_blocked_by_file(path: Path, *sides: Side[Any]) -> None:
    """Return when each side waits for the lock of a file, or is over."""
    inode = path.stat().st_ino

    def are_blocked() -> bool:
        left = sum(not side.is_over for side in sides)
        return sum(_waits_for(inode, line) for line in Path("/proc/locks").read_text().splitlines()) >= left

    wait_until(are_blocked, f"a side waits for {path}, or ends")


def _waits_for(inode: int, line: str) -> bool:
    return "->" in line and f":{inode} " in line


class WatchedLock:
    """A lock of threads that tells when a thread has to wait for it."""

    def __init__(self) -> None:
        self._lock, self._wanted = threading.Lock(), threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._wanted.set()
            assert self._lock.acquire(timeout=SECONDS), "nobody released the lock"

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_until_wanted(self, side: Side[Any]) -> None:
        """Wait until a side waits for the lock, or is over."""
        wait_until(lambda: self._wanted.is_set() or side.is_over, "a side waits for the lock, or ends")


class Stop:
    """A point at which the first thread that comes there stops until :meth:`go_on`; others pass."""

    def __init__(self) -> None:
        self._taken, self._lock = False, threading.Lock()
        self._reached, self._released = threading.Event(), threading.Event()

    def arrive(self) -> None:
        """Stop here if this thread is the first one."""
        with self._lock:
            first, self._taken = not self._taken, True
        if first:
            self._reached.set()
            assert self._released.wait(SECONDS), "nobody let the stopped side go on"

    def wait_for(self, side: Side[Any]) -> None:
        """Wait until a side has stopped here."""
        wait_until(lambda: self._reached.is_set() or side.is_over, "a side comes to the point where it stops")
        if not self._reached.is_set():
            side.result(SECONDS)
            raise AssertionError("the side ended without coming to the point where it should stop")

    def go_on(self) -> None:
        """Let the stopped side go on."""
        self._released.set()


@contextmanager
def stop_before_statement(part: str) -> Iterator[Stop]:
    """Stop the first thread that is about to execute a statement that contains ``part``, in any database."""
    stop = Stop()

    def arrive(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if part in statement:
            stop.arrive()

    event.listen(Engine, "before_cursor_execute", arrive)
    try:
        yield stop
    finally:
        stop.go_on()
        event.remove(Engine, "before_cursor_execute", arrive)


@contextmanager
def count_statements(part: str) -> Iterator[Callable[[], int]]:
    """Yield a function that returns how often a statement that contains ``part`` was executed, in any database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if part in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield lambda: len(seen)
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@contextmanager
def stop_at(owner: Any, name: str) -> Iterator[Stop]:
    """Stop the first thread that is about to call ``owner.name``."""
    stop, whole = Stop(), getattr(owner, name)

    def stopping(*arguments: Any, **options: Any) -> Any:
        stop.arrive()
        return whole(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, stopping)
        try:
            yield stop
        finally:
            stop.go_on()


def race(url: str, stop: Stop, first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Let the first side come to the point where it stops, then the second one as far as it gets, then both end."""
    one = Side(first)
    stop.wait_for(one)
    other = Side(second)
    wait_until_blocked(url, other)
    stop.go_on()
    return one.result(SECONDS), other.result(SECONDS)
