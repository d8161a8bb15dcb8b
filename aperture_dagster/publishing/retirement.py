"""Take libraries back: from the media server first, then from the disk that holds their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.publishing.folder import FolderError
from aperture_dagster.publishing.manifest import Leftover, PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.paths import as_path
from aperture_dagster.publishing.work import Outcome, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperture_dagster.media_server.records import PublishedLibrary

# After so many failures in a row, the others would fail for the same reason.
FAILURES_IN_A_ROW = 3
Credit = Callable[[PlacedLibrary, Sequence[PlacedEntry], "PublishedLibrary | None"], None]
"""Called before published copies disappear, with their library on the server, so that no play is lost."""


@dataclass(slots=True)
class Leaving:
    """A library that is taken back."""

    record: PlacedLibrary
    outcome: Outcome

    def fail(self, error: Exception) -> None:
        """Note why it is not taken back."""
        self.outcome.retired, self.outcome.error = False, error


class Retirement:
    """Takes libraries back. Files that cannot be removed now are remembered, for a later run to remove."""

    def __init__(self, session: Session, credit: Credit) -> None:
        self._session, self._credit = session, credit
        self._manifest, self._roots = session.manifest, session.roots

    def delete(self, leaving: Sequence[Leaving], listed: Mapping[str, PublishedLibrary]) -> None:
        """Delete libraries on the server; their files go after nobody can see them any more.

        One that cannot be deleted stays as it is, and costs no other, unless several in a row fail.
        """
        places = {one.record.list_key: listed.get(as_path(self._roots.location(one.record))) for one in leaving}
        last = next((key for key in reversed(places) if places[key] is not None), None)
        in_a_row = 0
        for number, one in enumerate(leaving, start=1):
            key, library = one.record.list_key, places[one.record.list_key]
            try:
                if library is not None:
                    self._credit(one.record, list(self._manifest.entries(key).values()), library)
                    # Items of a deleted library stay in the server's database until a scan.
                    self._session.server.delete_library(library, scan=key == last)
                in_a_row = 0
            except Exception as error:
                self._session.log.warning(f"{one.outcome.label}: {error}")
                in_a_row += 1
                failed = [one, *(leaving[number:] if in_a_row == FAILURES_IN_A_ROW else ())]
                for each in failed:
                    each.fail(error)
                if len(failed) > 1:
                    return

    def preview(self, leaving: Sequence[Leaving]) -> None:
        """Say in a plan whose files could not be removed."""
        for one in leaving:
            one.outcome.left_behind = self._why_left(one.record)

    def _why_left(self, record: PlacedLibrary | Leftover) -> str | None:
        try:
            self._roots.require(record)
        except FolderError as error:
            return None if self._roots.is_forgotten(record) else str(error)
        return None

    def remove_files(self, one: Leaving) -> None:
        """Remove the files of a library that is gone from the server and forget it, or remember what is still there."""
        record = one.record
        one.outcome.left_behind = self._remove(record, self._manifest.entries(record.list_key).values())
        if one.outcome.left_behind is None:
            self._manifest.forget_library(record.list_key)
        else:
            self._manifest.leave_library(record)

    def finish(self, *, dry_run: bool) -> list[Outcome]:
        """Remove the files that earlier runs had to leave."""
        outcomes = []
        placed = {(as_path(one.root_on_server), one.folder) for one in self._manifest.libraries().values()}
        for leftover in self._manifest.leftovers():
            if (as_path(leftover.root_on_server), leftover.folder) in placed:
                # The library is there again, and takes over what carries our marker.
                if not dry_run:
                    self._manifest.forget_leftover(leftover)
                continue
            outcome = Outcome(leftover.list_key, leftover.name, None, retired=True)
            outcomes.append(outcome)
            if dry_run:
                outcome.left_behind = self._why_left(leftover)
                continue
            outcome.left_behind = self._remove(leftover, leftover.entries.values())
            if outcome.left_behind is None:
                self._manifest.forget_leftover(leftover)
        return outcomes

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Warn once for each reason for which files have to stay."""
        for reason, count in Counter(one.left_behind for one in outcomes if one.left_behind).items():
            self._session.warn(
                f"The files of {count} {'library' if count == 1 else 'libraries'} cannot be removed now: {reason}"
            )

    def _remove(self, record: PlacedLibrary | Leftover, entries: Collection[PlacedEntry]) -> str | None:
        """Remove what was placed of a library; say why it cannot be removed, unless its folder was given up."""
        try:
            self._roots.require(record)
            folder = self._roots.folder(record)
            left = [entry.folder for entry in entries if not folder.remove(entry)]
            if not folder.retire() or left:
                self._session.warn(f"{folder.path} holds files that this product did not place; they are still there.")
        except FolderError as error:
            return None if self._roots.is_forgotten(record) else str(error)
        return None
