"""The desired state of a library: its entries, their files, and the pictures in these."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from aperture_dagster.media_server.records import PictureKind
from aperture_dagster.publishing.placed import MediaType

FileKind = Literal["symlink", "strm", "nfo", "poster", "artwork"]
VIDEO_KINDS = ("symlink", "strm")


@dataclass(frozen=True, slots=True)
class PictureSource:
    """What a poster is drawn from: the picture of an item on the server, else one at TMDb, else the title.

    Of another ``kind``, it is the picture of the item on the server, as it is.
    """

    server_item_id: str
    tag: str | None
    poster_path: str | None
    title: str
    rank: int | None
    kind: PictureKind = "Primary"


@dataclass(frozen=True, slots=True)
class DesiredFile:
    """A file below an entry's folder.

    ``digest`` identifies the content: two files with the same digest are the same. ``content`` is that of an NFO or
    STRM file; a poster is drawn from ``picture`` only if it is needed, and so is artwork without ``target``. That is
    the path of the original, or of its artwork, as the media server sees it. ``item_id`` is the row of the original.
    """

    path: str
    kind: FileKind
    digest: str
    content: bytes | None = None
    picture: PictureSource | None = None
    target: str | None = None
    item_id: int | None = None

    @property
    def is_original(self) -> bool:
        """Whether it refers to an original, rather than being made here."""
        return self.kind in VIDEO_KINDS


@dataclass(frozen=True, slots=True)
class DesiredEntry:
    """A title of a library, in a folder of its own.

    ``title`` is for people, ``item_id`` the row of the original, ``because`` are the works that its reason names.
    """

    entry_id: str
    work_id: int
    item_id: int
    rank: int
    title: str
    folder: str
    date_added: datetime
    files: tuple[DesiredFile, ...]
    because: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DesiredLibrary:
    """A library as it should be.

    Args:
        list_key: identifies the list for ever, such as ``recommendations/USER/movie``.
        name: on the media server.
        media_type: decides the type of the library.
        user_id: the owner; None for a shared library.
        viewers: ids of the users who may see it.
        entries: in rank order.
        skipped: titles that cannot be published, with the reason.
    """

    list_key: str
    name: str
    media_type: MediaType
    user_id: str | None
    viewers: frozenset[str]
    entries: tuple[DesiredEntry, ...]
    skipped: tuple[str, ...] = ()
