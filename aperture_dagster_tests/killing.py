"""Kill the work of a test at a given step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@contextmanager
def killed_at(steps: Sequence[tuple[Any, str]], step: int) -> Iterator[list[str]]:
    """Kill at the n-th half step: before a step on odd numbers, right after it on even ones; yields the steps so far.

    ``steps`` are the methods that count, each with the class that has it.
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
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)
