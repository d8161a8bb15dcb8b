"""Wait for the media server to read libraries, and verify each as soon as it has: what it shows is what was placed.

A server reads one library after the other, at about 12 links a second or slower, so the last of many is complete an
hour after the first. There is no limit on that while it makes progress.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from aperture_dagster.model import SECONDS_BETWEEN_LINES, counted, past, time_left
from aperture_dagster.model.errors import StillChanging
from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.disk.plan import DesiredEntry
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.server.preflight import Places, by_place, not_read, originals_of
from aperture_dagster.publishing.server.work import NotShown, ScanTooLong, Session, Work

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedItem, PublishedLibrary

POLL_SECONDS = 1.0
# The first pause, as a share of POLL_SECONDS, and how each later one is longer: a small library is read in less than a
# second.
FIRST_PAUSE, PAUSE_GROWTH = 0.03, 1.5
# How long to wait for a scan that makes no progress. While it makes progress, there is no limit.
WAIT_SECONDS = 900.0
# The status of a refresh may read "Idle" for an instant between the queue and its start. A poll that comes earlier than
# POLL_SECONDS after the one before counts for less than one.
IDLE_POLLS = 3
# While everything is scanned, a library may seem idle because its turn has not come: it is looked at ever less often.
MOST_IDLE_POLLS = 60
# How often in a row the server may have read none of the files that it was asked to read again.
MOST_FORCED_POLLS = 12
NOTICEABLY = timedelta(microseconds=1)
# The longer it takes, the less often progress is logged: each line is a row in the event log.
LINES_PER_DURATION = 20


class Watch:
    """Polls of the media server, with how long it has made no progress."""

    def __init__(self, session: Session) -> None:
        self._session, self._writer = session, session.server
        self._seen: dict[Hashable, str | float] = {}
        self._moved_at = session.elapsed()
        self.scans_everything = False
        self.is_busy = False
        self.share = 0.0
        """The pause before the last poll, as a share of the longest."""

    def poll(self) -> list[PublishedLibrary]:
        """Return the server's libraries, with what it is doing with them."""
        progress = self._writer.scan_progress()
        libraries = self._writer.libraries()
        self.scans_everything = progress is not None
        self.is_busy = self.scans_everything or any(one.refresh_status != "Idle" for one in libraries)
        self.note("scan", progress if progress is not None else -1.0)
        for one in libraries:
            self.note(("status", one.name), one.refresh_status)
            self.note(("progress", one.name), one.refresh_progress or 0.0)
        return libraries

    def note(self, what: Hashable, value: str | float) -> None:
        """Notice progress: another status, or a figure that has risen."""
        before = self._seen.get(what)
        self._seen[what] = value
        if before is None or (value != before if isinstance(value, str) else value > float(before)):
            self._moved_at = self._session.elapsed()

    @property
    def is_stalled(self) -> bool:
        """Whether the server has made no progress for too long."""
        return self._session.elapsed() - self._moved_at > WAIT_SECONDS

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
        self._session.sleep(self.share * POLL_SECONDS)


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


@dataclass(slots=True)
class _Look:
    """What the server shows of a library: the folders of entries that are missing or gone, and missing episodes.

    ``videos`` are the films and episodes that it shows, ``unread`` the entries whose NFO it has not read. ``copies``
    are the ids of all of them; None if no episodes were looked at.
    """

    missing: set[str]
    surplus: set[str]
    episodes: int
    videos: int
    unread: list[tuple[DesiredEntry, PublishedItem]]
    copies: Collection[str] | None

    @property
    def is_complete(self) -> bool:
        """Whether the server shows exactly what was placed."""
        return not (self.missing or self.surplus or self.episodes)


