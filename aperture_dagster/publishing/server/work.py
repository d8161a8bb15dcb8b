"""The data that the steps of publishing share: the run as a whole, and each library on its way through them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aperture_dagster.model import listed
from aperture_dagster.publishing.disk.desired import DesiredLibrary
from aperture_dagster.publishing.disk.folder import LibraryFolder
from aperture_dagster.publishing.disk.plan import LibraryPlan
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.server.outcomes import PublishingOutcome

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedLibrary
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.publishing.disk.roots import Roots
    from aperture_dagster.publishing.manifest import Manifest


@dataclass(slots=True)
class PublishingRun:
    """What the steps of one run share.

    Attributes:
        server: every change on the media server goes through it; in a dry run, it only counts them.
        manifest: what was placed.
        roots: below which folders.
        log: for the operator.
        now: the time in UTC.
        elapsed: seconds that have passed, from a clock that nobody sets.
        sleep: waits some seconds.
        warnings: sentences for the operator.
        access: what changes in users' policies, with the names of those whose policy it is, in order.
    """

    server: MediaServerWriter
    manifest: Manifest
    roots: Roots
    log: logging.Logger
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    warnings: list[str] = field(default_factory=list)
    access: dict[str, dict[str, None]] = field(default_factory=dict)

    def describe_access(self) -> list[str]:
        """Say what changes in users' policies, a sentence for all users who are alike."""
        return [f"{listed(list(names))}: {about}" for about, names in self.access.items()]

    def warn(self, sentence: str) -> None:
        """Add a warning, unless it is there."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)


@dataclass(slots=True)
class Work:
    """A library, what was placed of it, and what the server makes of it.

    Attributes:
        on_server: the library as the server listed it last; None: it is not there.
        needs_scan: the server must read the library, and be asked to.
        is_being_read: the server was asked by an earlier run, and is at it.
        seen: films and episodes that the server showed before it was asked.
        is_held: nothing was changed, because the server is scanning.
        is_superseded: another run has published it since.
        left: the entries when the server was asked.
    """

    library: DesiredLibrary
    record: PlacedLibrary
    folder: LibraryFolder
    plan: LibraryPlan
    outcome: PublishingOutcome
    on_server: PublishedLibrary | None = None
    needs_scan: bool = False
    is_being_read: bool = False
    is_renamed: bool = False
    seen: int = 0
    is_held: bool = False
    is_superseded: bool = False
    left: Mapping[str, PlacedEntry] = field(default_factory=dict)

    @property
    def folders(self) -> set[str]:
        """The folders of the entries that the server should show."""
        return {entry.folder for entry in self.library.entries}

    @property
    def videos(self) -> set[int]:
        """The rows of the films and episodes that it should show."""
        return {file.item_id for entry in self.library.entries for file in entry.files if file.item_id is not None}

    @property
    def is_verified(self) -> bool:
        """Whether the server has shown what was placed."""
        return self.record.unverified_since is None

    @property
    def is_hidden(self) -> bool:
        """Whether the server shows the library to nobody."""
        return self.on_server is None or self.on_server.options.get("Enabled") is False
