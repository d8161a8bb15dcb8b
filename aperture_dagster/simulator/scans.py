"""When scans happen: the queue of refreshes, the task that scans everything, and what clients see of both.

Due work is done at the next request, or by a background thread. Modelled on jellyfin/jellyfin 10.9 to 12,
``MediaBrowser.Providers/Manager/ProviderManager.cs`` (``StartProcessingRefreshQueue``, ``GetRefreshProgress``) and
``Emby.Server.Implementations/ScheduledTasks``.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aperture_dagster.simulator.libraries import LibraryBook
from aperture_dagster.simulator.scanned_item import ScannedItem
from aperture_dagster.simulator.scanner import Modes, ScanResult
from aperture_dagster.simulator.world import WorldLibrary

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

Status = Literal["Idle", "Queued", "Active"]


@dataclass(slots=True)
class Refresh:
    """A refresh of a library, or of one item of it (``only``). It leaves the queue before it starts."""

    library: str
    only: str | None
    modes: Modes
    leaves_queue: float
    starts: float
    ends: float
    result: ScanResult | None = None
    has_started: bool = False


@dataclass(slots=True)
class FullScan:
    """A scan of all libraries."""

    starts: float
    ends: float
    results: list[ScanResult] = field(default_factory=list)


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
        self.last: Execution | None = None
        """The last full scan that is over."""

    # Asking

    def refresh(self, library: WorldLibrary, modes: Modes, only: str | None = None) -> None:
        """Queue a refresh. Refreshes are done one after the other."""
        settings, now = self._state.settings, self._state.clock.now()
        leaves = max(now, self._queue[-1].ends if self._queue else now) + settings.scan_gap_seconds
        starts = leaves + settings.scan_gap_seconds
        self._queue.append(Refresh(library.name, only, modes, leaves, starts, starts + self.seconds))
        self._wake()

    def start(self) -> None:
        """Start a scan of everything, and cancel one that is running."""
        now = self._state.clock.now()
        if self._full is not None:
            self.last = Execution(self._full.starts, now, "Cancelled")
        self._book.validate()
        self._full = FullScan(now, now + self.seconds)
        modes = Modes()
        for library in self._state.catalogue.libraries:
            if self._book.is_made_by_client(library):
                self._full.results.append(self._book.read(library, modes))
        self._wake()

    # What clients see

    def status(self, library: WorldLibrary) -> tuple[Status, float | None]:
        """Return whether a library is queued or being refreshed, and its progress in percent."""
        now = self._state.clock.now()
        active = [each for each in self._queue if each.library == library.name and each.starts <= now]
        spans = [(each.starts, each.ends) for each in active if each.only is None]
        if self._full is not None:
            spans.append((self._full.starts, self._full.ends))
        if spans:
            return "Active", _percent(now, *spans[0])
        queued = any(
            each.library == library.name and each.only is None and now < each.leaves_queue for each in self._queue
        )
        return ("Queued" if queued else "Idle"), None

    @property
    def progress(self) -> float | None:
        """The progress of the full scan in percent; None when there is none."""
        if self._full is None:
            return None
        return _percent(self._state.clock.now(), self._full.starts, self._full.ends)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self._queue and self._full is None

    # Doing

    def pump(self) -> None:
        """Do what is due. The caller must hold the state's lock."""
        while True:
            due, now = self._next(), self._state.clock.now()
            if due is None or due > now:
                return
            self._step(due)

    def _next(self) -> float | None:
        moments: list[float] = []
        if self._queue:
            first = self._queue[0]
            moments.append(first.ends if first.has_started else first.starts)
        if self._full is not None:
            moments.append(self._full.ends)
        return min(moments, default=None)

    def _step(self, due: float) -> None:
        full = self._full
        if full is not None and full.ends == due:
            self._full = None
            for result in full.results:
                self._book.apply(result)
            self.last = Execution(full.starts, full.ends, "Completed")
            return
        first = self._queue[0]
        library = self._state.catalogue.library_named(first.library)
        if not first.has_started:
            first.has_started = True
            if library is not None and self._book.is_made_by_client(library):
                first.result = self._book.read(library, first.modes)
            return
        self._queue.popleft()
        if first.result is not None:
            self._book.apply(first.result, first.only)

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
    return round(min(99.0, 100.0 * (now - starts) / max(ends - starts, 1e-9)), 2)


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
