"""An item of a library that a client made, found by a scan."""

from __future__ import annotations

import hashlib
from typing import Any

from aperture_dagster.simulator.disk import Entry
from aperture_dagster.simulator.folder_reader import Found
from aperture_dagster.simulator.item import Item, rating_age
from aperture_dagster.simulator.world import WorldLibrary, WorldTitle


class ScannedItem(Item):
    """An item of a library that a client made, found by a scan."""

    __slots__ = ("artwork", "ends", "file_modified", "image", "parts", "server_path", "strm", "target", "values")

    def __init__(self, slot: int, found: Found, library: WorldLibrary, created: float) -> None:
        title = WorldTitle(f"scanned:{found.item_id}", "movie" if found.kind == "Movie" else "series", found.name)
        super().__init__(slot, found.kind, title, found.name, library, created)
        self.id = found.item_id
        self.server_path = found.path
        self.values: dict[str, Any] = {}
        """Metadata by name, as the parser of NFO files names it."""
        self.image: Entry | None = None
        self.artwork: dict[str, Entry] = {}
        self.target: str | None = None
        """Of a link: the path of the file that is played."""
        self.strm: str | None = None
        """Of a STRM file: its first line."""
        self.parts: tuple[str, ...] = ()
        self.file_modified = 0.0
        self.ends: str | None = None

    @property
    def path(self) -> str:
        """Where the file or folder lies on the media server."""
        return self.server_path

    @property
    def has_own_facts(self) -> bool:
        """Whether ``title`` describes the item itself: always."""
        return True

    @property
    def premiere(self) -> str | None:
        """The premiere as ``YYYY-MM-DD``, if known."""
        return self.title.release_date

    @property
    def end_date(self) -> str | None:
        """When the last episode aired, if known."""
        return self.ends

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that decide who may see the item."""
        inherited = self.series.title.server_tags if self.series is not None else ()
        return (*self.title.server_tags, *inherited, *self.library.tags)

    @property
    def rating_age(self) -> int | None:
        """Minimum age of the official rating, or that of the series."""
        own = rating_age(self.title.official_rating)
        return self.series.rating_age if own is None and self.series is not None else own

    @property
    def image_tag(self) -> str | None:
        """A hash of the image's path and time; None without one."""
        return None if self.image is None else _tag(self.image)

    @property
    def artwork_files(self) -> dict[str, str]:
        """The files of the other images by type, beside the video."""
        return {kind: entry.path for kind, entry in self.artwork.items()}

    @property
    def artwork_tags(self) -> dict[str, str]:
        """The tags of the other images by type."""
        return {kind: _tag(entry) for kind, entry in self.artwork.items()}

    @property
    def media_path(self) -> str:
        """The path of the file that is played: a link's target, or what a STRM file names."""
        return self.strm or self.target or self.server_path

    @property
    def part_paths(self) -> list[str]:
        """The files of a film that follow the first one."""
        return list(self.parts)

    def renew_id(self) -> None:
        """Leave the id as it is: it follows from type and path."""


def _tag(image: Entry) -> str:
    return hashlib.md5(f"{image.path}|{image.modified:.3f}".encode(), usedforsecurity=False).hexdigest()
