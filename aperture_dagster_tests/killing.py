"""Kill the work of a test at a given step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest


class Killed(BaseException):
    """The process is gone: nothing catches this."""


def end_process() -> NoReturn:
    """Kill this process, as the kernel does when memory is low: nothing is closed, and nobody is notified."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


@contextmanager
def killed_at(steps: Sequence[tuple[Any, str]], step: int) -> Iterator[list[str]]:
    """Kill at the n-th half step: before a step on odd numbers, right after it on even ones; yields the steps so far.

    ``steps`` are the methods that count, each with the class that has it. Without a number (0), they are only counted.
    """
    done: list[str] = []

    def guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            done.append(name)
            if len(done) * 2 - 1 == step:
                raise Killed(name)
            result = original(*arguments, **options)
            if len(done) * 2 == step:
                raise Killed(name)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in steps:
            patch.setattr(owner, name, guarded(f"{owner.__name__}.{name}", getattr(owner, name)))
        yield done


def die_at(owner: Any, name: str, when: str = "after") -> None:
    """Let this process be killed for real ``before`` or ``after`` a function of a module or class is called."""
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        if when == "after":
            original(*arguments, **options)
        end_process()

    setattr(owner, name, call)
