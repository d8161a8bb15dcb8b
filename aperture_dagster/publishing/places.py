"""Where published libraries are on the media server, what it shows of them, and when it has finished scanning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from aperture_dagster.publishing.manifest import PlacedLibrary
from aperture_dagster.publishing.outcome import PublishOptions, ScanTooLong

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import PublishedLibrary
    from aperture_dagster.resources.media_server.writer import MediaServerWriter

# What servers replace in names of libraries, which are names of folders there.
_NOT_STORED = '"<>|:*?\\/'


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

    def by_place(self) -> dict[str, PublishedLibrary]:
        """All libraries of the server by the paths of their folders."""
        return {as_path(location): one for one in self._writer.libraries() for location in one.locations}

    def location(self, record: PlacedLibrary) -> str:
        """The folder of a published library, as the server sees it."""
        return f"{self._options.root_on_server}{separator(self._options.root_on_server)}{record.folder}"

    def is_ours(self, library: PublishedLibrary) -> bool:
        """Tell whether a library is below the root of published libraries."""
        root = as_path(self._options.root_on_server)
        return any(as_path(location).startswith(f"{root}/") for location in library.locations)

    def shown_folders(self, library: PublishedLibrary, record: PlacedLibrary) -> set[str]:
        """The folders of the entries that the server shows in a library."""
        start = len(as_path(self.location(record))) + 1
        items = self._writer.library_items(library, "Movie" if record.media_type == "movie" else "Series")
        return {as_path(item.path)[start:].partition("/")[0] for item in items if item.path is not None}


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
