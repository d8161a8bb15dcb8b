"""Work through the list of a source: ask about the items that are due, and store the answers as they come.

Only this module decides when to stop and what is recorded; a source says how to ask it and where its answers go.
"""

import logging
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aperture_dagster.http.errors import (
    BadAnswer,
    QuotaSpent,
    RequestRejected,
    ServiceError,
    ServicePaused,
    ServiceUnavailable,
)
from aperture_dagster.model import Clock, Progress, counted
from aperture_dagster.postgres.database import Database
from aperture_dagster.worklist.due import due_after
from aperture_dagster.worklist.fetches import DueItem, count_due, due_items, find_due, write_fetches
from aperture_dagster.worklist.health import note_answers, note_trouble
from aperture_dagster.worklist.work_list import Attempt, WorkList

BATCH_OF_DUE_ITEMS = 200
# For answers that are under way when the run is stopped.
GRACE_SECONDS = 3.0
# Answers are stored together, since a transaction for each takes longer than the request: as soon as there are so many,
# and after a second in any case. A run that is killed loses no more than these and those under way.
STORED_AT_ONCE = 25
LONGEST_UNSTORED_SECONDS = 1.0
LARGEST_COUNT = 32_767
LONGEST_REASON = 280


@dataclass(slots=True)
class Tally:
    """The totals of a run: attempts by outcome, rows written, items still due.

    ``resumes_at`` is set if the quota or a pause ended the run; ``reason`` is why the first attempt failed,
    ``unreachable`` why the last one did not reach the service.
    """

    ok: int = 0
    not_found: int = 0
    error: int = 0
    rows: int = 0
    still_due: int = 0
    resumes_at: datetime | None = None
    reason: str = ""
    unreachable: str = ""

    def count(self, attempt: Attempt) -> None:
        """Count an attempt."""
        setattr(self, attempt.outcome, getattr(self, attempt.outcome) + 1)
        detail = (attempt.detail or "").rstrip(".")
        if attempt.outcome == "error":
            self.reason = self.reason or f"{attempt.item.name}: {detail}".removeprefix(": ")
        if attempt.unreachable:
            self.unreachable = detail

    @property
    def asked(self) -> int:
        """Items that were asked about."""
        return self.ok + self.not_found + self.error


def work_through(work: WorkList[Any], database: Database, clock: Clock, log: logging.Logger) -> Tally:
    """Ask about everything that is due, and store the answers as they come.

    A run that is killed loses at most the requests under way and the answers of the last second, `STORED_AT_ONCE` at
    most; one that is stopped loses nothing. When the quota is
    spent or the service asks for a long pause, the run ends without an error and reports what is left, which stays due.

    Raises:
        ServiceUnavailable: the service is down; what was fetched is stored, what failed is due again soon.
        ServiceRefused: the key was refused; the items that were not asked about stay due.
    """
    source, now = work.source, clock.now()
    with database.transaction() as connection:
        due = find_due(connection, source, now=now, language=work.language)
    log.info(f"{source.label}: {counted(due, work.what)} {'is' if due == 1 else 'are'} due")
    run = _Run(database, clock, work, now, Progress(log, f"{work.what} from {source.label}", due))
    tally, stop = run.tally, run.work()
    trouble: Exception | None = stop
    if isinstance(stop, QuotaSpent):
        trouble = None
        if work.quota is not None:
            # Another program with the same key may have used it up, so our own count may be lower.
            work.quota.exhaust()
            tally.resumes_at = work.quota.resumes_at
    elif isinstance(stop, ServicePaused):
        tally.resumes_at = stop.resumes_at
        # A pause after some answers is usual; without any answer since the last pause it is trouble.
        trouble = stop if tally.ok + tally.not_found == 0 else None
    with database.transaction() as connection:
        tally.still_due = count_due(connection, source, now=clock.now(), language=work.language)
        if isinstance(trouble, ServiceError):
            note_trouble(connection, source.name, now=clock.now(), trouble=str(trouble))
        elif tally.ok + tally.not_found:
            note_answers(connection, source.name, now=clock.now())
    if stop is not None and not isinstance(stop, (QuotaSpent, ServicePaused)):
        raise stop
    _report(log, work, tally, stop)
    return tally


