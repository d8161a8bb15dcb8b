"""Where published libraries are on the media server, and what is examined before anything is published."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.publishing.disk.names import choose_form, form_warning
from aperture_dagster.publishing.disk.nfo import read_title, says_rating
from aperture_dagster.publishing.disk.paths import PathMap, as_path, is_any_published, root_problems
from aperture_dagster.publishing.disk.plan import DesiredEntry
from aperture_dagster.publishing.disk.roots import Roots
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedItem, PublishedLibrary
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.settings import Settings

# Where published libraries are on the media server, and what it shows of them.


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
        return [one for one in libraries if not is_any_published(one.locations, published)]

    def others(self, libraries: Iterable[PublishedLibrary]) -> dict[str, str]:
        """Names of the libraries that are not published here, by their ids in policies."""
        return {one.policy_id: one.name for one in self.not_ours(libraries) if one.policy_id}

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
            files = {one.path: one.item_id for one in entry.files}
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
        nfo = next((one.content for one in entry.files if one.kind == "nfo" and "/" not in one.path), None)
        title = read_title(nfo) if nfo is not None else None
        is_renamed = title is not None and title.split() != item.name.split()
        is_rated = nfo is not None and item.official_rating is not None and not says_rating(nfo)
        if is_renamed or is_rated or (item.sort_name and (rank is None or int(rank[0]) != entry.rank)):
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


GROUPED = (
    "The media server shows collections in place of their titles, so a published one would hide them from their own "
    "library: no collection is published. Switch that off in the server's settings."
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was examined.

    With ``problems``, no library can be published; ``warnings`` prevent nothing. ``about`` says how libraries are
    published.
    """

    problems: list[str]
    warnings: list[str]
    about: str

    @property
    def hides_members(self) -> bool:
        """Whether collections would hide their titles, so that none is published."""
        return GROUPED in self.warnings


def examine_publishing(settings: Settings, writer: MediaServerWriter, roots: Roots) -> Preflight:
    """Examine whether lists can be published: the folder, how the media server sees it, and what would not play.

    A file is placed in the folder for a moment, to see whether the server sees it, but not in a dry run.

    Args:
        settings: what is published, and where.
        writer: the media server.
        roots: the folders that were published to, to read only.

    Raises:
        RootError: the folder is not, or not any more, what it is taken for.
        FolderError: it cannot be read.
        ServiceError: the media server does not answer, refuses, or is of a version that nobody has looked at.
    """
    assert settings.publish_root is not None
    root, paths, server = settings.publish_root.expanduser(), PathMap(settings.path_map), writer.server()
    on_server, product = paths.to_server(root), writer.reader.product
    form = choose_form(settings.publish_as, server.product)
    problems = []
    if any(one.endswith("_libraries") for one in settings.publish_lists):
        libraries = writer.libraries()
        published = roots.on_server()
        locations = [path for library in libraries for path in library.locations]
        problems = root_problems(on_server, [path for path in locations if not is_any_published([path], published)])
        # What the server would confuse needs another folder in any case.
        if not problems:
            roots.require_current(mark=False)
            problems = list(_folder_problems(root, paths, writer))
    warnings = [form_warning(form, server.product, server.version)]
    if _hides_members(settings, writer):
        warnings.append(GROUPED)
    about = f"{root}, which {product} sees as {on_server}; titles as {form}"
    return Preflight(problems, [one for one in warnings if one is not None], about)


def _hides_members(settings: Settings, writer: MediaServerWriter) -> bool:
    return any(one.endswith("_collections") for one in settings.publish_lists) and writer.grouping_enabled()


def _folder_problems(root: Path, paths: PathMap, writer: MediaServerWriter) -> Iterator[str]:
    """Say what is wrong with the folder here, or else with how the server sees it."""
    try:
        is_seen = _shows_its_files(root, paths, writer)
    except OSError as error:
        yield (
            f"{root} cannot be written ({error.strerror}): create it, or set APERTURE_PUBLISH_ROOT to a folder that "
            "can."
        )
        return
    if not is_seen:
        product, on_server = writer.reader.product, paths.to_server(root)
        yield (
            f"{product} does not see the files in {root} at {on_server}: mount the folder there (with Docker, by the "
            f"line `- {root}:{on_server}:ro` below `volumes:` of {product}'s service), or set APERTURE_PATH_MAP to the "
            "path under which it sees the folder."
        )


def _shows_its_files(root: Path, paths: PathMap, writer: MediaServerWriter) -> bool:
    """Tell whether the server sees what is in the folder.

    Raises:
        OSError: the folder cannot be written.
    """
    # A file rather than the folder: an empty one of the same name in a container proves nothing.
    if not writer.dry_run:
        with tempfile.NamedTemporaryFile(dir=root, prefix=".aperture-doctor-") as probe:
            return writer.path_exists(paths.to_server(probe.name))
    placed = next((path for path in (*root.iterdir(), *root.glob("*/about.txt")) if path.is_file()), None)
    if not os.access(root, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13))
    if placed is not None:
        return writer.path_exists(paths.to_server(placed))
    return writer.path_exists(paths.to_server(root), is_file=False)
