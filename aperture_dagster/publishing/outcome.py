"""Options, outcomes and errors of publishing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aperture_dagster.errors import OperatorError
from aperture_dagster.publishing.plan import DesiredEntry


class PublishingError(OperatorError):
    """Something on the media server or in its setup must change first; the message says what."""


class ScanTooLong(PublishingError):
    """A scan of the media server did not end within the time limit."""


class NotShown(PublishingError):
    """After its scan, the media server shows something else than what was published."""


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish.

    Args:
        root: the folder of published libraries, as this machine sees it.
        root_on_server: the same, as the media server sees it.
        strict_access: see :func:`plan_access`.
        hide_own_from_latest: see :func:`plan_access`.
        wait_seconds: time limit for a scan.
        poll_seconds: interval at which its progress is read.
    """

    root: Path
    root_on_server: str
    strict_access: bool
    hide_own_from_latest: bool
    wait_seconds: float
    poll_seconds: float


@dataclass(slots=True)
class Outcome:
    """What happened to one library, collection or playlist.

    ``added``, ``changed``, ``removed`` and ``waiting`` count entries. ``listed`` are its entries now, ``ranks_before``
    the ranks of the last time by work id, ``left`` the titles that left.
    """

    list_key: str
    name: str
    user_id: str | None
    kind: Literal["library", "collection", "playlist"] = "library"
    entries: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    waiting: int = 0
    rows_written: int = 0
    skipped: tuple[str, ...] = ()
    listed: tuple[DesiredEntry, ...] = ()
    ranks_before: Mapping[int, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    created: bool = False
    retired: bool = False
    error: Exception | None = None

    @property
    def owner(self) -> str | None:
        """The user whose list it is, by its key; None for a list that is for everybody.

        A collection has no ``user_id``, even if it is made from the list of a user.
        """
        _, _, rest = self.list_key.partition("/")
        return self.user_id or (None if rest in ("movie", "series") else rest.partition("/")[0])

    @property
    def changes(self) -> int:
        """How many entries changed."""
        return self.added + self.changed + self.removed