class LibraryReader:
    """Has the media server read libraries, and verifies them."""

    def __init__(self, session: Session, places: Places) -> None:
        self._session, self._places = session, places
        self._writer, self._manifest, self._log = session.server, session.manifest, session.log
        self.refreshes = 0
        """How often the server was asked to read a library, or all of them."""

    # What is there already

    def check(self, work: Work) -> None:
        """Look at a library that an earlier run placed: verify it if that run did not, or find that it must be read.

        What the server lost is noticed as well, such as titles whose originals could not be reached for a while.
        """
        if work.on_server is None or not work.on_server.item_id:
            return
        was_verified = work.is_verified
        if was_verified:
            work.seen = len(work.videos) - _written(work)
            if work.needs_scan:
                return
        try:
            items = self._places.items(work.on_server, work.record, episodes=not was_verified)
        except StillChanging:
            if was_verified:
                raise
            # The server is reading it at this moment.
            work.is_being_read = not work.needs_scan
            return
        ids = {item.server_item_id for item in self._places.shown(items, work.record).values()}
        is_whole = not was_verified
        if was_verified and self._manifest.known_copies(ids) != ids:
            # It was placed by a version that did not record them, or the database is older than the library.
            items, is_whole = self._places.items(work.on_server, work.record, episodes=True), True
        look = self.look(work, items, is_whole=is_whole)
        if not was_verified:
            work.seen = look.videos
        if work.needs_scan:
            return
        is_read = look.is_complete and not look.unread
        work.is_being_read = not was_verified and work.on_server.refresh_status != "Idle"
        work.needs_scan = not is_read and not work.is_being_read
        if is_read and not work.is_being_read and (not was_verified or work.record.missing):
            self.accept(work, look)

    def record_copies(
        self, library: PublishedLibrary, record: PlacedLibrary, entries: Iterable[PlacedEntry | DesiredEntry]
    ) -> None:
        """Record the ids of the copies that the server shows of a library."""
        items = self._places.items(library, record, episodes=True)
        self._manifest.write_copies(self._places.copies(items, record, originals_of(entries)), record.folder)

    # Waiting

    def begin(self, work: Work) -> None:
        """Record that a library must be verified, before anything of it changes."""
        since = past(work.record.unverified_since, self._session.now()) or self._session.now()
        work.record = replace(work.record, unverified_since=since)
        self._manifest.write_library(work.record)

    def hold_back(self, work: Work) -> None:
        """Record that a library must be changed later, so that no run that reads it now takes it for settled."""
        if past(work.record.unverified_since, self._session.now()) is None:
            self.begin(work)
            return
        assert work.record.unverified_since is not None
        # The age of what is not verified stays, and the run that waits for it sees another date.
        work.record = replace(work.record, unverified_since=work.record.unverified_since + NOTICEABLY)
        self._manifest.write_library(work.record)

    def refresh(self, work: Work) -> None:
        """Ask the server to read a library."""
        assert work.on_server is not None
        if not work.outcome.created:
            # Somebody may have switched on what would replace our titles and posters.
            language = self._places.language(work.library.media_type)
            self._writer.correct_options(work.on_server, work.library.media_type, language)
        self._writer.refresh_library(work.on_server)
        self.refreshes += 1

    def scan_everything(self) -> None:
        """Ask the server to read all libraries, which gives ids to those that have none."""
        self._writer.start_scan()
        self.refreshes += 1

    # Verifying

    def look(self, work: Work, items: Sequence[PublishedItem], *, is_whole: bool) -> _Look:
        """Compare what the server shows with what was placed, and record the ids of the copies in any case.

        ``is_whole`` tells whether ``items`` has episodes as well.
        """
        record, entries = work.record, work.library.entries
        # What leaves may have been watched.
        originals = originals_of([*work.plan.remove, *entries])
        copies = self._places.copies(items, record, originals)
        work.outcome.rows_written += self._manifest.write_copies(copies, record.folder)
        shown, expected = self._places.shown(items, record), work.folders
        missing_videos = len(work.videos - set(copies.values()))
        waiting = {entry.entry_id for entry in work.plan.waiting}
        return _Look(
            missing=expected - shown.keys(),
            surplus=shown.keys() - expected,
            episodes=missing_videos if is_whole and record.media_type == "series" else 0,
            videos=len(work.videos) - missing_videos,
            unread=not_read([entry for entry in entries if entry.entry_id not in waiting], shown),
            copies=list(copies) if is_whole else None,
        )

    def accept(self, work: Work, look: _Look) -> None:
        """Record that the server has read a library, and say what it does not show of it.

        Raises:
            NotShown: it shows nothing.
        """
        name, entries = work.library.name, len(work.library.entries)
        if look.missing:
            self._log.warning(
                f"{name}: the media server does not show {len(look.missing)} of {entries} titles; the first missing "
                f"one is in {min(look.missing)}."
            )
        elif look.episodes:
            self._log.warning(f"{name}: the media server does not show {counted(look.episodes, 'episodes')}.")
        if look.surplus:
            self._log.warning(f"{name}: the media server still shows {len(look.surplus)} titles that are gone.")
        if look.unread:
            self._session.warn(
                f"{name}: the media server does not read what changed of {len(look.unread)} titles, such as "
                f"{look.unread[0][0].title}, and shows them in a former order. Unlock their metadata on the server, "
                "and set its clock right."
            )
        if look.is_complete and look.copies is not None:
            self._manifest.forget_other_copies(work.record.list_key, look.copies)
        is_empty = bool(look.missing) and len(look.missing) == entries
        since = work.record.unverified_since if is_empty else None
        work.record = replace(work.record, missing=len(look.missing), unverified_since=since)
        self._manifest.write_library(work.record)
        work.needs_scan = work.is_being_read = False
        if is_empty:
            raise NotShown(
                f"The media server shows no title of {name!r}: the originals cannot be reached under the paths that it "
                "reported. Check that their disk is mounted, and APERTURE_PATH_MAP."
            )

    def give_up(self, work: Work) -> None:
        """Record what can be seen of a library that the server does not go on reading."""
        try:
            if work.on_server is not None and work.on_server.item_id:
                self.record_copies(work.on_server, work.record, work.library.entries)
        except Exception as error:
            self._log.warning(f"{work.outcome.label}: {error}")
        stage = "hidden" if work.is_hidden else "shown"
        work.outcome.error = ScanTooLong(work.library.name, stage, WAIT_SECONDS)


