"""The lock around operations on the state."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from aperture_dagster.simulator.catalogue import Catalogue
    from aperture_dagster.simulator.clock import Clock
    from aperture_dagster.simulator.item import Item
    from aperture_dagster.simulator.libraries import LibraryBook
    from aperture_dagster.simulator.lists import Lists
    from aperture_dagster.simulator.scans import Scans
    from aperture_dagster.simulator.seerr.book import SeerrBook
    from aperture_dagster.simulator.sharing import UserDataSharing
    from aperture_dagster.simulator.trakt.book import TraktBook
    from aperture_dagster.simulator.user_data import ServerUser
    from aperture_dagster.simulator.world import WorldTitle


class Operations:
    """The parts of the state that its operations use, and what is done before and after each of them."""

    lock: threading.RLock
    clock: Clock
    scans: Scans
    sharing: UserDataSharing
    catalogue: Catalogue
    libraries: LibraryBook
    lists: Lists
    titles: dict[str, WorldTitle]
    users: dict[str, ServerUser]
    pictures: dict[tuple[str, str, str], Any]
    """Pictures uploaded to the media server, by ``studio`` or ``item``, its name or id, and the type of image."""
    deleted_paths: list[str]
    """Files and folders of titles that clients deleted, in order."""
    trakt: TraktBook
    seerr: SeerrBook

    def user_named(self, name: str) -> ServerUser:
        """Return the user of exactly this name. Raises KeyError when there is none."""
        raise NotImplementedError

    def owner(self, name: str) -> ServerUser:
        """Return the user of this name. Raises ValueError."""
        raise NotImplementedError

    def log_play(self, user: ServerUser, item: Item, at: float) -> None:
        """Add the end of a play to the activity log."""
        raise NotImplementedError


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Operations)


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
