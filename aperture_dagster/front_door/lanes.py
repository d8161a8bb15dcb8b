"""Threads of the front door, in lanes: work of one kind cannot make another kind wait."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from aperture_dagster.texts import marked

T = TypeVar("T")
BUSY = marked("There is too much to do at the moment. Try again in a few seconds.")


class Lane:
    """A few threads for one kind of work, and room for a number of calls that wait for one of them.

    Args:
        threads: calls at once.
        waiting: calls that may wait; 0 for what waits for a service, since that may take long.
        of_client: calls of one client at once, waiting ones included; None is any number.
        seconds: how long a caller waits for the result. The call goes on, and keeps its thread.
    """

    def __init__(
        self, threads: int, *, waiting: int = 0, of_client: int | None = None, seconds: float | None = None
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, "front-door")
        self._most, self._of_client, self._seconds = threads + waiting, of_client, seconds
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    async def run(self, function: Callable[..., T], *arguments: Any, client: str = "") -> T:
        """Call a function in a thread, and return its result.

        Raises:
            HTTPException: 503 at once if there is no room.
            TimeoutError: the result takes too long.
        """
        with self._lock:
            is_greedy = self._of_client is not None and self._taken[client] >= self._of_client
            if is_greedy or self._taken.total() >= self._most:
                raise HTTPException(503, BUSY, {"retry-after": "5"})
            self._taken[client] += 1
        future = self._pool.submit(contextvars.copy_context().run, function, *arguments)
        future.add_done_callback(lambda _: self._release(client))
        return await self._result(future)

    async def _result(self, future: Future[T]) -> T:
        async with asyncio.timeout(self._seconds):
            # A call that has not begun when the time is over never does.
            return await asyncio.wrap_future(future)

    def _release(self, client: str) -> None:
        with self._lock:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
