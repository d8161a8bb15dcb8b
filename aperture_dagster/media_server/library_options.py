"""Options of published libraries: what the server must not do to files and metadata that we write."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from aperture_dagster.media_server.records import MediaType

COLLECTION_TYPES: dict[MediaType, str] = {"movie": "movies", "series": "tvshows"}


ITEM_TYPES: dict[MediaType, tuple[str, ...]] = {"movie": ("Movie",), "series": ("Series", "Season", "Episode")}


# Metadata comes from the files that are published; fetchers would replace it, and an absent type means all fetchers.
_NO_FETCHERS = {"MetadataFetchers": [], "MetadataFetcherOrder": [], "ImageFetchers": [], "ImageFetcherOrder": []}


# Common to both servers. Savers are an empty list, because null means the server's default, which rewrites our NFO.
_COMMON = {
    "EnableRealtimeMonitor": False,
    "EnableChapterImageExtraction": False,
    "ExtractChapterImagesDuringLibraryScan": False,
    "SaveLocalMetadata": False,
    "EnableAutomaticSeriesGrouping": False,
    "MetadataSavers": [],
}


_JELLYFIN = {
    "EnableTrickplayImageExtraction": False,
    "ExtractTrickplayImagesDuringLibraryScan": False,
    "EnableLUFSScan": False,
    "EnableEmbeddedTitles": False,
    "AutomaticallyAddToCollection": False,
    "AutomaticRefreshIntervalDays": 0,
    "SubtitleDownloadLanguages": None,
    "LocalMetadataReaderOrder": ["Nfo"],
}


_EMBY = {
    "EnableMarkerDetection": False,
    "DownloadImagesInAdvance": False,
    "CacheImages": False,
    "ImportCollections": False,
}


def jellyfin_options(media_type: MediaType, language: tuple[str | None, str | None]) -> dict[str, Any]:
    """Return the options that matter on Jellyfin; ``language`` is that of metadata, and its country."""
    return _options(_JELLYFIN, media_type, language)


def emby_options(media_type: MediaType, language: tuple[str | None, str | None]) -> dict[str, Any]:
    """Return the options that matter on Emby, where a library without ``ContentType`` is one of mixed content."""
    return {"ContentType": COLLECTION_TYPES[media_type], **_options(_EMBY, media_type, language)}


def _options(own: Mapping[str, Any], media_type: MediaType, language: tuple[str | None, str | None]) -> dict[str, Any]:
    types = [{"Type": item_type, **_NO_FETCHERS} for item_type in ITEM_TYPES[media_type]]
    languages = {"PreferredMetadataLanguage": language[0], "MetadataCountryCode": language[1]}
    return copy.deepcopy({**_COMMON, **own, **languages, "TypeOptions": types})


def merge_options(current: Mapping[str, Any], desired: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``current`` with the ``desired`` values.

    Everything else stays as it is, also within ``TypeOptions``, whose entries are merged by their type. A value of None
    that the server leaves out counts as equal.
    """
    merged = copy.deepcopy(dict(current))
    for name, value in desired.items():
        if name == "TypeOptions":
            merged[name] = _merge_types(merged.get(name) or [], value)
        elif value is not None or merged.get(name) is not None:
            merged[name] = copy.deepcopy(value)
    return merged


def _merge_types(current: list[Any], desired: list[dict[str, Any]]) -> list[Any]:
    wanted = {entry["Type"]: entry for entry in desired}
    merged = []
    for entry in current:
        known = wanted.pop(entry.get("Type"), None) if isinstance(entry, dict) else None
        merged.append(entry if known is None else {**entry, **copy.deepcopy(known)})
    return merged + copy.deepcopy(list(wanted.values()))
