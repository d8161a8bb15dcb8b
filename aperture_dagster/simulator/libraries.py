"""Libraries that clients make, change and remove: the rules, without HTTP.

Modelled on jellyfin/jellyfin 10.9 to 12, ``Emby.Server.Implementations/Library/LibraryManager.cs``
(``AddVirtualFolder``, ``RemoveVirtualFolder``, ``NormalizeRootPathList``) and
``Jellyfin.Api/Controllers/LibraryStructureController.cs``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.disk import ServerDisk
from aperture_dagster.simulator.library_options import complete
from aperture_dagster.simulator.scanner import Modes, Scanner, ScanResult
from aperture_dagster.simulator.world import WorldLibrary

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

COLLECTION_TYPES = ("movies", "tvshows", "music", "musicvideos", "homevideos", "boxsets", "books", "mixed")
_INVALID = re.compile(r'[\x00-\x1f"<>|:*?\\/]')


class PathMissingError(Exception):
    """The server does not see a folder at the path of a new library."""


class UnknownLibraryError(Exception):
    """There is no library of this name or id."""


class NullPathsError(Exception):
    """Options have null instead of paths: an internal error of the server."""


class LibraryBook:
    """The libraries with their options. Those of the world have no files on this machine, and are never scanned."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._catalogue = state.catalogue
        self.rules = state.settings.rules
        self.disk = ServerDisk(state.settings.volumes, self._originals, state.clock.file_time)
        self.scanner = Scanner(state, self.disk)
        self._unmounted: set[str] = set()
        self._made: set[str] = set()
        self._validated: set[str] = set()
        self._options: dict[str, dict[str, Any]] = {}
        self._paths: dict[str, Any] = {}
        self._paths_of: tuple[int, frozenset[str]] | None = None
        for library in self._catalogue.libraries:
            given: dict[str, Any] = {"PathInfos": [{"Path": location} for location in library.locations]}
            if self.rules.emby:
                given["ContentType"] = library.collection_type
            else:
                given["Enabled"] = library.enabled
            self._options[library.name] = complete(given, self.rules)

    # Files of the world's titles

    def _originals(self) -> dict[str, Any]:
        """Return the world's items with files on disks that are mounted, by path, and by those of their images."""
        key = (self._catalogue.version, frozenset(self._unmounted))
        if self._paths_of != key:
            self._paths = {
                item.path: item
                for item in self._catalogue.every_item()
                if item.present
                and item.kind in ("Movie", "Episode")
                and not item.virtual
                and item.library.name not in self._made
                and item.library.name not in self._unmounted
            }
            self._paths |= {
                path: item
                for item in self._catalogue.every_item()
                if item.present and item.library.name not in self._made
                for path in item.artwork_files.values()
            }
            self._paths_of = key
        return self._paths

    def unmount(self, name: str, *, mounted: bool) -> None:
        """Take a library's disk away, or give it back. Raises UnknownLibraryError."""
        self.named(name)
        if mounted:
            self._unmounted.discard(name)
        else:
            self._unmounted.add(name)

    # Libraries

    def named(self, name: str) -> WorldLibrary:
        """Return the library of this name. Raises UnknownLibraryError."""
        found = self._catalogue.library_named(name)
        if found is None:
            raise UnknownLibraryError(name)
        return found

    def options_of(self, library: WorldLibrary) -> dict[str, Any]:
        """Return a library's options, whole. Do not change them."""
        options = self._options.get(library.name)
        if options is None:
            # The world changed meanwhile: box sets make a library of their own.
            given = {"PathInfos": [{"Path": location} for location in library.locations]}
            options = self._options[library.name] = complete(given, self.rules)
        return options

    def is_made_by_client(self, library: WorldLibrary) -> bool:
        """Return whether a client made the library, so that it is scanned."""
        return library.name in self._made

    def create(self, name: str, collection_type: str, given: dict[str, Any], *, refresh: bool) -> WorldLibrary:
        """Make a library. A used name gets a number.

        Raises PathMissingError, NullPathsError, OptionsError, Unmodelled.
        """
        options = complete(given, self.rules)
        name = _INVALID.sub(" ", name)
        taken = {library.name for library in self._catalogue.libraries}
        original, number = name, 1
        while name in taken:
            number += 1
            name = f"{original}{number}"
        locations = tuple(info["Path"] for info in options.get("PathInfos", ()))
        for location in locations:
            if not self.has_folder(location):
                raise PathMissingError(location)
        at_once = refresh or self.rules.validates_on_create
        library = WorldLibrary(
            name, collection_type, tuple(sorted(_trimmed(location) for location in locations)), has_id=at_once,
            enabled=options.get("Enabled", True),
        )  # fmt: skip
        self._made.add(name)
        self._options[name] = options
        self._catalogue.libraries.append(library)
        self._catalogue.place(library)
        self._catalogue.version += 1
        if "PathInfos" not in options:
            # The folder exists by then.
            raise NullPathsError
        if at_once:
            self.validate()
        return library

    def has_file(self, path: str) -> bool:
        """Return whether the server can read a file at this path."""
        entry = self.disk.entry(path)
        return path in self._originals() or (entry is not None and not entry.is_folder)

    def has_folder(self, path: str) -> bool:
        """Return whether the server can read a folder at this path."""
        world = (each for each in self._catalogue.libraries if not self.is_made_by_client(each))
        mounted = {location for each in world if each.name not in self._unmounted for location in each.locations}
        return path.startswith("/") and (_trimmed(path) in mounted or self.disk.has_folder(_trimmed(path)))

    def set_options(self, library: WorldLibrary, given: dict[str, Any]) -> None:
        """Replace all options. Raises NullPathsError, OptionsError, Unmodelled."""
        options = complete(given, self.rules)
        if "PathInfos" not in options:
            raise NullPathsError
        before = {info["Path"] for info in self.options_of(library).get("PathInfos", ())}
        added = tuple(info["Path"] for info in options["PathInfos"] if info["Path"] not in before)
        locations = library.locations
        if added and (self.rules.emby or self.rules.adds_paths_of_options):
            locations = tuple(sorted({*locations, *added}))
        content = options.get("ContentType", "") if self.rules.emby else library.collection_type
        after = replace(library, locations=locations, enabled=options.get("Enabled", True), collection_type=content)
        self._options[library.name] = options
        self._catalogue.replace_library(library, after)

    def remove(self, library: WorldLibrary) -> None:
        """Remove a library. Its items stay, hidden from users, until a validation removes them."""
        self._catalogue.replace_library(library, hidden := replace(library, enabled=False))
        self._catalogue.libraries.remove(hidden)
        self._catalogue.removed_libraries.append(hidden)
        self._options.pop(library.name, None)
        self._catalogue.version += 1

    def validate(self, *, removed: bool = False) -> None:
        """Look at the libraries as such: give ids to new ones and, if asked to, delete the items of removed ones."""
        catalogue = self._catalogue
        for library in [each for each in catalogue.libraries if self.is_made_by_client(each) and not each.has_id]:
            catalogue.replace_library(library, replace(library, has_id=True))
        if removed or self.rules.removes_on_any_scan:
            for library in catalogue.removed_libraries:
                self.scanner.forget(library)
                for item in catalogue.every_item():
                    if item.library is library:
                        item.present = False
                if catalogue.library_named(library.name) is None:
                    self._made.discard(library.name)
            catalogue.removed_libraries.clear()
        conflicts = self._conflicts()
        catalogue.duplicate_libraries = {
            library.name
            for library in catalogue.libraries
            if not self.is_made_by_client(library) and library.locations and conflicts.issuperset(library.locations)
        }
        catalogue.version += 1

    def _conflicts(self) -> set[str]:
        """Return the locations that the server takes for parts of another library."""
        if not self.rules.substring_conflicts:
            return set()
        locations = {location for library in self._catalogue.libraries for location in library.locations}
        return {location for location in locations if any(f"{other}/" in location for other in locations)}

    # Scans

    def read(self, library: WorldLibrary, modes: Modes) -> ScanResult:
        """Read a library from the disk."""
        return self.scanner.read(library, self.options_of(library), modes, self._conflicts())

    def apply(self, result: ScanResult, only: str | None = None, *, since: int = 0, until: int | None = None) -> None:
        """Apply what was read, if the library still exists; see :meth:`Scanner.apply`."""
        library = self._catalogue.library_named(result.library)
        if library is not None:
            self.scanner.apply(result, library, self.options_of(library), only, since=since, until=until)

    def series_key(self, series: Item) -> str | None:
        """Return the key by which the server joins series, across libraries; None when this one stays by itself."""
        options = self.options_of(series.library)
        if not self.rules.groups_series or not options.get("EnableAutomaticSeriesGrouping"):
            return None
        keys = series.user_data_keys
        name = keys[0] if len(keys) > 1 else series.name.lower()
        return f"{name}-{options.get('PreferredMetadataLanguage') or 'en'}"


def _trimmed(path: str) -> str:
    return path.rstrip("/") or "/"
