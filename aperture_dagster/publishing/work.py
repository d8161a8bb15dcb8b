"""One library on its way through the steps of publishing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.publishing.folder import LibraryFolder
from aperture_dagster.publishing.manifest import PlacedLibrary
from aperture_dagster.publishing.outcome import Outcome
from aperture_dagster.publishing.plan import DesiredLibrary, LibraryPlan

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import PublishedLibrary


@dataclass(slots=True)
class Work:
    """A library, what was placed of it, and what the server makes of it.

    Attributes:
        on_server: the library as the server listed it last; None: it is not there.
        needs_scan: the server must read the library, and be asked to.
        is_being_read: the server was asked by an earlier run, and is at it.
        seen: films and episodes that the server showed before it was asked.
    """

    library: DesiredLibrary
    record: PlacedLibrary
    folder: LibraryFolder
    plan: LibraryPlan
    outcome: Outcome
    on_server: PublishedLibrary | None = None
    needs_scan: bool = False
    is_being_read: bool = False
    is_renamed: bool = False
    seen: int = 0

    @property
    def folders(self) -> set[str]:
        """The folders of the entries that the server should show."""
        return {entry.folder for entry in self.library.entries}

    @property
    def videos(self) -> set[int]:
        """The rows of the films and episodes that it should show."""
        return {one.item_id for entry in self.library.entries for one in entry.files if one.item_id is not None}

    @property
    def is_verified(self) -> bool:
        """Whether the server has shown what was placed."""
        return self.record.unverified_since is None

    @property
    def is_hidden(self) -> bool:
        """Whether the server shows the library to nobody."""
        return self.on_server is None or self.on_server.options.get("Enabled") is False
