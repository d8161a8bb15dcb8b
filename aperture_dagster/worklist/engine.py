"""Work through a source's list: ask about what is due, and keep each answer as it comes.

This is the one place that decides when to stop, what is kept and when an item is due again. A source only says how it
is asked and where its answers go.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aperture_dagster.defs.failures import LONGEST_REASON
from aperture_dagster.defs.reporting import Progress
from aperture_dagster.library.sources import Kind, Source
from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    QuotaSpent,
    RequestRejected,
    ServiceError,
    ServicePaused,
    ServiceUnavailable,
)
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.storage.work_list import DueItem
from aperture_dagster.worklist.due import Outcome, due_after

if TYPE_CHECKING:
    import dagster as dg
    from sqlalchemy import Connection

    from aperture_dagster.resources.quota import QuotaLedger

READ_AT_ONCE = 200
# For answers that are on their way when the run is stopped.
GRACE_SECONDS = 3.0
# So many in a row that could not be reached mean that the service is down, not that the titles are odd.
FAILURES_THAT_MEAN_DOWN = 8
LARGEST_COUNT = 32_767


@dataclass(slots=True)
class Attempt:
    """The outcome of asking about an item. ``found_id``: the source's own id of it, when that had to be looked up."""

    item: DueItem
    outcome: Outcome
    answer: Any = None
    detail: str | None = None
    unreachable: bool = False
    found_id: int | None = None


@dataclass(slots=True)
class Tally:
    """What a run came to.

    Attempts by outcome, rows written, what is still due; ``goes_on_at`` when the quota or a pause ended the run;
    ``reason`` is why the first attempt failed, ``unreachable`` why the last one did not reach the service.
    """

    ok: int = 0
    not_found: int = 0
    error: int = 0
    rows: int = 0
    still_due: int = 0
    goes_on_at: datetime | None = None
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


@dataclass(slots=True)
class WorkList:
    """How to work through one source's list.

    Args:
        source: whose list it is.
        ask: asks about one unit (items of one kind) and yields attempts as they are known. May raise any
            ServiceError: what it concerns is then decided here.
        keep: writes the answers of successful attempts; returns how many rows changed.
        ttl: how long the answer of such an attempt is good for.
        cancel: ends requests that are under way, for a run that is being stopped.
        note: called with all attempts, whatever came of them, beside ``keep``.
        quota: the source's requests of the day, if they are limited.
        concurrency: units asked about at once.
        unit_size: items in a unit now.
        group: of what an item may share a unit with; default everything.
        what: what the items are called in the log.
        failures_that_mean_down: units in a row that could not be reached.
    """

    source: Source
    ask: Callable[[Sequence[DueItem]], Iterator[list[Attempt]]]
    keep: Callable[[Connection, Sequence[Attempt]], int]
    ttl: Callable[[Attempt, datetime], timedelta]
    cancel: Callable[[], None]
    quota: QuotaLedger | None = None
    note: Callable[[Connection, Sequence[Attempt]], None] = lambda connection, attempts: None
    concurrency: int = 1
    unit_size: Callable[[], int] = lambda: 1
    group: Callable[[DueItem], Hashable] = lambda item: None
    what: str = "titles"
    failures_that_mean_down: int = FAILURES_THAT_MEAN_DOWN


def keep_answers(source: Source) -> Callable[[Connection, Sequence[Attempt]], int]:
    """Persist the answers of a source that has one row per title."""

    def keep(connection: Connection, attempts: Sequence[Attempt]) -> int:
        from aperture_dagster.storage.enrichment import write_answers

        rows = (attempt.answer.as_row(attempt.item.item) for attempt in attempts)
        return write_answers(connection, source.name, rows).written

    return keep


def outcome_of(item: DueItem, ask: Callable[[], Attempt]) -> Attempt:
    """The attempt that ``ask`` returns, or what its error means for this item alone.

    Raises:
        ServiceRefused, QuotaSpent, ServicePaused: these concern all items.
    """
    try:
        return ask()
    except ServicePaused:
        raise
    except NotFound as error:
        return Attempt(item, "not_found", detail=str(error))
    except (BadAnswer, RequestRejected) as error:
        return Attempt(item, "error", detail=str(error))
    except ServiceUnavailable as error:
        return Attempt(item, "error", detail=str(error), unreachable=True)


