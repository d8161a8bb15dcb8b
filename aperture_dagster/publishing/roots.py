"""Below which folders libraries were placed: that of the settings, and those of earlier settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.publishing.folder import LibraryFolder
from aperture_dagster.publishing.manifest import Leftover, Manifest, PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.outcome import PublishOptions
from aperture_dagster.publishing.paths import as_path, separator
from aperture_dagster.publishing.root import ACCEPT, Root, RootError

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import PublishedLibrary


# What to do about a folder that is not needed any more.
FORGET = (
    "If it is gone for good, add `--forget-root {}` to `aperture publish` or `aperture unpublish`, and the files in it "
    "are forgotten."
)


class Roots:
    """The folders of published libraries, each proven by its marker before anything is written or deleted there.

    Args:
        manifest: what was placed, and where.
        options: how to publish.
        modified_at: the time, in Unix seconds, that new files get.
        dry_run: mark nothing.
    """

    def __init__(
        self, manifest: Manifest, options: PublishOptions, *, modified_at: Callable[[], float], dry_run: bool = False
    ) -> None:
        self._manifest, self._options = manifest, options
        self._modified_at, self._dry_run = modified_at, dry_run
        self._located: dict[str, PlacedLibrary] = {}

    def locate(self, listed: Mapping[str, PublishedLibrary]) -> dict[str, PlacedLibrary]:
        """Read the libraries by list key, each with its root as far as it is known, and record what is found out.

        Args:
            listed: the server's libraries by the paths of their folders, see :func:`by_place`.
        """
        found: dict[str, PlacedLibrary] = {}
        self._located = found
        for key, record in self._manifest.libraries().items():
            found[key] = self._locate(record, listed)
            if found[key] != record and not self._dry_run:
                self._manifest.write_library(found[key])
        return found

    def _locate(self, record: PlacedLibrary, listed: Mapping[str, PublishedLibrary]) -> PlacedLibrary:
        here, there = self._options.root, self._options.root_on_server
        if record.root_on_server is not None:
            return replace(record, root=str(here)) if self._is_named(record.root_on_server) else record
        if there is not None and as_path(self.location(record)) in listed:
            return replace(record, root=str(here), root_on_server=there)
        # Placed by an earlier version, below a folder that the settings no longer name.
        for library in listed.values():
            if not library.item_id or library.item_id != record.server_item_id or len(library.locations) != 1:
                continue
            parent, _, name = as_path(library.locations[0]).rpartition("/")
            if name == record.folder:
                root_on_server = library.locations[0][: len(parent)]
                root = self._options.find_here(root_on_server) or root_on_server
                return replace(record, root=str(root), root_on_server=root_on_server)
        return record

    def location(self, record: PlacedLibrary) -> str:
        """The folder of a library, as the server sees it; empty if it is not known."""
        root = record.root_on_server or self._options.root_on_server
        return f"{root}{separator(root)}{record.folder}" if root is not None else ""

    def on_server(self, records: Iterable[PlacedLibrary]) -> set[str]:
        """Every folder below which there may be libraries of ours, as the server sees it."""
        found = {one.root_on_server for one in (*records, *self._manifest.leftovers())}
        return {one for one in (*found, self._options.root_on_server) if one is not None}

    def is_current(self, record: PlacedLibrary) -> bool:
        """Tell whether a library is below the folder that the settings name."""
        return record.root_on_server is None or self._is_named(record.root_on_server)

    def _is_named(self, root_on_server: str) -> bool:
        there = self._options.root_on_server
        return there is not None and as_path(root_on_server) == as_path(there)

    def current(self, record: PlacedLibrary) -> PlacedLibrary:
        """The record of a library that is placed below the folder that the settings name."""
        return replace(record, root=str(self._options.root), root_on_server=self._options.root_on_server)

    def folder(self, record: PlacedLibrary | Leftover) -> LibraryFolder:
        """The folder of a library."""
        place = self._place(record)
        assert place is not None
        return LibraryFolder(Root(place[0], self._options.owner), record.folder, modified_at=self._modified_at)

    def current_folder(self, name: str) -> LibraryFolder:
        """A folder below the one that the settings name, which there must be."""
        assert self._options.root is not None
        return LibraryFolder(Root(self._options.root, self._options.owner), name, modified_at=self._modified_at)

    def require_current(self) -> None:
        """Make sure that the folder of the settings is what it is taken for.

        Raises:
            RootError: it is not, or there is none; nothing was written.
            FolderError: it cannot be read or written.
        """
        if self._options.root is None or self._options.root_on_server is None:
            raise RootError("APERTURE_PUBLISH_ROOT is not set: set it to the folder to publish to.")
        self._prove(self._options.root, self._options.root_on_server, ACCEPT)

    def require(self, record: PlacedLibrary | Leftover) -> None:
        """Make sure that the folder below which a library was placed is what it is taken for.

        Raises:
            RootError: it is not, or is not known; nothing was written.
            FolderError: it cannot be read or written.
        """
        place = self._place(record)
        if place is None:
            raise RootError(
                f"It is not known where {record.name!r} was published. Its files were left alone: set "
                "APERTURE_PUBLISH_ROOT to the folder that was published to."
            )
        self._prove(*place, FORGET.format(place[0]))

    def is_forgotten(self, record: PlacedLibrary | Leftover) -> bool:
        """Tell whether the operator gave up the folder below which a library was placed."""
        place = self._place(record)
        return place is not None and place[0] in self._options.forgotten_roots

    def release(self) -> None:
        """Remove the markers of roots that hold nothing of ours any more, unless they hold something else."""
        for on_server, path in self._manifest.marked_roots().items():
            if not self._dry_run and not self._placed(on_server):
                Root(Path(path), self._options.owner).unmark()
                self._manifest.note_root(on_server, None)

    def _place(self, record: PlacedLibrary | Leftover) -> tuple[Path, str] | None:
        """The folder below which a library was placed, as this machine and as the server sees it."""
        root, on_server = record.root, record.root_on_server
        if root is None or on_server is None or self._is_named(on_server):
            # This machine may see the same folder under another path now.
            root, on_server = self._options.root, self._options.root_on_server
        return (Path(root), on_server) if root is not None and on_server is not None else None

    def _prove(self, path: Path, on_server: str, remedy: str) -> None:
        """Make sure by its marker that a folder is a root; mark one that is used for the first time, or was accepted.

        Raises:
            RootError: the marker is missing, or another installation's; nothing was written.
        """
        root = Root(path, self._options.owner)
        owner = root.owner()
        noted = self._manifest.marked_roots().get(as_path(on_server))
        if owner is None or owner != self._options.owner:
            if path not in self._options.accepted_roots:
                if owner is not None or noted is not None:
                    raise root.refusal(owner, remedy)
                self._require_unmarked(root, on_server, remedy)
            if not self._dry_run:
                root.mark()
        if noted != str(path) and not self._dry_run:
            self._manifest.note_root(as_path(on_server), str(path))

    def _require_unmarked(self, root: Root, on_server: str, remedy: str) -> None:
        """Make sure that a folder without a marker is a new root, or one from before there were markers."""
        placed = self._placed(on_server)
        if placed and not self._holds(root, placed):
            raise root.refusal(None, remedy)
        if not placed and not root.is_unused():
            raise RootError(
                f"The folder {root.path} is not empty, and nothing was published there before. Nothing was written. "
                f"Set APERTURE_PUBLISH_ROOT to an empty folder. {remedy}"
            )

    def _holds(self, root: Root, placed: Mapping[str, Collection[PlacedEntry]]) -> bool:
        """Tell whether a folder holds what was placed, which no empty mount point does."""
        folders = {name: LibraryFolder(root, name, modified_at=self._modified_at) for name in placed}
        if not any(placed.values()):
            return any(folder.has_note() for folder in folders.values())
        return any(any(folders[name].intact(entries).values()) for name, entries in placed.items())

    def _placed(self, on_server: str) -> dict[str, Collection[PlacedEntry]]:
        """The entries that were placed below a root, by the folder of their library."""
        found: dict[str, Collection[PlacedEntry]] = {}
        for key, one in self._manifest.libraries().items():
            place = self._place(self._located.get(key, one) if one.root_on_server is None else one)
            if place is not None and as_path(place[1]) == as_path(on_server):
                found[one.folder] = self._manifest.entries(key).values()
        for left in self._manifest.leftovers():
            if as_path(left.root_on_server) == as_path(on_server):
                found[left.folder] = left.entries.values()
        return found