class Waiting:
    """Waits for the media server to read libraries, and finds out which of them it has read.

    Only :meth:`settle` and :meth:`give_up` write anything; the caller must have the right to publish then, and nothing
    but them needs it. The first calls of :meth:`add` say what the server has been asked for.

    Args:
        session: the run.
        reader: verifies libraries.
        places: where published libraries are on the server.
    """

    def __init__(self, session: Session, reader: LibraryReader, places: Places) -> None:
        self._writer, self._log, self._elapsed = session.server, session.log, session.elapsed
        self._reader, self._places = reader, places
        self._awaited: list[_Awaited] = []
        self._watch, self._report = Watch(session), _Report(session)
        self._listed: Mapping[str, PublishedLibrary] = {}
        self._started = session.elapsed()

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

    def __init__(self, session: Session) -> None:
        self._log, self._elapsed = session.log, session.elapsed
        self._libraries = self._entries = 0
        self._started = self._reported = session.elapsed()
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
        """Log progress, if the last line is old enough."""
        now = self._elapsed()
        read = self._read + sum(one.read for one in awaited)
        if self._before is None:
            self._before = read
        if now - self._reported < max(SECONDS_BETWEEN_LINES, (now - self._started) / LINES_PER_DURATION):
            return
        self._reported = now
        parts = f"{self._over:,} of {counted(self._libraries, 'libraries')}"
        if self._entries:
            parts += f", {read:,} of {counted(self._entries, 'entries')}"
        left = time_left(read - self._before, self._entries - self._before, now - self._started)
        self._log.info(f"The media server has read {parts}{f'; {left}' if left else ''}.")


def _written(work: Work) -> int:
    """Return how many films and episodes a plan writes."""
    return len({one.item_id for plan in (*work.plan.change, *work.plan.add) for one in plan.write} - {None})
