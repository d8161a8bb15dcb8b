"""Parse what a media server holds of what was published on it: libraries, items, collections and playlists."""

from __future__ import annotations

from typing import Any, Literal, cast

from aperture_dagster.http.messages import expect
from aperture_dagster.media_server.records import ArtworkKind, MediaSource, PublishedItem, PublishedLibrary, ServerList
from aperture_dagster.media_server.values import (
    parse_id,
    parse_integer,
    parse_number,
    parse_text,
    parse_texts,
    require_text,
)

ListType = Literal["BoxSet", "Playlist"]


MARKER = "Aperture"
"""The name, among an item's provider ids, of the stamp on lists of ours."""


def parse_published_library(item: dict[str, Any], *, policy_id: str, call_id: str) -> PublishedLibrary:
    """Parse a library of ``/Library/VirtualFolders``; ``policy_id`` and ``call_id`` name the fields with these ids."""
    options = item.get("LibraryOptions")
    return PublishedLibrary(
        name=require_text(item, "Name"),
        item_id=_optional_id(item, "ItemId"),
        policy_id=_optional_id(item, policy_id),
        call_id=_optional_id(item, call_id),
        locations=parse_texts(item, "Locations"),
        collection_type=parse_text(item, "CollectionType"),
        options=expect(options, dict, "LibraryOptions") if options is not None else {},
        refresh_status=parse_text(item, "RefreshStatus") or "Idle",
        refresh_progress=parse_number(item, "RefreshProgress"),
    )


def _optional_id(item: dict[str, Any], name: str) -> str:
    return parse_id(item[name], name) if item.get(name) is not None else ""


def parse_published_item(item: dict[str, Any]) -> PublishedItem:
    """Parse an item of a library. Raises BadAnswer without id, type and name."""
    return PublishedItem(
        server_item_id=parse_id(item.get("Id")),
        item_type=require_text(item, "Type"),
        name=require_text(item, "Name"),
        path=parse_text(item, "Path"),
        sort_name=parse_text(item, "SortName"),
        official_rating=parse_text(item, "OfficialRating"),
        series_item_id=_optional_id(item, "SeriesId") or None,
        season=parse_integer(item, "ParentIndexNumber"),
        number=parse_integer(item, "IndexNumber"),
    )


def marker_of(item: dict[str, Any]) -> str | None:
    """Return the stamp on a list; names of provider ids are compared without case."""
    ids = item.get("ProviderIds")
    found = expect(ids, dict, "ProviderIds").items() if ids is not None else ()
    stamps = (value for name, value in found if name.lower() == MARKER.lower())
    return next((stamp for stamp in stamps if isinstance(stamp, str) and stamp), None)


def parse_list(item: dict[str, Any]) -> ServerList:
    """Parse a collection or a playlist."""
    return ServerList(
        list_id=parse_id(item.get("Id")),
        name=require_text(item, "Name"),
        list_type=cast(ListType, item.get("Type")),
        marker=marker_of(item),
    )


def artwork_tags(item: dict[str, Any]) -> dict[ArtworkKind, str]:
    """Return the tags of an item's pictures apart from the poster; of several backdrops that of the first."""
    tags = expect(item.get("ImageTags") or {}, dict, "ImageTags")
    backdrops = parse_texts(item, "BackdropImageTags")
    found: dict[ArtworkKind, str | None] = {
        "Backdrop": backdrops[0] if backdrops else None,
        "Logo": parse_text(tags, "Logo"),
        "Thumb": parse_text(tags, "Thumb"),
    }
    return {kind: tag for kind, tag in found.items() if tag is not None}


def parse_media_source(source: dict[str, Any], parts: tuple[str, ...] = ()) -> MediaSource:
    """Parse a media source of an item, with the files that continue it."""
    streams = expect(source.get("MediaStreams") or [], list, "MediaStreams")
    video = next((one for one in streams if isinstance(one, dict) and one.get("Type") == "Video"), {})
    size = parse_number(source, "Size")
    return MediaSource(
        path=parse_text(source, "Path"),
        video_type=parse_text(source, "VideoType"),
        parts=parts,
        side_cars=tuple(car for stream in streams if (car := _parse_side_car(stream)) is not None),
        size=int(size) if size is not None else None,
        width=parse_integer(video, "Width"),
        height=parse_integer(video, "Height"),
        bitrate=parse_integer(source, "Bitrate"),
    )


def _parse_side_car(stream: Any) -> str | None:
    """Return the path of a subtitle or audio track that is a file of its own."""
    if not isinstance(stream, dict) or stream.get("IsExternal") is not True:
        return None
    return parse_text(stream, "Path") if str(stream.get("Type")).lower() in ("subtitle", "audio") else None
