"""Operations on the shared state, which take its lock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Lockable(Protocol):
    """What has a lock."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The lock, which is reentrant."""
        ...


_S = TypeVar("_S", bound=Lockable)


def locked(operation: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Make a method take the lock, and let other processes call it (see `control`)."""

    @wraps(operation)
    def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self.lock:
            return operation(self, *args, **kwargs)

    guarded.is_operation = True  # type: ignore[attr-defined]
    return guarded
