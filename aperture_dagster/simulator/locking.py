"""The lock around operations on the state."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from aperture_dagster.simulator.scans import Scans
    from aperture_dagster.simulator.sharing import UserDataSharing


class Lockable(Protocol):
    """What an operation needs: the lock, and what is done before and after it."""

    lock: threading.RLock
    scans: Scans
    sharing: UserDataSharing


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Lockable)


def locked(operation: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Make a method an operation of the state, which takes the lock, and can be called over HTTP."""

    @wraps(operation)
    def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self.lock:
            self.scans.pump()
            try:
                return operation(self, *args, **kwargs)
            finally:
                self.sharing.settle()

    guarded.is_operation = True  # type: ignore[attr-defined]
    return guarded
