"""The options of libraries: complete objects, with the defaults of the server's class.

Jellyfin: ``MediaBrowser.Model/Configuration/LibraryOptions.cs`` of 10.9.11, 10.10.7, 10.11.11 and 12.0-rc5. Emby: the
published specification of 4.8.11 and 4.9.
"""

from __future__ import annotations

import copy
from typing import Any

from aperture_dagster.simulator.rules import ServerRules
from aperture_dagster.simulator.service import refuse_other_fields

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


class OptionsError(Exception):
    """A value in the options has the wrong type."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


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
    Raises OptionsError for a value of the wrong type, and Unmodelled for a name that no version knows.
    """
    known = _known(rules)
    everywhere = _EMBY if rules.emby else _JELLYFIN | {name: [] for name in _MISSPELT.values()}
    refuse_other_fields(given, everywhere, "LibraryOptions")
    options: dict[str, Any] = {}
    for name, default in known.items():
        value = given[name] if name in given else (None if name in _NULL_BY_DEFAULT else copy.deepcopy(default))
        if value is None:
            if name not in _NULL_BY_DEFAULT and not isinstance(default, list):
                raise OptionsError(name)
            continue
        if not _fits(value, default):
            raise OptionsError(name)
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
    if not isinstance(given, dict):
        raise OptionsError("TypeOptions")
    names = _TYPE_OPTIONS + (_TYPE_OPTIONS_12 if not rules.emby and rules.version >= (12,) else ())
    refuse_other_fields(given, (*_TYPE_OPTIONS, *_TYPE_OPTIONS_12), "TypeOptions")
    return {name: given.get(name) or [] for name in names if name != "Type" or given.get("Type")}


def _path_info(given: Any, rules: ServerRules) -> dict[str, Any]:
    if not isinstance(given, dict) or not isinstance(given.get("Path"), str):
        raise OptionsError("PathInfos")
    refuse_other_fields(given, ("Path", "NetworkPath"), "PathInfos")
    keep = rules.emby or rules.version < (10, 10)
    return {name: value for name, value in given.items() if value is not None and (name == "Path" or keep)}