def _report(log: logging.Logger, work: WorkList[Any], tally: Tally, stop: Exception | None) -> None:
    """Log what went wrong in a run that ended without an error."""
    label = work.source.label
    if tally.error:
        log.warning(
            f"{tally.error:,} of {tally.asked:,} {work.what} could not be fetched from {label} and are tried again "
            f"later. The first: {tally.reason[:LONGEST_REASON]}."
        )
    if stop is None:
        return
    why = "today's requests are used up" if isinstance(stop, QuotaSpent) else "the service asks for a pause"
    when = f" Fetching continues after {tally.resumes_at:%Y-%m-%d %H:%M} UTC." if tally.resumes_at is not None else ""
    log.warning(f"{label}: {why}; {tally.still_due:,} {work.what} are left.{when}")


@dataclass(slots=True)
class _UnitOver:
    """The end of a unit: items not asked about, the error that ended it early, and whether the service was reached.

    ``attempts`` are what the error means for the items that were not asked about, once that is known.
    """

    not_asked: list[DueItem]
    error: Exception | None
    reached: bool
    attempts: list[Attempt] | None = None


class _Run:
    """One pass over the list: threads ask, the caller's thread stores the results."""

    def __init__(
        self, database: Database, clock: Clock, work: WorkList[Any], now: datetime, progress: Progress
    ) -> None:
        self.tally = Tally()
        self._database, self._clock, self._list, self._now = database, clock, work, now
        self._progress = progress
        self._waiting: defaultdict[Hashable, deque[DueItem]] = defaultdict(deque)
        self._all_read = False
        self._busy: set[tuple[str, int]] = set()
        # Results are removed only after they are stored: an interruption after `Queue.get()` would lose one.
        self._results: list[list[Attempt] | _UnitOver] = []
        # How many of the results have been looked at, the attempts in them, and when the first of them was.
        self._seen = self._unstored = 0
        self._seen_since = 0.0
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stop: Exception | None = None
        self._units_unreachable = 0

    def work(self) -> Exception | None:
        """Continue until nothing is due or there is a reason to stop, and return that; all answers are stored."""
        under_way = 0
        asking: set[Future[None]] = set()
        with ThreadPoolExecutor(self._list.concurrency, thread_name_prefix=self._list.source.name) as pool:
            try:
                while True:
                    # No more units than threads, or a kill would also lose answers that wait to be stored.
                    while under_way < self._list.concurrency and (unit := self._next_unit()):
                        future = pool.submit(self._ask, unit)
                        asking.add(future)
                        future.add_done_callback(asking.discard)
                        under_way += 1
                    if under_way == 0:
                        break
                    self._wait_for_results()
                    under_way -= self._look_at_results()
                    if self._is_time_to_store():
                        self._store_results()
            except BaseException:
                # The run is being stopped. Answers under way have cost quota, so wait for them, but not for retries.
                self._stopping.set()
                try:
                    wait(tuple(asking), timeout=GRACE_SECONDS)
                finally:
                    self._list.cancel()
                raise
            finally:
                # Also when the run is being stopped.
                self._stopping.set()
                pool.shutdown(wait=True)
                self._look_at_results()
                self._store_results()
        self._progress.report()
        all_failed = self.tally.asked == self.tally.error
        if self._stop is None and self._units_unreachable and all_failed:
            self._stop = self._down()
        return self._stop

    def _next_unit(self) -> list[DueItem]:
        """Return a full unit of one group; incomplete units come last, when all due items have been read."""
        if self._stop is not None:
            return []
        size = self._list.unit_size or 1
        while True:
            for waiting in self._waiting.values():
                if len(waiting) >= size or (self._all_read and waiting):
                    return [waiting.popleft() for _ in range(min(size, len(waiting)))]
            if self._all_read:
                return []
            self._read_more()

    def _read_more(self) -> None:
        source = self._list.source
        with self._database.transaction() as connection:
            items = due_items(
                connection,
                source,
                now=self._now,
                limit=BATCH_OF_DUE_ITEMS,
                busy=self._busy,
                language=self._list.language,
            )
        for item in items:
            self._waiting[self._list.group(item)].append(item)
        self._busy |= {item.key for item in items}
        # Nothing more becomes due during a run, since `now` is the time at which it began.
        self._all_read = not items

    def _ask(self, unit: list[DueItem]) -> None:
        """Ask about a unit, in a thread, and hand over the results."""
        asked: set[tuple[str, int]] = set()
        error: Exception | None = None
        reached = False
        try:
            if not self._stopping.is_set():
                for attempts in self._list.ask(unit):
                    asked |= {attempt.item.key for attempt in attempts}
                    reached |= any(not attempt.unreachable for attempt in attempts)
                    self._results.append(attempts)
                    if len(asked) < len(unit):
                        # After the last attempts, the end of the unit follows at once: one wake-up is enough.
                        self._news.put(None)
                    if self._stopping.is_set():
                        break
        except Exception as raised:
            # `_attempts_left` decides what it means.
            error = raised
        self._results.append(_UnitOver([item for item in unit if item.key not in asked], error, reached))
        self._news.put(None)

    def _wait_for_results(self) -> None:
        """Wait for a result, but not beyond the time at which others are to be stored."""
        patience = None
        if self._unstored:
            patience = max(self._seen_since + LONGEST_UNSTORED_SECONDS - time.monotonic(), 0)
        with suppress(queue.Empty):
            self._news.get(timeout=patience)

    def _look_at_results(self) -> int:
        """Find out what new results mean for the run, and return how many units are over."""
        over = 0
        for result in self._results[self._seen :]:
            if isinstance(result, _UnitOver):
                result.attempts = self._attempts_left(result)
                over += 1
            if self._unstored == 0:
                self._seen_since = time.monotonic()
            self._unstored += len(_attempts_of(result))
            self._seen += 1
        if self._stop is None and self._units_unreachable >= self._list.failures_until_down:
            # What is said of the service includes what is not stored yet.
            self._store_results()
            self._end(self._down())
        return over

    def _is_time_to_store(self) -> bool:
        since = time.monotonic() - self._seen_since
        return self._unstored >= STORED_AT_ONCE or (self._unstored > 0 and since >= LONGEST_UNSTORED_SECONDS)

    def _store_results(self) -> None:
        """Store all results that were looked at; can be called again if interrupted."""
        results = self._results[: self._seen]
        attempts = [attempt for result in results for attempt in _attempts_of(result)]
        if attempts:
            self._store(attempts)
        del self._results[: len(results)]
        self._seen = self._unstored = 0
        self._busy -= {attempt.item.key for attempt in attempts}
        self._busy -= {item.key for one in results if isinstance(one, _UnitOver) for item in one.not_asked}

    def _attempts_left(self, over: _UnitOver) -> list[Attempt]:
        """Return attempts for items of a unit that were not asked about, or stop if the error concerns all items."""
        error = over.error
        if isinstance(error, ServicePaused):
            self._end(error)
            return []
        if error is None or isinstance(error, ServiceUnavailable):
            self._units_unreachable = 0 if over.reached else self._units_unreachable + 1
        if error is None:
            return []
        if isinstance(error, (BadAnswer, RequestRejected, ServiceUnavailable)):
            unreachable = isinstance(error, ServiceUnavailable)
            return [Attempt(item, "error", detail=str(error), unreachable=unreachable) for item in over.not_asked]
        self._end(error)
        return []

    def _store(self, attempts: Sequence[Attempt]) -> None:
        work, now = self._list, self._clock.now()
        with self._database.transaction() as connection:
            good = [attempt for attempt in attempts if attempt.outcome == "ok"]
            self.tally.rows += work.store(connection, good) if good else 0
            work.note(connection, attempts)
            write_fetches(connection, work.source, [_fetch_row(attempt, work, now) for attempt in attempts])
        for attempt in attempts:
            self.tally.count(attempt)
        self._progress.add(len(attempts))

    def _end(self, reason: Exception) -> None:
        self._stop = self._stop or reason
        self._stopping.set()

    def _down(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._list.source.label} cannot be reached: {self.tally.unreachable}. "
            f"{self.tally.ok:,} {self._list.what} were fetched before."
        )


def _attempts_of(result: list[Attempt] | _UnitOver) -> list[Attempt]:
    return (result.attempts or []) if isinstance(result, _UnitOver) else result


def _fetch_row(attempt: Attempt, work: WorkList[Any], now: datetime) -> dict[str, Any]:
    failures = attempt.item.failures + 1 if attempt.outcome == "error" else 0
    ttl = work.ttl(attempt, now) if attempt.outcome == "ok" else timedelta()
    return {
        "kind": attempt.item.kind,
        "item": attempt.item.item,
        "outcome": attempt.outcome,
        "attempts": min(failures, LARGEST_COUNT),
        "fetched_at": now if attempt.outcome == "ok" else None,
        "attempted_at": now,
        "due_at": due_after(attempt.outcome, failures=failures, now=now, ttl=ttl),
        "found_id": attempt.found_id,
        "language": work.language if attempt.outcome == "ok" else None,
        "detail": attempt.detail[:500] if attempt.detail else None,
    }