def work_through(context: dg.AssetExecutionContext, database: Database, clock: Clock, work: WorkList) -> Tally:
    """Ask about everything that is due; an answer is kept before the next question takes its place.

    A run that is killed loses no more than the requests under way, one that is stopped nothing. When the quota is spent
    or the service asks for a long pause, it ends well, and says what is left: what was not asked stays as it was.

    Raises:
        ServiceUnavailable: the service is down; what was fetched is kept, what failed is tried again soon.
        ServiceRefused: the key is refused; nothing more is marked as tried.
    """
    from aperture_dagster.storage.services import note_answers, note_trouble
    from aperture_dagster.storage.work_list import count_due, enrol

    now = clock.now()
    with database.transaction() as connection:
        enrol(connection, work.source, now=now)
        due = count_due(connection, work.source, now=now)
    context.log.info(f"{work.source.label}: {due:,} {work.what} are due")
    run = _Run(database, clock, work, now, Progress(context, f"{work.what} from {work.source.label}", due))
    tally, stop = run.tally, run.work()
    trouble: Exception | None = stop
    if isinstance(stop, QuotaSpent):
        trouble = None
        if work.quota is not None:
            # Whoever used it up, and whoever said so.
            work.quota.exhaust()
            tally.goes_on_at = work.quota.resumes_at
    elif isinstance(stop, ServicePaused):
        tally.goes_on_at = stop.resumes_at
        # A pause that follows on the last one is trouble; one after some answers is none.
        trouble = stop if tally.ok + tally.not_found == 0 else None
    with database.transaction() as connection:
        tally.still_due = count_due(connection, work.source, now=clock.now())
        if isinstance(trouble, ServiceError):
            note_trouble(connection, work.source.name, now=clock.now(), trouble=str(trouble))
        elif tally.ok + tally.not_found:
            note_answers(connection, work.source.name, now=clock.now())
    if stop is not None and not isinstance(stop, (QuotaSpent, ServicePaused)):
        raise stop
    _report(context, work, tally, stop)
    return tally


def _report(context: dg.AssetExecutionContext, work: WorkList, tally: Tally, stop: Exception | None) -> None:
    """Say what went wrong in a run that ended well."""
    label = work.source.label
    if tally.error:
        context.log.warning(
            f"{tally.error:,} of {tally.asked:,} {work.what} could not be fetched from {label} and are tried again "
            f"later. The first: {tally.reason[:LONGEST_REASON]}."
        )
    if stop is None:
        return
    why = "today's requests are used up" if isinstance(stop, QuotaSpent) else "the service asks for a pause"
    when = f", and it goes on at {tally.goes_on_at:%Y-%m-%d %H:%M} UTC" if tally.goes_on_at is not None else ""
    context.log.warning(f"{label}: {why}; {tally.still_due:,} {work.what} are left{when}.")


@dataclass(slots=True)
class _UnitOver:
    """The end of a unit: what of it was not asked about, what ended it early, and whether the service was reached."""

    not_asked: list[DueItem]
    error: Exception | None
    reached: bool


