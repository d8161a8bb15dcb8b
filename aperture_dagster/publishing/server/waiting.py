"""Wait for the media server to read libraries, each of which goes on as soon as it has been read.

A server reads one library after the other, at about 12 links a second or slower, so the last of many is complete an
hour after the first. There is no limit on that while it makes progress.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.model import SECONDS_BETWEEN_LINES, counted, progress_reports, time_left
from aperture_dagster.model.errors import StillChanging
from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.server.outcomes import NotShown
from aperture_dagster.publishing.server.places import Places, by_place
from aperture_dagster.publishing.server.polling import Watch
from aperture_dagster.publishing.server.verifying import LibraryReader
from aperture_dagster.publishing.server.work import PublishingRun, Work

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedLibrary

# The status of a refresh may read "Idle" for an instant between the queue and its start. A poll that comes earlier than
# POLL_SECONDS after the one before counts for less than one.
IDLE_POLLS = 3
# While everything is scanned, a library may seem idle because its turn has not come: it is looked at ever less often.
MOST_IDLE_POLLS = 60
# How often in a row the server may have read none of the files that it was asked to read again.
MOST_FORCED_POLLS = 12
# The longer it takes, the less often progress is logged: each line is a row in the event log.
LINES_PER_DURATION = 20


@dataclass(slots=True)
class _Awaited:
    """A library that the server is asked to read.

    ``to_read`` are the films and episodes that it reads, as far as they are known, ``read`` those that it has read. It
    is looked at after ``patience`` polls in a row in which it was idle, and once before, as soon as it is idle, if a
    complete library can then only be one that was read: it is new, or was being read (``was_active``). ``is_forced``
    tells whether the server was asked to read the files of single entries, and ``unread`` how many of these it had not
    read at the last look.
    """

    work: Work
    to_read: int
    read: int = 0
    idle: float = 0
    patience: int = IDLE_POLLS
    was_active: bool = False
    is_looked_at_early: bool = False
    is_asked_again: bool = False
    is_forced: bool = False
    unread: int = 0

    @property
    def may_be_looked_at_early(self) -> bool:
        """Whether what a library shows tells that it was read, although it may be idle for an instant only."""
        library = self.work.on_server
        if self.is_looked_at_early or library is None or not library.item_id:
            return False
        return self.was_active or self.work.outcome.created


class Waiting:
    """Waits for the media server to read libraries, and finds out which of them it has read.

    Only :meth:`settle` and :meth:`give_up` write anything; the caller must have the right to publish then, and nothing
    but them needs it. The first calls of :meth:`add` say what the server has been asked for.

    Args:
        run: what the steps of this run share.
        reader: verifies libraries.
        places: where published libraries are on the server.
    """

    def __init__(self, run: PublishingRun, reader: LibraryReader, places: Places) -> None:
        self._writer, self._log, self._elapsed = run.server, run.log, run.elapsed
        self._reader, self._places = reader, places
        self._awaited: list[_Awaited] = []
        self._watch, self._report = Watch(run), _Report(run)
        self._listed: Mapping[str, PublishedLibrary] = {}
        self._started = run.elapsed()

    def add(self, works: Iterable[Work]) -> None:
        """Wait for these libraries, too."""
        new = [_Awaited(work, max(len(work.videos) - work.seen, 0)) for work in works if work.outcome.error is None]
        self._awaited += new
        self._report.add(new)

    @property
    def works(self) -> list[Work]:
        """The libraries that the server has not read yet."""
        return [one.work for one in self._awaited]

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._elapsed() - self._started

    @property
    def is_stalled(self) -> bool:
        """Whether the server has made no progress for too long."""
        return self._watch.is_stalled

    def poll(self) -> list[Work]:
        """Look what the server is doing, and return the libraries that it seems to have read."""
        self._listed = by_place(self._watch.poll())
        return [one.work for one in self._awaited if self._seems_read(one)]

    def is_free(self, place: str) -> bool:
        """Tell whether something can be changed in the library of a folder, as the server sees it, by the last poll."""
        return not self._watch.is_occupied(self._listed.get(as_path(place)))

    def settle(self, work: Work) -> bool:
        """Verify a library that the server seems to have read; return whether that is the end of it.

        One that fails is over, too.
        """
        one = next(each for each in self._awaited if each.work is work)
        try:
            library = work.on_server
            if library is None or not library.item_id:
                raise NotShown(
                    f"The media server has no id for {work.library.name!r} after its scan: check on the server that "
                    f"its folder {self._places.location(work.record)} exists there."
                )
            one.is_looked_at_early = True
            return self._is_settled(one, library, is_early=one.idle < one.patience)
        except StillChanging:
            one.idle = 0
            return False
        except Exception as error:
            work.outcome.error = error
            self._log.warning(f"{work.outcome.label}: {error}")
            return True

    def remove(self, works: Iterable[Work]) -> None:
        """Wait no longer for these libraries."""
        over = [one for one in self._awaited if any(one.work is work for work in works)]
        self._awaited = [one for one in self._awaited if one not in over]
        self._watch.note("over", self._report.finish(over))

    def sleep(self) -> None:
        """Say how far the server is, if that was long ago, and wait until the next poll."""
        if self._awaited:
            self._report.progress(self._awaited)
        self._watch.sleep()

    def _seems_read(self, one: _Awaited) -> bool:
        work, watch = one.work, self._watch
        library = work.on_server = self._listed.get(as_path(self._places.location(work.record)))
        # Refreshes of single items, which force a file to be read, do not show in the library's status.
        is_busy = watch.is_busy if one.is_forced else library is not None and library.refresh_status != "Idle"
        if library is None or not library.item_id:
            is_busy = watch.scans_everything
        if is_busy:
            one.idle, one.patience = 0, IDLE_POLLS
            one.was_active = one.was_active or (library is not None and library.refresh_status == "Active")
            one.is_looked_at_early = False
            self._count(one)
            return False
        one.idle += watch.share
        return one.idle >= one.patience or one.may_be_looked_at_early

    def _count(self, one: _Awaited) -> None:
        """Count what the server has read of the library that it is reading."""
        library = one.work.on_server
        if library is None or not library.item_id or library.refresh_status != "Active":
            return
        count = self._writer.count_items(library, "Movie" if one.work.record.media_type == "movie" else "Episode")
        self._watch.note(("items", library.name), count)
        if library.refresh_progress is not None:
            # New items may be listed before their files are read. What was seen of a scan that an earlier run asked for
            # is a part of its progress.
            before = one.work.seen if one.work.is_being_read else 0
            one.read = max(one.read, int((before + one.to_read) * library.refresh_progress / 100) - before)

    def _is_settled(self, one: _Awaited, library: PublishedLibrary, *, is_early: bool) -> bool:
        """Verify a library that is idle; return whether that is the end of it.

        One that has not been idle for long (``is_early``) has to be complete for that.

        Raises:
            NotShown: the server shows nothing of it.
        """
        work = one.work
        look = self._reader.look(work, self._places.items(library, work.record, episodes=True), is_whole=True)
        if look.is_complete and not look.unread:
            self._reader.accept(work, look)
            return True
        if is_early:
            return False
        if self._watch.scans_everything:
            one.idle, one.patience = 0, min(2 * one.patience, MOST_IDLE_POLLS)
            return False
        if not look.is_complete and not one.is_asked_again:
            # A server that was restarted has forgotten its queue.
            one.is_asked_again, one.idle, one.patience = True, 0, IDLE_POLLS
            self._writer.refresh_library(library)
            return False
        if look.unread and not one.is_forced:
            # It compares the times of files with those of its own records, so a clock that was wrong can make it pass
            # over a new NFO.
            one.is_forced, one.idle, one.patience = True, 0, IDLE_POLLS
            for _, item in look.unread:
                self._writer.read_again(item)
        elif look.unread:
            # Nothing on the server tells how far it is with them.
            one.patience = IDLE_POLLS if len(look.unread) < one.unread else 2 * one.patience
            one.idle = 0
        one.unread = len(look.unread)
        if look.unread and one.patience <= MOST_FORCED_POLLS:
            return False
        self._reader.accept(work, look)
        return True


class _Report:
    """Tells the operator how far the server is, with an estimate."""

    def __init__(self, run: PublishingRun) -> None:
        self._log, self._elapsed, self._report = run.log, run.elapsed, progress_reports.get()
        self._libraries = self._entries = 0
        self._started = self._reported = run.elapsed()
        self._over, self._read = 0, 0
        # What the server had read before says nothing about its pace.
        self._before: int | None = None

    def add(self, awaited: Sequence[_Awaited]) -> None:
        """Count libraries that are waited for from now on."""
        self._libraries += len(awaited)
        self._entries += sum(one.to_read for one in awaited)

    def finish(self, over: Sequence[_Awaited]) -> int:
        """Count libraries that are over, and return how many are by now."""
        self._over += len(over)
        self._read += sum(one.to_read for one in over)
        return self._over

    def progress(self, awaited: Sequence[_Awaited]) -> None:
        """Report progress, and log it if the last line is old enough."""
        now = self._elapsed()
        read = self._read + sum(one.read for one in awaited)
        if self._before is None:
            self._before = read
        entries = "entries read by the media server"
        self._report(entries, read - self._before, self._entries - self._before, now - self._started)
        if now - self._reported < max(SECONDS_BETWEEN_LINES, (now - self._started) / LINES_PER_DURATION):
            return
        self._reported = now
        parts = f"{self._over:,} of {counted(self._libraries, 'libraries')}"
        if self._entries:
            parts += f", {read:,} of {counted(self._entries, 'entries')}"
        left = time_left(read - self._before, self._entries - self._before, now - self._started)
        self._log.info(f"The media server has read {parts}{f'; {left}' if left else ''}.")
