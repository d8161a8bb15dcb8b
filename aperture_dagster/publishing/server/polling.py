"""Poll the media server, and notice whether it makes progress."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from aperture_dagster.publishing.server.work import PublishingRun

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedLibrary

POLL_SECONDS = 1.0
# The first pause, as a share of POLL_SECONDS, and how each later one is longer: a small library is read in less than a
# second.
FIRST_PAUSE, PAUSE_GROWTH = 0.03, 1.5
# How long to wait for a scan that makes no progress. While it makes progress, there is no limit.
WAIT_SECONDS = 900.0


class Watch:
    """Polls of the media server, with how long it has made no progress."""

    def __init__(self, run: PublishingRun) -> None:
        self._run, self._writer = run, run.server
        self._seen: dict[Hashable, str | float] = {}
        self._moved_at = run.elapsed()
        self.scans_everything = False
        self.is_busy = False
        self.share = 0.0
        """The pause before the last poll, as a share of the longest."""

    def poll(self) -> list[PublishedLibrary]:
        """Return the server's libraries, with what it is doing with them."""
        progress = self._writer.scan_progress()
        libraries = self._writer.libraries()
        self.scans_everything = progress is not None
        self.is_busy = self.scans_everything or any(library.refresh_status != "Idle" for library in libraries)
        self.note("scan", progress if progress is not None else -1.0)
        for library in libraries:
            self.note(("status", library.name), library.refresh_status)
            self.note(("progress", library.name), library.refresh_progress or 0.0)
        return libraries

    def note(self, what: Hashable, value: str | float) -> None:
        """Notice progress: another status, or a figure that has risen."""
        before = self._seen.get(what)
        self._seen[what] = value
        if before is None or (value != before if isinstance(value, str) else value > float(before)):
            self._moved_at = self._run.elapsed()

    @property
    def is_stalled(self) -> bool:
        """Whether the server has made no progress for too long."""
        return self._run.elapsed() - self._moved_at > WAIT_SECONDS

    def is_occupied(self, library: PublishedLibrary | None) -> bool:
        """Tell whether nothing must change in a library (None: a new one), by the last poll.

        A scan of everything, or of this library, would see half of a change, and ours would cancel the former. The
        server may read other libraries meanwhile.
        """
        if self.scans_everything or (self.is_busy and not self._writer.assigns_ids_at_once):
            return True
        return library is not None and library.refresh_status != "Idle"

    def sleep(self) -> None:
        """Wait until the next poll, each time longer."""
        self.share = min(self.share * PAUSE_GROWTH or FIRST_PAUSE, 1.0)
        self._run.sleep(self.share * POLL_SECONDS)
