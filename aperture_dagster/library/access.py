"""Which copies of a title a user may see: libraries, folders and tags, as the media server's policy for them says.

The rules are the servers' own. A copy is hidden by one blocked tag, and, where any tags are allowed, by having none of
them; below an excluded folder (Emby) everything is hidden. Tags are compared as Jellyfin 12 does (jellyfin/jellyfin,
``MediaBrowser.Controller/Entities/BaseItem.cs``: ``IsVisibleViaTags``, ``src/Jellyfin.Extensions/StringExtensions.cs``:
``GetCleanValue``): without case, accents and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a work on the server. ``path`` is the server's own."""

    work_id: int
    item_id: int
    library_id: str
    tags: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What one user may see.

    ``library_ids`` counts unless all libraries are; in ``open_library_ids`` everything has an allowed tag, namely that
    of the library itself; paths are the server's own.
    """

    all_libraries: bool = True
    library_ids: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    open_library_ids: tuple[str, ...] = ()
    excluded_folders: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether anything may be hidden."""
        return not self.all_libraries or bool(self.blocked_tags or self.allowed_tags or self.excluded_folders)


def visible_copies(
    copies: Iterable[Copy], access: Access, preferred: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return the works that a user may see, each with the item id of a copy that they may: ``{work_id: item_id}``.

    Args:
        copies: all copies of all works.
        access: what the user may see.
        preferred: the item that is usually shown of a work; taken when the user may see it, else the lowest item id is.
    """
    usual = preferred or {}
    libraries = None if access.all_libraries else frozenset(access.library_ids)
    blocked, allowed = clean_tags(access.blocked_tags), clean_tags(access.allowed_tags)
    folders = tuple(_as_prefix(folder) for folder in access.excluded_folders)
    visible: dict[int, int] = {}
    for copy in copies:
        if libraries is not None and copy.library_id not in libraries:
            continue
        if blocked or allowed:
            tags = clean_tags(copy.tags)
            if blocked & tags or (allowed and copy.library_id not in access.open_library_ids and not allowed & tags):
                continue
        if folders and copy.path is not None and _as_prefix(copy.path).startswith(folders):
            continue
        shown = visible.get(copy.work_id)
        if shown is None or copy.item_id == usual.get(copy.work_id):
            visible[copy.work_id] = copy.item_id
        elif shown != usual.get(copy.work_id):
            visible[copy.work_id] = min(shown, copy.item_id)
    return visible


def clean_tags(tags: Iterable[str]) -> frozenset[str]:
    """Tags in the form that is compared; blank ones are left out."""
    return frozenset(cleaned for tag in tags if (cleaned := _clean(tag)))


def _clean(tag: str) -> str:
    letters = "".join(one for one in unicodedata.normalize("NFKD", tag) if not unicodedata.combining(one))
    return _NEITHER_LETTER_NOR_DIGIT.sub(" ", letters.lower()).strip()


def _as_prefix(path: str) -> str:
    """A path that only what lies below it begins with, whichever slashes the server's system has."""
    return path.replace("\\", "/").rstrip("/") + "/"
