"""When scans happen: the queue of refreshes, the task that scans everything, and what clients see of both.

Due work is done at the next request, or by a background thread. Modelled on jellyfin/jellyfin 10.9 to 12,
``MediaBrowser.Providers/Manager/ProviderManager.cs`` (``StartProcessingRefreshQueue``, ``GetRefreshProgress``) and
``Emby.Server.Implementations/ScheduledTasks``.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from aperture_dagster.simulator.libraries import LibraryBook
from aperture_dagster.simulator.scanner import ScannedItem, ScanResult, playable
from aperture_dagster.simulator.world import WorldLibrary

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

Status = Literal["Idle", "Queued", "Active"]


@dataclass(slots=True)
class Reading:
    """A library, or one item of it (``only``), that is being read from ``starts`` to ``ends``.

    With a speed, its films and episodes appear one after the other, and ``shown`` of them have; else all appear at the
    end. ``sizes`` are their numbers by film or series: progress is counted in these.
    """

    result: ScanResult
    only: str | None
    starts: float
    ends: float
    sizes: list[int]
    speed: float | None = None
    shown: int = 0
    is_over: bool = False

    @property
    def entries(self) -> int:
        """How many films and episodes there are."""
        return sum(self.sizes)

    @property
    def titles_shown(self) -> int:
        """How many films and series have been read completely."""
        return sum(end <= self.shown for end in accumulate(self.sizes))

    def read_by(self, moment: float, stalls_after: int | None) -> int:
        """Return how many entries have been read by a moment."""
        if self.speed is None or moment < self.starts:
            return 0
        read = self.entries if moment >= self.ends else int((moment - self.starts) * self.speed)
        return min(read, self.entries if stalls_after is None else stalls_after)


@dataclass(slots=True)
class Refresh:
    """A refresh of a library, or of one item of it (``only``). It leaves the queue before it starts.

    Its times are known as soon as it is the first in the queue.
    """

    library: str
    only: str | None
    replace: bool
    leaves_queue: float = math.inf
    starts: float = math.inf
    ends: float = math.inf
    reading: Reading | None = None
    has_started: bool = False


@dataclass(slots=True)
class FullScan:
    """A scan of all libraries."""

    starts: float
    ends: float
    readings: list[Reading] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Execution:
    """A full scan that is over; times in Unix seconds."""

    started: float
    ended: float
    status: Literal["Completed", "Cancelled"]


class Scans:
    """The queue, and the task."""

    def __init__(self, state: SimulatorState, book: LibraryBook) -> None:
        self._state = state
        self._book = book
        self._queue: deque[Refresh] = deque()
        self._full: FullScan | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self.seconds = state.settings.scan_seconds
        """Duration of a scan."""
        self.speed = state.settings.scan_entries_per_second
        """Films and episodes read per second; None: a scan takes ``seconds``, whatever it finds."""
        self.stalls: dict[str, int] = {}
        """After how many entries the scan of a library hangs, by the name of the library."""
        self.last: Execution | None = None
        """The last full scan that is over."""

    # Asking

    def refresh(self, library: WorldLibrary, replace: bool, only: str | None = None) -> None:
        """Queue a refresh. Refreshes are done one after the other."""
        self._queue.append(Refresh(library.name, only, replace))
        if len(self._queue) == 1:
            self._schedule(self._state.clock.now())
        self._wake()

    def start(self) -> None:
        """Start a scan of everything, and cancel one that is running."""
        now = self._state.clock.now()
        if self._full is not None:
            self.last = Execution(self._full.starts, now, "Cancelled")
        self._book.validate()
        self._full = full = FullScan(now, now + (self.seconds if self.speed is None else 0))
        for library in self._state.catalogue.libraries:
            if self._book.is_made_by_client(library):
                # With a speed, one after the other; else all at once.
                begins = now if self.speed is None else full.ends
                full.readings.append(self._read(library, False, None, begins))
                full.ends = max(full.ends, full.readings[-1].ends)
        self._wake()

    def forget(self) -> None:
        """Forget what is queued and running, as a restarted server does."""
        self._queue.clear()
        self._full = None
        self.stalls.clear()

    # What clients see

    def status(self, library: WorldLibrary) -> tuple[Status, float | None]:
        """Return whether a library is queued or being refreshed, and its progress in percent."""
        now = self._state.clock.now()
        running = [each.reading for each in self._queue if each.library == library.name and each.only is None]
        if self._full is not None:
            running += [each for each in self._full.readings if each.result.library == library.name]
        for reading in running:
            if reading is not None and reading.starts <= now and not reading.is_over:
                return "Active", self._percent(reading)
        queued = any(
            each.library == library.name and each.only is None and now < each.leaves_queue for each in self._queue
        )
        return ("Queued" if queued else "Idle"), None

    @property
    def progress(self) -> float | None:
        """The progress of the full scan in percent; None when there is none."""
        full = self._full
        if full is None:
            return None
        if self.speed is None:
            return _percent(self._state.clock.now(), full.starts, full.ends)
        entries = sum(each.entries for each in full.readings)
        return _percent(sum(each.shown for each in full.readings), 0, entries)

    def _percent(self, reading: Reading) -> float:
        if reading.speed is None:
            return _percent(self._state.clock.now(), reading.starts, reading.ends)
        return _percent(reading.titles_shown, 0, len(reading.sizes))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self._queue and self._full is None

    # Doing

    def pump(self) -> None:
        """Do what is due. The caller must hold the state's lock."""
        now = self._state.clock.now()
        while (due := self._next()) is not None and due <= now:
            self._step(due)
        for reading in self._running():
            self._show(reading, now)

    def _running(self) -> list[Reading]:
        first = self._queue[0].reading if self._queue else None
        return [*([first] if first is not None else []), *(self._full.readings if self._full is not None else [])]

    def _next(self) -> float | None:
        moments: list[float] = []
        if self._queue:
            first = self._queue[0]
            moments.append(first.ends if first.has_started else first.starts)
        if self._full is not None:
            moments.append(self._full.ends)
        return min((moment for moment in moments if moment < math.inf), default=None)

    def _step(self, due: float) -> None:
        full = self._full
        if full is not None and full.ends == due:
            self._full = None
            for reading in full.readings:
                self._finish(reading)
            self.last = Execution(full.starts, full.ends, "Completed")
            return
        first = self._queue[0]
        library = self._state.catalogue.library_named(first.library)
        if not first.has_started:
            first.has_started = True
            if library is not None and self._book.is_made_by_client(library):
                first.reading = self._read(library, first.replace, first.only, first.starts)
                first.ends = first.reading.ends
            else:
                first.ends = first.starts + self.seconds
            return
        self._queue.popleft()
        if first.reading is not None:
            self._finish(first.reading)
        self._schedule(first.ends)

    def _schedule(self, moment: float) -> None:
        """Decide when the first in the queue leaves it and starts, now that nothing is before it."""
        if self._queue:
            gap, first = self._state.settings.scan_gap_seconds, self._queue[0]
            first.leaves_queue = moment + gap
            first.starts = first.leaves_queue + gap

    def _read(self, library: WorldLibrary, replace: bool, only: str | None, starts: float) -> Reading:
        result = self._book.read(library, replace)
        sizes = [len(playable([each], only)) for each in result.found]
        stalls = library.name in self.stalls
        duration = self.seconds if self.speed is None else sum(sizes) / self.speed
        return Reading(result, only, starts, math.inf if stalls else starts + duration, sizes, self.speed)

    def _show(self, reading: Reading, now: float) -> None:
        """Show the entries that have been read by now."""
        if reading.is_over or reading.speed is None:
            return
        if now >= reading.ends:
            self._finish(reading)
            return
        read = reading.read_by(now, self.stalls.get(reading.result.library))
        if read > reading.shown:
            self._book.apply(reading.result, reading.only, since=reading.shown, until=read)
            reading.shown = read

    def _finish(self, reading: Reading) -> None:
        """Show everything that was found, and remove what was not."""
        if not reading.is_over:
            self._book.apply(reading.result, reading.only, since=reading.shown)
            reading.shown, reading.is_over = reading.entries, True

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="simulator-scans", daemon=True)
            self._thread.start()
        self._state.clock.notify()

    def _run(self) -> None:
        while not self._closed:
            changes = self._state.clock.changes
            with self._state.lock:
                self.pump()
                due = self._next()
            self._state.clock.wait_until(due, changes)

    def close(self) -> None:
        """End the thread. What is not due yet is never done."""
        self._closed = True
        self._state.clock.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)


def _percent(now: float, starts: float, ends: float) -> float:
    # A scan that hangs makes no progress.
    return 0.0 if ends == math.inf else round(min(99.0, 100.0 * (now - starts) / max(ends - starts, 1e-9)), 2)


def is_playable(item: ScannedItem, book: LibraryBook) -> bool:
    """Return whether the server can play an item: what it leads to must exist, and a STRM file may name it."""
    if item.strm is None:
        return book.disk.entry(item.server_path) is not None
    if item.strm.partition("://")[0].lower() in ("http", "https", "rtsp", "rtp"):
        return True
    rules = book.rules
    if not rules.plays_local_strm or not (item.strm.startswith("/") or rules.keeps_relative_strm):
        return False
    return book.disk.exists(item.strm) if item.strm.startswith("/") else True
