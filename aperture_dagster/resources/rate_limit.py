"""How many requests a service gets in any stretch of time: close to what it allows, and never more."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable

# How much later than planned the last of two requests goes, as shares of the period: what is lost of the rate. Where
# answers do not tell when a request came, all that may be lost goes into the room for those that dawdle.
SLACK = 0.005
ALLOWANCE = 0.033
LEAST_SLACK_SECONDS = 0.002
LOOK_AGAIN_SECONDS = 0.005
ANSWERS_REMEMBERED = 64
ANSWERS_TO_KNOW = 5
# Three of four answers come within the usual time; were it more, a service's short stop would soon look usual.
USUAL_SHARE = 0.75


class Turn:
    """One request's place within a limit. ``at``: the latest moment at which the service can have got it; None until
    it has left.
    """

    __slots__ = ("at", "sent")

    def __init__(self, at: float | None = None) -> None:
        self.at = at
        self.sent = 0.0


class RateLimit:
    """At most ``requests`` arrivals in any window of ``period_seconds``, across all threads that share this limit.

    A sliding window over the last ``requests`` turns: it works at the limit, not below it, and a burst at a window's
    edge cannot exceed it, as it could with counters that reset. Each turn follows the one ``requests`` before it by a
    whole period, so that no window holds two of such a chain.

    When the service got a request nobody tells us: somewhere between its sending and its answer. Where answers come
    within ``ALLOWANCE`` of the period the answer's time is taken, which is never too early. Else a request counts as
    come within that allowance, and later by as much as its answer was later than answers usually are.
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
        self._allowance = period_seconds * ALLOWANCE
        self._turns: collections.deque[Turn] = collections.deque(maxlen=requests)
        self._latencies: collections.deque[float] = collections.deque(maxlen=ANSWERS_REMEMBERED)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    def wait(self) -> Turn:
        """Return when one more request may start, and count it; :meth:`sent` and :meth:`answered` must follow."""
        with self._lock:
            before = self._turns[0] if len(self._turns) == self._turns.maxlen else None
            turn = Turn()
            self._turns.append(turn)
        # The turn before may leave, or be answered, and so move, while we sleep.
        while before is not None and (rest := self._rest(before)) > 1e-6:
            self._sleep(rest)
        return turn

    def _rest(self, before: Turn) -> float:
        """Seconds until the turn that follows this one in its chain may start."""
        return LOOK_AGAIN_SECONDS if before.at is None else before.at + self._window - self._clock()

    def sent(self, turn: Turn) -> None:
        """The request has left, now: the service cannot have got it before."""
        turn.sent = self._clock()
        turn.at = turn.sent + self._allowance

    def answered(self, turn: Turn) -> None:
        """The request is over, now: the service got it before, or never."""
        now = self._clock()
        if turn.at is None:
            turn.at = now
            return
        latency = now - turn.sent
        with self._lock:
            known = sorted(self._latencies)
            self._latencies.append(latency)
        usual = known[int(len(known) * USUAL_SHARE)] if len(known) >= ANSWERS_TO_KNOW else 0.0
        turn.at = min(now, turn.sent + max(self._allowance, latency - usual))

    def ages(self) -> list[float]:
        """Seconds since each of the turns that still count, for whoever uses the service next."""
        now = self._clock()
        with self._lock:
            return [0.0 if turn.at is None else max(now - turn.at, 0.0) for turn in self._turns]

    def resume(self, ages: Iterable[float]) -> None:
        """Count requests that another process sent so many seconds ago."""
        now = self._clock()
        with self._lock:
            self._turns.extend(Turn(now - age) for age in sorted(ages, reverse=True))

    def resume_unknown(self) -> None:
        """Count as many requests as are allowed as sent just now: another process sent nobody knows how many."""
        # What it sent last may still be on its way.
        self.resume([-self._allowance] * (self._turns.maxlen or 0))
