"""Where published libraries are on the media server, what it shows of them, and when it has finished scanning."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from aperture_dagster.publishing.manifest import PlacedLibrary
from aperture_dagster.publishing.nfo import read_title
from aperture_dagster.publishing.outcome import PublishOptions, ScanTooLong
from aperture_dagster.publishing.paths import is_published
from aperture_dagster.publishing.plan import DesiredEntry

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import PublishedItem, PublishedLibrary
    from aperture_dagster.resources.media_server.writer import MediaServerWriter

# What servers replace in names of libraries, which are names of folders there.
_NOT_STORED = '"<>|:*?\\/'
_LEADING_NUMBER = re.compile(r"\d+")


class Places:
    """The published libraries on the server, found by their folders: a name or an id proves nothing.

    Args:
        writer: the media server.
        options: how to publish.
        log: for the operator.
        now: the time.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        writer: MediaServerWriter,
        options: PublishOptions,
        log: logging.Logger,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self._writer, self._options, self._log, self._now, self._sleep = writer, options, log, now, sleep

    def wait_until_idle(self, polls: int) -> None:
        """Wait until no scan is running or queued, as seen in so many polls in a row.

        Raises:
            ScanTooLong: the time limit has passed.
        """
        quiet, started, reported = 0, self._now(), False
        while True:
            quiet = 0 if self._writer.scan_is_running() else quiet + 1
            if quiet >= polls:
                return
            if (self._now() - started).total_seconds() > self._options.wait_seconds:
                raise ScanTooLong(
                    f"The media server has been scanning for more than {self._options.wait_seconds:g} s. What was "
                    "published before is kept; the next run continues, or set APERTURE_PUBLISH_WAIT_SECONDS."
                )
            if not quiet and not reported:
                self._log.info("Waiting for a scan of the media server.")
                reported = True
            self._sleep(self._options.poll_seconds)

    def language(self, media_type: str) -> tuple[str | None, str | None]:
        """Language and country of the originals' library."""
        wanted = "movies" if media_type == "movie" else "tvshows"
        libraries = [one for one in self._writer.libraries() if not self.is_ours(one)]
        library = next((one for one in libraries if one.collection_type == wanted), None)
        return self._writer.language_of(library) if library is not None else (None, None)

    def location(self, record: PlacedLibrary) -> str:
        """The folder of a published library, as the server sees it."""
        return f"{self._options.root_on_server}{separator(self._options.root_on_server)}{record.folder}"

    def is_ours(self, library: PublishedLibrary) -> bool:
        """Tell whether a library is one of the published ones."""
        return any(is_published(location, self._options.root_on_server) for location in library.locations)

    def shown(self, library: PublishedLibrary, record: PlacedLibrary) -> dict[str, PublishedItem]:
        """What the server shows of the entries of a library, by their folders."""
        start = len(as_path(self.location(record))) + 1
        items = self._writer.library_items(library, "Movie" if record.media_type == "movie" else "Series")
        return {as_path(item.path)[start:].partition("/")[0]: item for item in items if item.path is not None}

    def copies(
        self, library: PublishedLibrary, record: PlacedLibrary, entries: Iterable[DesiredEntry]
    ) -> dict[str, int]:
        """The server's ids of the published copies, with the rows of their originals."""
        originals: dict[str, int] = {}
        base = as_path(self.location(record))
        for entry in entries:
            originals[f"{base}/{entry.folder}"] = entry.item_id
            originals |= {f"{base}/{entry.folder}/{one.path}": one.item_id for one in entry.files if one.item_id}
        items = self._writer.library_items(library, "Movie" if record.media_type == "movie" else "Series,Episode")
        return {
            item.server_item_id: originals[as_path(item.path)]
            for item in items
            if item.path is not None and as_path(item.path) in originals
        }


def not_read(
    entries: Iterable[DesiredEntry], shown: Mapping[str, PublishedItem]
) -> list[tuple[DesiredEntry, PublishedItem]]:
    """Return the entries that the server shows with another rank or title than their NFO says, and what it shows.

    A server does not read an NFO again that it takes for older than the item, or whose item is locked.
    """
    differing = []
    for entry in entries:
        item = shown.get(entry.folder)
        if item is None:
            continue
        # The servers pad numbers, ignore case and drop articles in sort names; the number at the start stays.
        rank = _LEADING_NUMBER.match(item.sort_name or "")
        nfo = next((one.content for one in entry.files if one.kind == "nfo" and "/" not in one.path), None)
        title = read_title(nfo) if nfo is not None else None
        is_renamed = title is not None and title.split() != item.name.split()
        if is_renamed or (item.sort_name and (rank is None or int(rank[0]) != entry.rank)):
            differing.append((entry, item))
    return differing


def by_place(libraries: Iterable[PublishedLibrary]) -> dict[str, PublishedLibrary]:
    """Return libraries of the server by the paths of their folders."""
    return {as_path(location): one for one in libraries for location in one.locations}


def library_names(name: str) -> Iterator[str]:
    """Names for a library in order of preference, without what the server would replace."""
    clean = " ".join("".join(" " if one in _NOT_STORED or not one.isprintable() else one for one in name).split())
    yield clean
    yield f"{clean} (Aperture)"
    yield from (f"{clean} (Aperture {number})" for number in range(2, 100))


def as_path(path: str) -> str:
    """A server's path in the form in which paths are compared."""
    return path.replace("\\", "/").rstrip("/")


def separator(path: str) -> str:
    """What separates folders in a server's path."""
    return "\\" if "\\" in path and "/" not in path else "/"
