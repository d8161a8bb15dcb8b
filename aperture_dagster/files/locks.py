"""File locks that show whether a process is running, in every container that shares the file.

The kernel releases a lock when the last process with its open file description exits, even if it is killed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: set[int] = set()


class LocksUnsupported(OSError):
    """The filesystem refuses locks, or grants conflicting ones."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.parent} is on a filesystem without working file locks (a network share, perhaps): "
            "set APERTURE_HOME to a folder on a local disk."
        )


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """Lock a file, which is created if it is missing, until :func:`release` or the end of this process.

    Returns the descriptor that holds the lock, or None if another process holds it and ``wait`` is false. Child
    processes inherit the lock only if they are passed the descriptor explicitly.

    Raises:
        LocksUnsupported: the filesystem has no locks.
        OSError: the file cannot be opened.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        _held.add(descriptor)
        try:
            _flock(descriptor, mode, path)
        except BaseException as error:
            release(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if is_at(descriptor, path):
            return descriptor
        # The file was deleted between opening and locking it: the next process would lock a new file.
        release(descriptor)


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock of a file, which this process waits for, during the block; yields the descriptor."""
    descriptor = acquire(path)
    assert descriptor is not None
    try:
        yield descriptor
    finally:
        release(descriptor)


def upgrade(descriptor: int) -> bool:
    """Try to make a shared lock exclusive without waiting. On failure, the shared lock may be lost, too."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def release(descriptor: int) -> None:
    """Close the descriptor. This releases the lock unless another process has a copy."""
    _held.discard(descriptor)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether a process holds an exclusive lock on the file; False if the file does not exist."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that concurrent calls do not block each other.
        _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether the path still leads to the locked file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def require_working_locks(path: Path) -> None:
    """Verify that an exclusive lock held by this process is exclusive.

    Raises:
        LocksUnsupported: it is not; some network filesystems grant every lock.
    """
    again = acquire(path, wait=False)
    if again is not None:
        release(again)
        raise LocksUnsupported(path)


def _flock(descriptor: int, mode: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, mode)
    except BlockingIOError:
        raise
    except OSError:
        raise LocksUnsupported(path) from None


def _forget_after_fork() -> None:
    """Close inherited descriptors in a forked child: its parent's locks must not outlive the parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
