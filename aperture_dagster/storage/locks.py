"""File locks that prove that a process is alive.

A lock belongs to an open file description, and the kernel releases it when the last process that has it open ends,
however it ends. It is seen from every container that shares the file, where a process id would mean somebody else.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_held: set[int] = set()


class LocksUnsupported(OSError):
    """The filesystem refuses locks, or grants them to everybody."""


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """Lock a file, which is created if it is missing, until :func:`release` or the end of this process.

    Programs that this process starts do not inherit the lock, unless they are handed the descriptor on purpose.

    Returns:
        The descriptor that holds the lock; None if somebody else holds it and ``wait`` is false.

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
        except BlockingIOError:
            release(descriptor)
            return None
        except BaseException:
            release(descriptor)
            raise
        if is_at(descriptor, path):
            return descriptor
        # Removed between opening and locking it: whoever comes next would lock another file.
        release(descriptor)


def upgrade(descriptor: int) -> bool:
    """Try to turn a shared lock into an exclusive one without waiting; on failure the shared one may be lost, too."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def release(descriptor: int) -> None:
    """Close the descriptor; the lock ends with it unless another process was handed a copy."""
    _held.discard(descriptor)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds an exclusive lock on the file; False if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at once do not see each other.
        _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to the locked file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def require_working_locks(path: Path) -> None:
    """Try whether a lock that this process holds exclusively keeps others out.

    Raises:
        LocksUnsupported: it does not; some network filesystems grant every lock.
    """
    again = acquire(path, wait=False)
    if again is not None:
        release(again)
        raise _unsupported(path)


def _flock(descriptor: int, mode: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, mode)
    except BlockingIOError:
        raise
    except OSError:
        raise _unsupported(path) from None


def _unsupported(path: Path) -> LocksUnsupported:
    return LocksUnsupported(
        f"{path.parent} is on a filesystem without working file locks (a network share, perhaps): "
        "set APERTURE_HOME to a folder on a local disk."
    )


def _forget_after_fork() -> None:
    """Close what a forked child inherited: the lock is its parent's, and must not outlive it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
