"""Libraries that clients make, change and remove: the rules, without HTTP.

Modelled on jellyfin/jellyfin 10.9 to 12, ``Emby.Server.Implementations/Library/LibraryManager.cs``
(``AddVirtualFolder``, ``RemoveVirtualFolder``, ``NormalizeRootPathList``) and
``Jellyfin.Api/Controllers/LibraryStructureController.cs``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.disk import ServerDisk
from aperture_dagster.simulator.scanner import Scanner, ScanResult
from aperture_dagster.simulator.service import Unmodelled, refuse_other_fields
from aperture_dagster.simulator.settings import ServerRules
from aperture_dagster.simulator.world import WorldLibrary

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

# The options of libraries: complete objects, with the defaults of the server's class.
#
# Jellyfin: ``MediaBrowser.Model/Configuration/LibraryOptions.cs`` of 10.9.11, 10.10.7, 10.11.11 and 12.0-rc5. Emby: the
# published specification of 4.8.11 and 4.9.


_JELLYFIN: dict[str, Any] = {
    "Enabled": True, "EnablePhotos": True, "EnableRealtimeMonitor": False, "EnableLUFSScan": False,
    "EnableChapterImageExtraction": False, "ExtractChapterImagesDuringLibraryScan": False,
    "EnableTrickplayImageExtraction": False, "ExtractTrickplayImagesDuringLibraryScan": False, "PathInfos": [],
    "SaveLocalMetadata": False, "EnableInternetProviders": False, "EnableAutomaticSeriesGrouping": True,
    "EnableEmbeddedTitles": False, "EnableEmbeddedExtrasTitles": False, "EnableEmbeddedEpisodeInfos": False,
    "AutomaticRefreshIntervalDays": 0, "PreferredMetadataLanguage": "", "MetadataCountryCode": "",
    "SeasonZeroDisplayName": "Specials", "MetadataSavers": [], "DisabledLocalMetadataReaders": [],
    "LocalMetadataReaderOrder": [], "DisabledSubtitleFetchers": [], "SubtitleFetcherOrder": [],
    "DisabledMediaSegmentProviders": [], "MediaSegmentProviderOrder": [],
    "SkipSubtitlesIfEmbeddedSubtitlesPresent": False, "SkipSubtitlesIfAudioTrackMatches": True,
    "SubtitleDownloadLanguages": [], "RequirePerfectSubtitleMatch": True, "SaveSubtitlesWithMedia": True,
    "SaveLyricsWithMedia": False, "SaveTrickplayWithMedia": False, "DisabledLyricFetchers": [],
    "LyricFetcherOrder": [], "PreferNonstandardArtistsTag": False, "UseCustomTagDelimiters": False,
    "CustomTagDelimiters": ["/", "|", ";", "\\"], "DelimiterWhitelist": [], "AutomaticallyAddToCollection": False,
    "AllowEmbeddedSubtitles": "AllowAll", "TypeOptions": [],
}  # fmt: skip
_JELLYFIN_FROM_10_10 = (
    "DisabledMediaSegmentProviders", "MediaSegmentProviderOrder", "SaveTrickplayWithMedia", "DisabledLyricFetchers",
    "LyricFetcherOrder", "PreferNonstandardArtistsTag", "UseCustomTagDelimiters", "CustomTagDelimiters",
    "DelimiterWhitelist",
)  # fmt: skip
# Spelled differently in 10.10.
_MISSPELT = {"MediaSegmentProviderOrder": "MediaSegmentProvideOrder"}
_NULL_BY_DEFAULT = frozenset(
    ("PreferredMetadataLanguage", "MetadataCountryCode", "MetadataSavers", "LocalMetadataReaderOrder",
     "SubtitleDownloadLanguages", "ContentType", "PreferredImageLanguage")
)  # fmt: skip
_EMBY: dict[str, Any] = {
    "EnableArchiveMediaFiles": False, "EnablePhotos": True, "EnableRealtimeMonitor": False,
    "EnableMarkerDetection": False, "EnableMarkerDetectionDuringLibraryScan": False,
    "IntroDetectionFingerprintLength": 10, "EnableChapterImageExtraction": False,
    "ExtractChapterImagesDuringLibraryScan": False, "DownloadImagesInAdvance": False, "CacheImages": False,
    "PathInfos": [], "IgnoreHiddenFiles": False, "IgnoreFileExtensions": [], "SaveLocalMetadata": False,
    "SaveMetadataHidden": False, "SaveLocalThumbnailSets": False, "ImportPlaylists": True,
    "EnableAutomaticSeriesGrouping": True, "ShareEmbeddedMusicAlbumImages": True, "EnableEmbeddedTitles": False,
    "EnableAudioResume": False, "AutoGenerateChapters": True, "MergeTopLevelFolders": False,
    "AutoGenerateChapterIntervalMinutes": 5, "AutomaticRefreshIntervalDays": 0,
    "PlaceholderMetadataRefreshIntervalDays": 0, "PreferredMetadataLanguage": "", "PreferredImageLanguage": "",
    "ContentType": "", "MetadataCountryCode": "", "MetadataSavers": [], "DisabledLocalMetadataReaders": [],
    "LocalMetadataReaderOrder": [], "DisabledLyricsFetchers": [], "SaveLyricsWithMedia": False,
    "LyricsDownloadMaxAgeDays": 180, "LyricsFetcherOrder": [], "LyricsDownloadLanguages": [],
    "DisabledSubtitleFetchers": [], "SubtitleFetcherOrder": [], "SkipSubtitlesIfEmbeddedSubtitlesPresent": False,
    "SkipSubtitlesIfAudioTrackMatches": False, "SubtitleDownloadLanguages": [], "SubtitleDownloadMaxAgeDays": 180,
    "RequirePerfectSubtitleMatch": True, "SaveSubtitlesWithMedia": False, "ForcedSubtitlesOnly": False,
    "HearingImpairedSubtitlesOnly": False, "CollapseSingleItemFolders": False, "EnableAdultMetadata": False,
    "ImportCollections": True, "EnableMultiVersionByFiles": True, "EnableMultiVersionByMetadata": True,
    "EnableMultiPartItems": True, "MinCollectionItems": 2, "MusicFolderStructure": "", "MinResumePct": 3,
    "MaxResumePct": 90, "MinResumeDurationSeconds": 180, "ThumbnailImagesIntervalSeconds": 10,
    "SampleIgnoreSize": 314572800, "TypeOptions": [], "DisableMultiVersionItems": False,
    "DisableMultiPartItems": False, "ExcludeFromSearch": False,
}  # fmt: skip
_EMBY_FROM_4_9 = ("DisableMultiVersionItems", "DisableMultiPartItems", "ExcludeFromSearch")
_TYPE_OPTIONS = ("Type", "MetadataFetchers", "MetadataFetcherOrder", "ImageFetchers", "ImageFetcherOrder",
                 "ImageOptions")  # fmt: skip
_TYPE_OPTIONS_12 = ("SimilarItemProviders", "SimilarItemProviderOrder")


def _known(rules: ServerRules) -> dict[str, Any]:
    if rules.emby:
        return {name: value for name, value in _EMBY.items() if rules.version >= (4, 9) or name not in _EMBY_FROM_4_9}
    if rules.version < (10, 10):
        return {name: value for name, value in _JELLYFIN.items() if name not in _JELLYFIN_FROM_10_10}
    if rules.version < (10, 11):
        return {_MISSPELT.get(name, name): value for name, value in _JELLYFIN.items()}
    return _JELLYFIN


def complete(given: dict[str, Any], rules: ServerRules) -> dict[str, Any]:
    """Return the whole object: what is given, and the class's defaults for the rest. Nulls are left out.

    Names that only other versions of the server know are dropped, as its parser does; ``PathInfos`` may be null.
    Raises Unmodelled for a value of the wrong type, or a name that no version knows.
    """
    known = _known(rules)
    everywhere = _EMBY if rules.emby else _JELLYFIN | {name: [] for name in _MISSPELT.values()}
    refuse_other_fields(given, everywhere, "LibraryOptions")
    options: dict[str, Any] = {}
    for name, default in known.items():
        value = given[name] if name in given else (None if name in _NULL_BY_DEFAULT else copy.deepcopy(default))
        if value is None:
            if name not in _NULL_BY_DEFAULT and not isinstance(default, list):
                raise Unmodelled(f"null for {name}")
            continue
        if not _fits(value, default):
            raise Unmodelled(f"{name} of the wrong type")
        options[name] = copy.deepcopy(value)
    if "TypeOptions" in options:
        options["TypeOptions"] = [_type_options(each, rules) for each in options["TypeOptions"]]
    if "PathInfos" in options:
        options["PathInfos"] = [_path_info(each, rules) for each in options["PathInfos"]]
    return options


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int):
        return isinstance(value, int)
    if isinstance(default, list):
        kind = dict if any(isinstance(each, dict) for each in value or ()) else str
        return isinstance(value, list) and all(isinstance(each, kind) for each in value)
    return isinstance(value, str)


def _type_options(given: Any, rules: ServerRules) -> dict[str, Any]:
    names = _TYPE_OPTIONS + (_TYPE_OPTIONS_12 if not rules.emby and rules.version >= (12,) else ())
    refuse_other_fields(given, (*_TYPE_OPTIONS, *_TYPE_OPTIONS_12), "TypeOptions")
    return {name: given.get(name) or [] for name in names if name != "Type" or given.get("Type")}


def _path_info(given: Any, rules: ServerRules) -> dict[str, Any]:
    refuse_other_fields(given, ("Path", "NetworkPath"), "PathInfos")
    keep = rules.emby or rules.version < (10, 10)
    return {name: value for name, value in given.items() if value is not None and (name == "Path" or keep)}


COLLECTION_TYPES = ("movies", "tvshows", "music", "musicvideos", "homevideos", "boxsets", "books", "mixed")
_INVALID = re.compile(r'[\x00-\x1f"<>|:*?\\/]')


class PathMissingError(Exception):
    """The server does not see a folder at the path of a new library."""


class UnknownLibraryError(Exception):
    """There is no library of this name or id."""


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

        Raises PathMissingError, Unmodelled.
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
        """Replace all options. Raises Unmodelled."""
        options = complete(given, self.rules)
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

    # Between two runs of the stand-in

    def saved(self) -> list[dict[str, Any]]:
        """Return the libraries that clients made, and the options of all, for :meth:`restore`."""
        return [
            {
                "name": library.name,
                "collection_type": library.collection_type,
                "locations": library.locations,
                "has_id": library.has_id,
                "is_made": self.is_made_by_client(library),
                "options": self.options_of(library),
            }
            for library in self._catalogue.libraries
        ]

    def restore(self, saved: Iterable[Mapping[str, Any]]) -> list[WorldLibrary]:
        """Add the libraries that clients made, and set the options of the world's; returns the former, still empty."""
        made: list[WorldLibrary] = []
        for each in saved:
            name, options = each["name"], each["options"]
            known = self._catalogue.library_named(name)
            if not each["is_made"]:
                # A library of box sets came with the first of them, and went with them.
                if known is not None:
                    self.set_options(known, options)
                continue
            self._options[name] = complete(options, self.rules)
            library = WorldLibrary(
                name, each["collection_type"], tuple(each["locations"]), has_id=each["has_id"],
                enabled=options.get("Enabled", True),
            )  # fmt: skip
            self._made.add(name)
            self._catalogue.libraries.append(library)
            self._catalogue.place(library)
            made.append(library)
        self._catalogue.version += 1
        return made

    def read_again(self, made: Iterable[WorldLibrary]) -> None:
        """Read libraries from the disk at once."""
        # Before any is applied: what the world's files are is found out again after each change.
        for result in [self.read(library, replace=False) for library in made if library.has_id]:
            self.apply(result)
        self.validate()

    # Scans

    def read(self, library: WorldLibrary, replace: bool) -> ScanResult:
        """Read a library from the disk."""
        return self.scanner.read(library, self.options_of(library), replace, self._conflicts())

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
