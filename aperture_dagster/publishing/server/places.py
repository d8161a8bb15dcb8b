"""Find published libraries on the media server by their folders, and read what it shows of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from aperture_dagster.publishing.disk.desired import DesiredEntry
from aperture_dagster.publishing.disk.nfo import read_title, says_rating
from aperture_dagster.publishing.disk.paths import as_path, is_any_published
from aperture_dagster.publishing.disk.roots import Roots
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedItem, PublishedLibrary
    from aperture_dagster.media_server.writer import MediaServerWriter

# What servers replace in names of libraries, which are names of folders there.
_NOT_STORED = '"<>|:*?\\/'
_LEADING_NUMBER = re.compile(r"\d+")


class Places:
    """The published libraries on the server, found by their folders: a name or an id proves nothing.

    Args:
        writer: the media server.
        roots: where libraries were placed.
    """

    def __init__(self, writer: MediaServerWriter, roots: Roots) -> None:
        self._writer, self._roots = writer, roots

    def language(self, media_type: str) -> tuple[str | None, str | None]:
        """Language and country of the originals' library."""
        wanted = "movies" if media_type == "movie" else "tvshows"
        libraries = self.not_ours(self._writer.libraries())
        library = next((one for one in libraries if one.collection_type == wanted), None)
        return self._writer.language_of(library) if library is not None else (None, None)

    def location(self, record: PlacedLibrary) -> str:
        """The folder of a published library, as the server sees it."""
        return self._roots.location(record)

    def not_ours(self, libraries: Iterable[PublishedLibrary]) -> list[PublishedLibrary]:
        """Return the libraries that are not published here."""
        published = self._roots.on_server()
        return [library for library in libraries if not is_any_published(library.locations, published)]

    def others(self, libraries: Iterable[PublishedLibrary]) -> dict[str, str]:
        """Names of the libraries that are not published here, by their ids in policies."""
        return {library.policy_id: library.name for library in self.not_ours(libraries) if library.policy_id}

    def items(self, library: PublishedLibrary, record: PlacedLibrary, *, episodes: bool) -> list[PublishedItem]:
        """What the server shows of a library: films or series, and with ``episodes`` those as well."""
        if record.media_type == "movie":
            return self._writer.library_items(library, "Movie")
        return self._writer.library_items(library, "Series,Episode" if episodes else "Series")

    def shown(self, items: Iterable[PublishedItem], record: PlacedLibrary) -> dict[str, PublishedItem]:
        """Those of a library's items that are entries, by their folders."""
        start = len(as_path(self.location(record))) + 1
        entries = (item for item in items if item.path is not None and item.item_type != "Episode")
        return {as_path(item.path or "")[start:].partition("/")[0]: item for item in entries}

    def copies(
        self, items: Iterable[PublishedItem], record: PlacedLibrary, originals: Mapping[str, int]
    ) -> dict[str, int]:
        """The server's ids of published copies, with the rows of their originals.

        ``originals`` are these rows by path below the library's folder, as of :func:`originals_of`.
        """
        base = f"{as_path(self.location(record))}/"
        paths = {item.server_item_id: as_path(item.path).removeprefix(base) for item in items if item.path is not None}
        return {server_id: originals[path] for server_id, path in paths.items() if path in originals}


def originals_of(entries: Iterable[DesiredEntry | PlacedEntry]) -> dict[str, int]:
    """Return the rows of originals by the paths of what stands for them, below the folder of the library."""
    originals: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, DesiredEntry):
            originals[entry.folder] = entry.item_id
            files = {file.path: file.item_id for file in entry.files}
        else:
            files = {path: one.item_id for path, one in entry.files.items()}
        originals |= {f"{entry.folder}/{path}": item for path, item in files.items() if item is not None}
    return originals


def not_read(
    entries: Iterable[DesiredEntry], shown: Mapping[str, PublishedItem]
) -> list[tuple[DesiredEntry, PublishedItem]]:
    """Return the entries that the server shows otherwise than their NFO says, and what it shows.

    Compared are rank and title, and the rating of what has none: a server does not read an NFO again that it takes for
    older than the item, or whose item is locked, and keeps what an NFO no longer says.
    """
    differing = []
    for entry in entries:
        item = shown.get(entry.folder)
        if item is None:
            continue
        # The servers pad numbers, ignore case and drop articles in sort names; the number at the start stays.
        rank = _LEADING_NUMBER.match(item.sort_name or "")
        nfo = next((file.content for file in entry.files if file.kind == "nfo" and "/" not in file.path), None)
        title = read_title(nfo) if nfo is not None else None
        is_renamed = title is not None and title.split() != item.name.split()
        is_rated = nfo is not None and item.official_rating is not None and not says_rating(nfo)
        if is_renamed or is_rated or (item.sort_name and (rank is None or int(rank[0]) != entry.rank)):
            differing.append((entry, item))
    return differing


def by_place(libraries: Iterable[PublishedLibrary]) -> dict[str, PublishedLibrary]:
    """Return libraries of the server by the paths of their folders."""
    return {as_path(location): library for library in libraries for location in library.locations}


def library_names(name: str) -> Iterator[str]:
    """Names for a library in order of preference, without what the server would replace."""
    clean = " ".join("".join(" " if one in _NOT_STORED or not one.isprintable() else one for one in name).split())
    yield clean
    yield f"{clean} (Aperture)"
    yield from (f"{clean} (Aperture {number})" for number in range(2, 100))
