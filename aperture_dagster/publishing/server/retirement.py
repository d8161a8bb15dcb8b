"""Take libraries back: from the media server first, then from the disk that holds their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.publishing.disk.folder import FolderError
from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.server.outcomes import PublishingOutcome
from aperture_dagster.publishing.server.work import PublishingRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperture_dagster.media_server.records import PublishedLibrary

# After so many failures in a row, the others would fail for the same reason.
FAILURES_IN_A_ROW = 3
Credit = Callable[[PlacedLibrary, Sequence[PlacedEntry], "PublishedLibrary | None"], None]
"""Called before published copies disappear, with their library on the server, so that no play is lost."""


@dataclass(slots=True)
class Leaving:
    """A library that is taken back; one that ``is_held`` is not touched while the server is scanning."""

    record: PlacedLibrary
    outcome: PublishingOutcome
    is_held: bool = False

    def fail(self, error: Exception) -> None:
        """Note why it is not taken back."""
        self.outcome.retired, self.outcome.error = False, error


class Retirement:
    """Takes libraries back."""

    def __init__(self, run: PublishingRun, credit: Credit) -> None:
        self._run, self._credit = run, credit
        self._manifest, self._roots = run.manifest, run.roots

    def delete(self, leaving: Sequence[Leaving], listed: Mapping[str, PublishedLibrary]) -> None:
        """Delete libraries on the server; their files go once nobody can see them.

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
                    self._run.server.delete_library(library, scan=key == last)
                in_a_row = 0
            except Exception as error:
                self._run.log.warning(f"{one.outcome.label}: {error}")
                in_a_row += 1
                failed = [one, *(leaving[number:] if in_a_row == FAILURES_IN_A_ROW else ())]
                for each in failed:
                    each.fail(error)
                if len(failed) > 1:
                    return

    def check(self, leaving: Sequence[Leaving]) -> None:
        """Fail those whose files cannot be removed now. Below a folder of earlier settings, they may stay."""
        for one in leaving:
            try:
                self._roots.require(one.record)
            except FolderError as error:
                self._give_up(one, error)

    def remove_files(self, one: Leaving) -> None:
        """Remove the files of a library that is gone from the server, and forget it."""
        try:
            folder = self._roots.folder(one.record)
            entries = self._manifest.entries(one.record.list_key).values()
            left = [entry.folder for entry in entries if not folder.remove(entry)]
            if not folder.retire() or left:
                self._run.warn(f"{folder.path} holds files that this product did not place; they are still there.")
        except FolderError as error:
            self._give_up(one, error)
        if one.outcome.error is None:
            self._manifest.forget_library(one.record.list_key)

    def _give_up(self, one: Leaving, error: FolderError) -> None:
        if self._roots.is_current(one.record):
            one.fail(error)
        else:
            self._run.warn(
                f"Files that were published in {one.record.root} cannot be removed now, and stay there: delete them "
                "yourself."
            )
