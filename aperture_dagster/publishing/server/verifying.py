"""Verify what the media server has read of a library: it shows what was placed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from aperture_dagster.model import counted
from aperture_dagster.model.errors import StillChanging
from aperture_dagster.publishing.disk.desired import DesiredEntry
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.outcomes import NotShown, ScanTooLong
from aperture_dagster.publishing.server.places import Places, not_read, originals_of
from aperture_dagster.publishing.server.work import PublishingRun, Work

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedItem, PublishedLibrary

NOTICEABLY = timedelta(microseconds=1)


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

    def __init__(self, run: PublishingRun, places: Places) -> None:
        self._run, self._places = run, places
        self._writer, self._manifest, self._log = run.server, run.manifest, run.log
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
        since = work.record.unverified_since or self._run.now()
        work.record = replace(work.record, unverified_since=since)
        self._manifest.write_library(work.record)

    def hold_back(self, work: Work) -> None:
        """Record that a library must be changed later, so that no run that reads it now takes it for settled."""
        if work.record.unverified_since is None:
            self.begin(work)
            return
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
            self._run.warn(
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
        work.outcome.error = ScanTooLong(work.library.name, stage, polling.WAIT_SECONDS)


def _written(work: Work) -> int:
    """Return how many films and episodes a plan writes."""
    return len({one.item_id for plan in (*work.plan.change, *work.plan.add) for one in plan.write} - {None})
