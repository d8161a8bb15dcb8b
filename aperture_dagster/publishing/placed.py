"""What was placed on the media server, as the database remembers it. Nothing else there is ever changed or removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from aperture_dagster.catalogue.identity import MediaType

EntryState = Literal["planned", "placed", "leaving"]


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file that was placed.

    ``digest`` identifies its content or target. ``size`` (bytes), ``mtime_ns`` and ``inode`` are as seen right after
    it was placed; None if that is not known yet. ``item_id`` is the row of the title or episode that a video shows.
    """

    kind: str
    digest: str
    size: int | None = None
    mtime_ns: int | None = None
    inode: int | None = None
    item_id: int | None = None

    def as_list(self) -> list[Any]:
        """Return the values as they are stored."""
        return [self.kind, self.digest, self.size, self.mtime_ns, self.inode, self.item_id]


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """A title in a published library, with every file that was or may have been placed, by path below its folder.

    ``work_id`` is None for an entry that was found on disk but not in the database. ``because`` are the works that its
    reason names.
    """

    entry_id: str
    work_id: int | None
    folder: str
    rank: int
    state: EntryState
    date_added: datetime
    nfo_changed_at: datetime | None = None
    files: Mapping[str, PlacedFile] = field(default_factory=dict, hash=False)
    because: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedLibrary:
    """A library that was created. ``user_id`` is its owner, None if it is shared.

    ``server_item_id`` is its id on the server, ``policy_id`` that in policies. ``missing`` counts the entries that
    the server did not show after its last scan, ``changed`` those that the last run changed. ``unverified_since`` is
    when something was placed that the server has not shown yet; None: what was placed is verified. ``folder`` is below
    ``root``, a path of this machine, which the server sees as ``root_on_server``. ``created_at`` is the moment from
    which the dates of its titles are counted.
    """

    list_key: str
    user_id: str | None
    media_type: MediaType
    name: str
    folder: str
    root: str
    root_on_server: str
    created_at: datetime
    server_item_id: str | None = None
    policy_id: str | None = None
    missing: int = 0
    changed: int = 0
    unverified_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class LibraryList:
    """The list of libraries that a user was given, who might see all of them.

    ``before`` are the ids that the user's policy held then, ``offered`` those of all other libraries that have been on
    the list since.
    """

    user_id: str
    before: tuple[str, ...]
    offered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlacedList:
    """A collection or playlist that was created.

    ``items`` are the server ids that were put into it, ``others`` those that were added by others. While it is created
    or changed, ``server_list_id`` is None, and ``others`` may be missing from it.
    """

    list_key: str
    kind: Literal["collection", "playlist"]
    user_id: str
    name: str
    server_list_id: str | None = None
    items: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    changed: int = 0
