"""How many requests a service gets in any stretch of time: close to what it allows, and never more."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable

# What is lost of the rate, as shares of the period. SLACK: how much later than planned the last of two requests goes.
SLACK = 0.005
# How long after its sending a request may have come, where its answer does not tell.
ALLOWANCE = 0.025
# Where it does not, requests follow each other by so much more than the period, ...
PACE = 0.04
# ... and one that went later than that is made up for, up to so much: threads wake late, and each time for ever.
CATCH_UP = 0.1
LEAST_SLACK_SECONDS = 0.002
LOOK_AGAIN_SECONDS = 0.005
ANSWERS_REMEMBERED = 64
ANSWERS_TO_KNOW = 5
# Three of four answers come within the usual time; were it more, a service's short stop would soon look usual.
USUAL_SHARE = 0.75


class Turn:
    """One request's place within a limit.

    ``due``: when it was to go by the pace. ``at``: the latest moment at which the service can have got it; None until
    it has left. ``exact``: that is known, not estimated.
    """

    __slots__ = ("at", "due", "exact", "sent")

    def __init__(self, due: float, at: float | None = None) -> None:
        self.due = self.sent = due
        self.at = at
        self.exact = at is not None


class RateLimit:
    """At most ``requests`` arrivals in any window of ``period_seconds``, across all threads that share this limit.

    A sliding window over the last ``requests`` turns: it works at the limit, not below it, and a burst at a window's
    edge cannot exceed it, as it could with counters that reset. Each turn follows the one ``requests`` before it by a
    whole period, so that no window holds two of such a chain.

    When the service got a request nobody tells us: somewhere between its sending and its answer. Where answers come
    within ``ALLOWANCE`` of the period the answer's time is taken, which is never too early. Else a request counts as
    come within that allowance, and later by as much as its answer was later than answers usually are; and the next of
    its chain goes at a steady pace a little below the limit, which leaves as much room again.
    """

    def __init__(
        self,
        requests: int,
        period_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Two clocks never run alike.
        self._window = period_seconds * (1 + SLACK) + LEAST_SLACK_SECONDS
        self._pace = max(self._window, period_seconds * (1 + PACE))
        self._allowance = period_seconds * ALLOWANCE
        self._catch_up = period_seconds * CATCH_UP
        self._turns: collections.deque[Turn] = collections.deque(maxlen=requests)
        self._latencies: collections.deque[float] = collections.deque(maxlen=ANSWERS_REMEMBERED)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    def wait(self) -> Turn:
        """Return when one more request may start, and count it; :meth:`sent` and :meth:`answered` must follow."""
        with self._lock:
            before = self._turns[0] if len(self._turns) == self._turns.maxlen else None
            called = self._clock()
            turn = Turn(called)
            self._turns.append(turn)
        if before is not None:
            # The turn before may leave, or be answered, and so move, while we sleep.
            while (rest := self._free(before) - self._clock()) > 1e-6:
                self._sleep(rest)
            turn.due = max(self._free(before, behind=self._catch_up), called - self._catch_up)
        return turn

    def _free(self, before: Turn, *, behind: float = 0.0) -> float:
        """When the turn that follows ``before`` in its chain may start, were it ``behind`` its pace by as much."""
        if before.at is None:
            return self._clock() + LOOK_AGAIN_SECONDS
        if before.exact:
            return before.at + self._window
        return max(before.at + self._window - behind, before.due + self._pace)

    def sent(self, turn: Turn) -> None:
        """The request has left, now: the service cannot have got it before."""
        turn.sent = self._clock()
        turn.at = turn.sent + self._allowance

    def answered(self, turn: Turn) -> None:
        """The request is over, now: the service got it before, or never."""
        now = self._clock()
        if turn.at is None:
            turn.exact, turn.at = True, now
            return
        latency = now - turn.sent
        with self._lock:
            known = sorted(self._latencies)
            self._latencies.append(latency)
        usual = known[int(len(known) * USUAL_SHARE)] if len(known) >= ANSWERS_TO_KNOW else 0.0
        at = turn.sent + max(self._allowance, latency - usual)
        turn.exact = at >= now
        turn.at = min(now, at)

    def ages(self) -> list[float]:
        """Seconds since each of the turns that still count, for whoever uses the service next."""
        now = self._clock()
        with self._lock:
            return [0.0 if turn.at is None else max(now + self._window - self._free(turn), 0.0) for turn in self._turns]

    def resume(self, ages: Iterable[float]) -> None:
        """Count requests that another process sent so many seconds ago."""
        now = self._clock()
        with self._lock:
            self._turns.extend(Turn(now - age, now - age) for age in sorted(ages, reverse=True))

    def resume_unknown(self) -> None:
        """Count as many requests as are allowed as sent just now: another process sent nobody knows how many."""
        # What it sent last may still be on its way.
        self.resume([-self._allowance] * (self._turns.maxlen or 0))
