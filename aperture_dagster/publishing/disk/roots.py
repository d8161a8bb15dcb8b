"""The folders that hold published libraries: the configured one and earlier ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.postgres.identity import read_owner
from aperture_dagster.publishing.disk.folder import LibraryFolder
from aperture_dagster.publishing.disk.paths import PathMap, as_path, separator
from aperture_dagster.publishing.disk.root_folder import ACCEPT, Root, RootError
from aperture_dagster.publishing.placed import PlacedLibrary

if TYPE_CHECKING:
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.publishing.manifest import Manifest
    from aperture_dagster.settings import Settings


@dataclass(frozen=True, slots=True)
class RootChoice:
    """The folder that the settings name, and what the operator said about folders.

    Args:
        path: the folder as this machine sees it; None: nothing can be published, only retired.
        on_server: the same, as the media server sees it.
        owner: the identity of this installation, which marks its folders.
        accepted: whether the folder is taken for the root although it has no marker.
    """

    path: Path | None = None
    on_server: str | None = None
    owner: str | None = None
    accepted: bool = False


def root_choice(settings: Settings, database: Database, *, accepted: bool = False) -> RootChoice:
    """Return the folder that the settings name, and whether the operator ``accepted`` it."""
    with database.transaction() as connection:
        owner = read_owner(connection)
    if settings.publish_root is None:
        return RootChoice(owner=owner)
    root = settings.publish_root.expanduser()
    return RootChoice(root, PathMap(settings.path_map).to_server(root), owner, accepted)


class Roots:
    """The folders of published libraries, each proven by its marker before anything is written or deleted there.

    Args:
        manifest: what was placed, and where.
        choice: the folder of the settings.
        dry_run: mark nothing.
    """

    def __init__(self, manifest: Manifest, choice: RootChoice, *, dry_run: bool = False) -> None:
        self._manifest, self._choice, self._dry_run = manifest, choice, dry_run
        self.clock_skew = timedelta(0)
        """How far the server's clock is ahead of ours: it compares the times of new files with its own."""

    def identify(self, owner: str) -> None:
        """Go on with this identity of the installation."""
        self._choice = replace(self._choice, owner=owner)

    def libraries(self) -> dict[str, PlacedLibrary]:
        """Read the libraries by list key. This machine may see the same folder under another path now."""
        return {
            key: replace(one, root=str(self._choice.path)) if self.is_current(one) else one
            for key, one in self._manifest.libraries().items()
        }

    def location(self, record: PlacedLibrary) -> str:
        """The folder of a library, as the server sees it."""
        return f"{record.root_on_server}{separator(record.root_on_server)}{record.folder}"

    def on_server(self) -> set[str]:
        """Every folder below which there may be libraries of ours, as the server sees it."""
        current = [self._choice.on_server] if self._choice.on_server is not None else []
        return {*current, *(library.root_on_server for library in self._manifest.libraries().values())}

    def is_current(self, record: PlacedLibrary) -> bool:
        """Tell whether a library is below the folder that the settings name."""
        there = self._choice.on_server
        return there is not None and as_path(record.root_on_server) == as_path(there)

    def current(self) -> tuple[Path, str]:
        """The folder that the settings name, as this machine and as the server sees it.

        Raises:
            RootError: they name none.
        """
        if self._choice.path is None or self._choice.on_server is None:
            raise RootError("APERTURE_PUBLISH_ROOT is not set: set it to the folder to publish to.")
        return self._choice.path, self._choice.on_server

    def current_folder(self, name: str) -> LibraryFolder:
        """A folder below the one that the settings name, which there must be."""
        return LibraryFolder(Root(self.current()[0], self._choice.owner), name, clock_skew=self.clock_skew)

    def folder(self, record: PlacedLibrary) -> LibraryFolder:
        """The folder of a library."""
        return LibraryFolder(Root(self._path(record), self._choice.owner), record.folder, clock_skew=self.clock_skew)

    def require_current(self, *, mark: bool = True) -> None:
        """Make sure that the folder of the settings is what it is taken for, and ``mark`` it if it is new.

        Raises:
            RootError: it is not, or there is none; nothing was written.
            FolderError: it cannot be read or written.
        """
        path, on_server = self.current()
        self._prove(path, on_server, mark=mark and not self._dry_run)

    def require(self, record: PlacedLibrary) -> None:
        """Make sure that the folder below which a library was placed is what it is taken for.

        Raises:
            RootError: it is not; nothing was written.
            FolderError: it cannot be read or written.
        """
        self._prove(self._path(record), record.root_on_server, mark=not self._dry_run)

    def release(self, before: Iterable[PlacedLibrary]) -> None:
        """Remove the markers of roots that no longer hold any library."""
        for path, on_server in {(self._path(one), one.root_on_server) for one in before}:
            if not self._dry_run and not self._is_used(on_server):
                Root(path, self._choice.owner).unmark()

    def _path(self, record: PlacedLibrary) -> Path:
        """The folder below which a library was placed, as this machine sees it now."""
        return self.current()[0] if self.is_current(record) else Path(record.root)

    def _prove(self, path: Path, on_server: str, *, mark: bool) -> None:
        """Make sure by its marker that a folder is a root; mark one that is used for the first time, or was accepted.

        Raises:
            RootError: the marker is missing, or another installation's; nothing was written.
        """
        root = Root(path, self._choice.owner)
        owner = root.owner()
        if owner is not None and owner == self._choice.owner:
            return
        if not (self._choice.accepted and path == self._choice.path):
            if owner is not None or self._is_used(on_server):
                raise root.refusal(owner)
            if not root.is_unused():
                raise RootError(
                    f"The folder {path} is not empty, and nothing was published there before. Nothing was written. "
                    f"Set APERTURE_PUBLISH_ROOT to an empty folder. {ACCEPT}"
                )
        if mark:
            root.mark()

    def _is_used(self, on_server: str) -> bool:
        """Tell whether anything is placed below a root."""
        placed = self._manifest.libraries().values()
        return any(as_path(one.root_on_server) == as_path(on_server) for one in placed)
