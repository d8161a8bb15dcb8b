"""Which copies of titles a user may see, by the policy on the media server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aperture_dagster.media_server.records import ServerLibrary, ServerUser
from aperture_dagster.model import clean_tags


@dataclass(frozen=True, slots=True)
class LibraryCopy:
    """One copy of a work on the server. ``path`` is the path as the server sees it."""

    work_id: int
    item_id: int
    library_id: str
    tags: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Visibility:
    """The access rules of a user.

    ``library_ids`` applies only without ``all_libraries``. Libraries in ``open_library_ids`` have an allowed tag
    themselves, which all of their items inherit. Folders are paths as the server sees them.
    """

    all_libraries: bool = True
    library_ids: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    open_library_ids: tuple[str, ...] = ()
    excluded_folders: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether any copy may be hidden."""
        return not self.all_libraries or bool(self.blocked_tags or self.allowed_tags or self.excluded_folders)


def visible_copies(
    copies: Iterable[LibraryCopy], access: Visibility, preferred: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return a visible copy of each work that a user may see, ``{work_id: item_id}``.

    It is the one in ``preferred``, the item usually shown, or else the one with the lowest id.
    """
    usual = preferred or {}
    shown: dict[int, int] = {}
    for copy in copies_in_sight(copies, access):
        chosen = shown.get(copy.work_id)
        if chosen is None or copy.item_id == usual.get(copy.work_id):
            shown[copy.work_id] = copy.item_id
        elif chosen != usual.get(copy.work_id):
            shown[copy.work_id] = min(chosen, copy.item_id)
    return shown


def copies_in_sight(copies: Iterable[LibraryCopy], access: Visibility) -> Iterator[LibraryCopy]:
    """Yield the copies that a user may see."""
    libraries = None if access.all_libraries else frozenset(access.library_ids)
    blocked, allowed = clean_tags(access.blocked_tags), clean_tags(access.allowed_tags)
    folders = tuple(_as_prefix(folder) for folder in access.excluded_folders)
    for copy in copies:
        if libraries is not None and copy.library_id not in libraries:
            continue
        if blocked or allowed:
            tags = clean_tags(copy.tags)
            if blocked & tags or (allowed and copy.library_id not in access.open_library_ids and not allowed & tags):
                continue
        if folders and copy.path is not None and _as_prefix(copy.path).startswith(folders):
            continue
        yield copy


def hidden_from(users: Iterable[ServerUser], library: ServerLibrary) -> dict[str, list[ServerUser]]:
    """Return which users may not see a library or, where that differs, each of its folders."""

    def may_see(user: ServerUser, path: str | None) -> bool:
        access = Visibility(user.all_libraries, user.library_ids, excluded_folders=user.excluded_folders)
        return any(copies_in_sight([LibraryCopy(0, 0, library.library_id, path=path)], access))

    everybody = list(users)
    blind = {path: [one for one in everybody if not may_see(one, path)] for path in library.locations or (None,)}
    first, *others = blind.values()
    if all(one == first for one in others):
        return {repr(library.name): first}
    return {f"{path} in {library.name!r}": found for path, found in blind.items()}


def _as_prefix(path: str) -> str:
    """Return a path with a trailing slash, so that only paths below it start with it; on Windows, too."""
    return path.replace("\\", "/").rstrip("/") + "/"