class _Run:
    """One pass over the list: threads ask, the caller's thread keeps the results."""

    def __init__(self, database: Database, clock: Clock, work: WorkList, now: datetime, progress: Progress) -> None:
        self.tally = Tally()
        self._database, self._clock, self._list, self._now = database, clock, work, now
        self._progress = progress
        self._waiting: defaultdict[Hashable, deque[DueItem]] = defaultdict(deque)
        self._all_read = False
        self._busy: set[tuple[Kind, int]] = set()
        # What has come is taken from the list only when it is kept: of what a queue hands over, an interruption that
        # comes in the same moment leaves nothing.
        self._results: list[list[Attempt] | _UnitOver] = []
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stop: Exception | None = None
        self._units_unreachable = 0

    def work(self) -> Exception | None:
        """Go on until nothing is due or there is a reason to stop, which is returned; everything that came is kept."""
        under_way = 0
        asking: set[Future[None]] = set()
        with ThreadPoolExecutor(self._list.concurrency, thread_name_prefix=self._list.source.name) as pool:
            try:
                while True:
                    # No more than are asked at once, or a kill would lose answers that wait to be kept besides.
                    while under_way < self._list.concurrency and (unit := self._next_unit()):
                        future = pool.submit(self._ask, unit)
                        asking.add(future)
                        future.add_done_callback(asking.discard)
                        under_way += 1
                    if under_way == 0:
                        break
                    self._bell.get()
                    under_way -= self._collect()
            except BaseException:
                # The run is being stopped: answers on their way have cost quota and are waited for, retries are not.
                self._stopping.set()
                try:
                    wait(tuple(asking), timeout=GRACE_SECONDS)
                finally:
                    self._list.cancel()
                raise
            finally:
                # Also when the run is being stopped: whatever has come is kept.
                self._stopping.set()
                pool.shutdown(wait=True)
                self._collect()
        self._progress.report()
        nothing_came = self.tally.asked == self.tally.error
        if self._stop is None and self._units_unreachable and nothing_came:
            self._stop = self._down()
        return self._stop

    def _next_unit(self) -> list[DueItem]:
        """A whole unit of one group; what is left over of the groups comes when all has been read."""
        if self._stop is not None:
            return []
        size = self._list.unit_size()
        while True:
            for waiting in self._waiting.values():
                if len(waiting) >= size or (self._all_read and waiting):
                    return [waiting.popleft() for _ in range(min(size, len(waiting)))]
            if self._all_read:
                return []
            self._read_more()

    def _read_more(self) -> None:
        from aperture_dagster.storage.work_list import due_items

        source = self._list.source
        with self._database.transaction() as connection:
            items = due_items(connection, source, now=self._now, limit=READ_AT_ONCE, busy=self._busy)
        for item in items:
            self._waiting[self._list.group(item)].append(item)
        self._busy |= {item.key for item in items}
        # Nothing becomes due meanwhile: what is due was settled when the run began.
        self._all_read = not items

    def _ask(self, unit: list[DueItem]) -> None:
        """In a thread: ask about a unit, and hand over what comes."""
        asked: set[tuple[Kind, int]] = set()
        error: Exception | None = None
        reached = False
        try:
            if not self._stopping.is_set():
                for attempts in self._list.ask(unit):
                    asked |= {attempt.item.key for attempt in attempts}
                    reached |= any(not attempt.unreachable for attempt in attempts)
                    self._hand_over(attempts)
                    if self._stopping.is_set():
                        break
        except Exception as raised:
            # Its meaning is decided where all results are.
            error = raised
        self._hand_over(_UnitOver([item for item in unit if item.key not in asked], error, reached))

    def _hand_over(self, result: list[Attempt] | _UnitOver) -> None:
        self._results.append(result)
        self._bell.put(None)

    def _collect(self) -> int:
        """Keep all that has come, in one transaction; returns how many units are over.

        Who is interrupted in it may call it once more.
        """
        results = self._results[:]
        attempts: list[Attempt] = []
        over = [result for result in results if isinstance(result, _UnitOver)]
        for result in results:
            attempts += self._attempts_left(result) if isinstance(result, _UnitOver) else result
        if attempts:
            self._keep(attempts)
        del self._results[: len(results)]
        self._busy -= {attempt.item.key for attempt in attempts}
        self._busy -= {item.key for result in over for item in result.not_asked}
        if self._stop is None and self._units_unreachable >= self._list.failures_that_mean_down:
            self._end(self._down())
        return len(over)

    def _attempts_left(self, over: _UnitOver) -> list[Attempt]:
        """What the end of a unit means: a reason to stop for all, or failures of what of it was not asked about."""
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

    def _keep(self, attempts: Sequence[Attempt]) -> None:
        from aperture_dagster.storage.work_list import write_fetches

        work, now = self._list, self._clock.now()
        with self._database.transaction() as connection:
            good = [attempt for attempt in attempts if attempt.outcome == "ok"]
            self.tally.rows += work.keep(connection, good) if good else 0
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


def _fetch_row(attempt: Attempt, work: WorkList, now: datetime) -> dict[str, Any]:
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
        "detail": attempt.detail[:500] if attempt.detail else None,
    }
