"""What every Python of ``tools/dates.py`` does first: sleep as ``select`` does.

libfaketime 0.9.10 with a monotonic clock that is left alone makes an invalid time of what ``time.sleep`` asks for since
Python 3.11, an absolute one, so that each call fails.
"""

import select
import time


def sleep(seconds: float, /) -> None:
    """Return after so many seconds; raises ValueError if they are negative, as :func:`time.sleep` does."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
