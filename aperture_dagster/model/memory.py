"""Memory of the process."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back_memory() -> None:
    """Give memory that is free by now back to the system, after something that took much of it for a moment.

    The allocator of glibc keeps it otherwise: 90 MB after the index of 10,000 titles was made. Other systems have no
    such function.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
