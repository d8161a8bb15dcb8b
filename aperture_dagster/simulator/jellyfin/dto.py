"""Jellyfin's JSON for items and users. Nulls are left out, as on the real server."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from aperture_dagster.simulator.catalogue import Item, stable_number
from aperture_dagster.simulator.jellyfin import policies
from aperture_dagster.simulator.jellyfin.binding import ticks_date
from aperture_dagster.simulator.user_data import ServerUser, episodes_of
from aperture_dagster.simulator.world import WorldLibrary

# The files of films and episodes: media sources, their streams, and the parts of a film.
#
# Modelled on jellyfin/jellyfin, 10.9 to 12: ``MediaBrowser.Controller/Entities/BaseItem.cs`` (``GetMediaSources``,
# ``GetVersionInfo``), ``Video.cs`` and ``Emby.Server.Implementations/Dto/DtoService.cs`` (``PartCount``).


VIDEO = ("Movie", "Episode")
_BYTES_PER_SECOND = 500_000
_AUDIO = {"mka": "aac", "ac3": "ac3", "dts": "dts", "m4a": "aac", "flac": "flac"}
_SUBTITLES = {"srt": "subrip", "ass": "ass", "ssa": "ssa", "vtt": "webvtt", "sub": "dvdsub", "idx": "dvdsub"}
_LANGUAGES = {"en": "eng", "de": "ger", "fr": "fre", "es": "spa", "it": "ita", "ja": "jpn"}
_VIDEO_TYPES = {"dvd": "Dvd", "bluray": "BluRay", "iso": "Iso"}


def video_type(item: Item) -> dict[str, str]:
    """Return the type of a film's or episode's files."""
    disc = item.title.disc if item.kind == "Movie" else None
    if disc is None:
        return {"VideoType": "VideoFile"}
    return {"VideoType": _VIDEO_TYPES[disc]} | ({"IsoType": "Dvd"} if disc == "iso" else {})


def container(item: Item) -> str | None:
    """Return the kind of the file; None for the folder of a disc."""
    name = item.media_path.rpartition("/")[2]
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return None if item.kind == "Movie" and item.title.disc in ("dvd", "bluray") else ending or None


def height(item: Item) -> int:
    """Return the lines of the picture."""
    heights = item.title.heights
    return heights[min(item.copy + item.version, len(heights) - 1)]


def media_sources(item: Item) -> list[dict[str, Any]]:
    """Return one source per version, the item's own first."""
    if item.kind not in VIDEO or item.virtual:
        return []
    return [media_source(each) for each in sorted(item.every_version, key=lambda each: each is not item)]


def media_source(item: Item) -> dict[str, Any]:
    """Return a file as MediaSourceInfo."""
    source = _source(item.id, item.name, item.media_path, item.runtime_ticks)
    source |= {"MediaStreams": media_streams(item), **video_type(item)}
    kind = container(item)
    return source | ({"Container": kind} if kind else {})


def _source(number: str, name: str, path: str, runtime_ticks: int | None) -> dict[str, Any]:
    return {
        "Protocol": "File",
        "Id": number,
        "Path": path,
        "Type": "Default",
        "Size": (runtime_ticks or 0) // 10_000_000 * _BYTES_PER_SECOND,
        "Bitrate": 8 * _BYTES_PER_SECOND,
        "Name": name,
        "IsRemote": False,
        "RunTimeTicks": runtime_ticks,
    }


def media_streams(item: Item) -> list[dict[str, Any]]:
    """Return the streams in a file, and the external ones beside it."""
    lines = height(item)
    codec = "hevc" if lines >= 2160 else "h264"
    streams: list[dict[str, Any]] = [
        {"Type": "Video", "Codec": codec, "Width": round(lines * 16 / 9), "Height": lines, "AspectRatio": "16:9"},
        {"Type": "Audio", "Codec": "ac3", "Language": "eng", "Channels": 6},
    ]
    stem = item.media_path.rpartition(".")[0] if container(item) else item.media_path
    streams += [_external(f"{stem}{ending}", ending) for ending in item.title.sidecars]
    for index, stream in enumerate(streams):
        external = bool(stream.get("IsExternal"))
        stream |= {"Index": index, "IsExternal": external, "IsDefault": index < 2, "IsForced": False}
        stream.setdefault("IsTextSubtitleStream", False)
    return streams


def _external(path: str, ending: str) -> dict[str, Any]:
    parts = ending.strip(".").lower().split(".")
    kind = "Audio" if parts[-1] in _AUDIO else "Subtitle"
    codec = _AUDIO.get(parts[-1]) or _SUBTITLES.get(parts[-1], parts[-1])
    stream: dict[str, Any] = {"Type": kind, "Codec": codec, "IsExternal": True, "Path": path}
    language = next((part for part in parts[:-1] if len(part) in (2, 3)), None)
    if language is not None:
        stream["Language"] = _LANGUAGES.get(language, language)
    if kind == "Subtitle":
        stream["IsTextSubtitleStream"] = codec != "dvdsub"
    return stream


def part_dtos(item: Item, server_id: str) -> list[dict[str, Any]]:
    """Return the files of a film that follow the first one, as items."""
    parts: list[dict[str, Any]] = []
    for path in item.part_paths:
        name = path.rpartition("/")[2].rpartition(".")[0]
        number = hashlib.md5(f"part|{item.id}|{path}".encode(), usedforsecurity=False).hexdigest()
        parts.append(
            {
                "Name": name, "ServerId": server_id, "Id": number, "Type": "Video", "IsFolder": False, "Path": path,
                "MediaType": "Video", "VideoType": "VideoFile", "Container": "mkv", "LocationType": "FileSystem",
                "MediaSources": [_source(number, name, path, item.runtime_ticks)],
            }
        )  # fmt: skip
    return parts


@lru_cache(maxsize=65_536)
def name_id(kind: str, name: str) -> str:
    """Return the id of a person, studio or genre."""
    return hashlib.md5(f"{kind}|{name}".encode(), usedforsecurity=False).hexdigest()


def provider_ids(item: Item) -> dict[str, str]:
    """Return provider ids. Some items have other spellings or empty values, as plugins write them."""
    ids = dict(item.provider_ids)
    if item.own_provider_ids is not None or item.kind not in ("Movie", "Series"):
        return ids
    oddity = stable_number(item.title.key) % 20
    if oddity == 0:
        return {name.lower(): value for name, value in ids.items()}
    if oddity == 1:
        return {name.upper(): value for name, value in ids.items()}
    if oddity in (2, 3):
        missing = next((name for name in ("Tmdb", "Imdb", "Tvdb") if name not in ids), None)
        return ids if missing is None else {**ids, missing: ""}
    return ids


def series_status(item: Item) -> str | None:
    """Return ``Continuing``, ``Ended``, ``Unreleased`` or None, from the world's status."""
    status = (item.title.status or "").lower()
    if status in ("returning series", "continuing", "in production", "pilot"):
        return "Continuing"
    if status in ("ended", "canceled", "cancelled"):
        return "Ended"
    return "Unreleased" if status in ("planned", "unreleased") else None


def premiere_date(item: Item) -> str | None:
    """Return the premiere as ``YYYY-MM-DD``, if known."""
    return item.premiere


def people_of(item: Item) -> list[dict[str, Any]]:
    """Return the people of a title."""
    title = item.title
    people: list[dict[str, Any]] = []
    for member in title.cast:
        person: dict[str, Any] = {"Name": member.name, "Id": name_id("person", member.name), "Type": "Actor"}
        if member.character:
            person["Role"] = member.character
        people.append(person)
    for kind, names in (
        ("Director", title.directors),
        ("Writer", title.writers),
        ("Composer", title.composers),
        ("Creator", title.creators),
    ):
        people += [{"Name": name, "Id": name_id("person", name), "Role": kind, "Type": kind} for name in names]
    return people


def _studios(item: Item) -> list[dict[str, str]]:
    return [{"Name": name, "Id": name_id("studio", name)} for name in item.studios]


def _source_count(item: Item) -> int | None:
    """Return the number of sources, which is only sent if there are several (``DtoService.cs``)."""
    count = len(item.every_version)
    return count if item.kind in VIDEO and count != 1 else None


def _locations(item: Item) -> list[str] | None:
    """Return the countries of production, which only films send if there are none (``DtoService.cs``)."""
    countries = list(item.title.countries) if item.has_own_facts else []
    return countries if countries or item.kind == "Movie" else None


def _aspect_ratio(item: Item) -> float | None:
    """Return the shape of the primary picture; see ``images.png``."""
    return None if item.image_tag is None else 100 / 150


# Fields that are sent only on request.
_OPTIONAL = {
    "providerids": lambda item: ("ProviderIds", provider_ids(item)),
    "overview": lambda item: ("Overview", item.title.overview or None if item.has_own_facts else None),
    "genres": lambda item: ("Genres", list(item.title.genres) if item.has_own_facts else []),
    "tags": lambda item: ("Tags", list(item.title.server_tags) if item.has_own_facts else []),
    "studios": lambda item: ("Studios", _studios(item)),
    "people": lambda item: ("People", people_of(item) if item.has_own_facts else []),
    "datecreated": lambda item: ("DateCreated", ticks_date(item.created)),
    "datelastmediaadded": lambda item: (
        "DateLastMediaAdded",
        ticks_date(item.created + item.episode_count) if item.kind == "Series" else None,
    ),
    "originaltitle": lambda item: (
        "OriginalTitle",
        item.title.original_title if item.has_own_facts else None,
    ),
    "productionlocations": lambda item: ("ProductionLocations", _locations(item)),
    "taglines": lambda item: (
        "Taglines",
        [item.title.tagline] if item.title.tagline and item.has_own_facts else [],
    ),
    "sortname": lambda item: ("SortName", item_sort_name(item)),
    "path": lambda item: ("Path", None if item.virtual else item.path),
    "parentid": lambda item: ("ParentId", parent_id(item)),
    "mediasources": lambda item: ("MediaSources", media_sources(item) or None),
    "customrating": lambda item: ("CustomRating", item.edits.get("CustomRating")),
    "mediasourcecount": lambda item: ("MediaSourceCount", _source_count(item)),
    "recursiveitemcount": lambda item: (
        "RecursiveItemCount",
        len(episodes_of(item)) if item.kind in ("Series", "Season") else None,
    ),
    "childcount": lambda item: (
        "ChildCount",
        {
            "Series": len(item.every_season),
            "Season": len(episodes_of(item)),
            "BoxSet": len(item.members),
            "Playlist": len(item.members),
        }.get(item.kind),
    ),
    "primaryimageaspectratio": lambda item: ("PrimaryImageAspectRatio", _aspect_ratio(item)),
    "externalurls": lambda item: ("ExternalUrls", []),
    "settings": lambda item: ("LockData", item.locked),
    "etag": lambda item: ("Etag", name_id("etag", f"{item.id}|{item.saved}")),
}
FIELDS = frozenset(_OPTIONAL)
"""Fields that can be requested."""


def item_sort_name(item: Item) -> str:
    """Return the sort name; an episode's begins with its numbers, unless it is set."""
    if item.forced_sort_name is not None:
        return item.sort_name
    if item.kind == "Episode":
        return f"{item.season:03d} - {item.episode:04d} - {item.name.lower()}"
    return item.sort_name


def parent_id(item: Item) -> str:
    """Return the id of an item's folder."""
    if item.series is None or item.season is None:
        return item.library.item_id
    return item.series.id if item.kind == "Season" else item.season_item.id


def item_dto(
    item: Item,
    fields: frozenset[str],
    *,
    server_id: str,
    user: ServerUser | None = None,
    images: bool = True,
    counted: bool = True,
) -> dict[str, Any]:
    """Return a BaseItemDto with the requested ``fields`` (lower-case names); ``counted``: see :func:`user_data_dto`."""
    title = item.title
    dto: dict[str, Any] = {"Name": item.name, "ServerId": server_id, "Id": item.id, "Type": item.kind}
    is_folder = item.kind not in VIDEO
    dto["IsFolder"] = is_folder
    premiere = premiere_date(item)
    if premiere:
        dto["PremiereDate"] = f"{premiere}T00:00:00.0000000Z"
    year = int(premiere[:4]) if premiere and item.kind in ("Episode", "Season") else title.year
    if year is not None:
        dto["ProductionYear"] = year
    if title.official_rating and item.has_own_facts:
        dto["OfficialRating"] = title.official_rating
    if title.vote_average is not None and item.has_own_facts:
        dto["CommunityRating"] = round(title.vote_average, 3)
    if item.runtime_ticks is not None:
        dto["RunTimeTicks"] = item.runtime_ticks
    if item.kind == "Series":
        status = series_status(item)
        if status:
            dto["Status"] = status
        if status == "Ended":
            end = item.end_date
            if end:
                dto["EndDate"] = f"{end}T00:00:00.0000000Z"
    elif item.series is not None:
        dto["SeriesName"] = item.series.name
        dto["SeriesId"] = item.series.id
        if item.kind == "Season":
            dto["IndexNumber"] = item.season
        else:
            season = item.season_item
            dto.update(
                SeasonId=season.id, SeasonName=season.name, IndexNumber=item.episode, ParentIndexNumber=item.season
            )
            if item.episode_end is not None:
                dto["IndexNumberEnd"] = item.episode_end
    for name in fields:
        key, value = _OPTIONAL[name](item) if name in _OPTIONAL else (name, None)
        if value is not None:
            dto[key] = value
    if "settings" in fields:
        dto["LockedFields"] = item.edits.get("LockedFields") or []
        for name in ("PreferredMetadataLanguage", "PreferredMetadataCountryCode"):
            if item.edits.get(name):
                dto[name] = item.edits[name]
        if item.forced_sort_name is not None:
            dto["ForcedSortName"] = item.forced_sort_name
    for name in ("CriticRating", "AspectRatio"):
        if item.edits.get(name) is not None:
            dto[name] = item.edits[name]
    display_order = item.edits.get("DisplayOrder", "PremiereDate" if item.kind == "BoxSet" else None)
    if display_order is not None:
        dto["DisplayOrder"] = display_order
    if user is not None:
        dto["UserData"] = user_data_dto(item, user, counted=counted or "recursiveitemcount" in fields)
    if item.kind in VIDEO:
        dto |= {"MediaType": "Video", **video_type(item)}
        kind = container(item)
        if kind is not None:
            dto["Container"] = kind
        if item.part_paths:
            dto["PartCount"] = len(item.part_paths) + 1
    else:
        dto["MediaType"] = "Unknown" if item.ownership is None else item.ownership.media_type
    if images:
        tags = item.artwork_tags
        primary = {} if item.image_tag is None else {"Primary": item.image_tag}
        dto["ImageTags"] = primary | {kind: tag for kind, tag in tags.items() if kind != "Backdrop"}
        dto["BackdropImageTags"] = [tags["Backdrop"]] if "Backdrop" in tags else []
    dto["LocationType"] = "Virtual" if item.virtual else "FileSystem"
    return dto


def user_data_dto(item: Item, user: ServerUser, *, counted: bool = True) -> dict[str, Any]:
    """Return a user's data on an item as UserItemDataDto.

    Without ``counted``, a series does not say which share of it was played: before 12, only if its episodes are counted
    (``Folder.cs``: ``FillUserDataDtoValues``).

    A primary version takes ``Played`` and ``LastPlayedDate`` from the version that was played last, but keeps its own
    position (12: ``MediaBrowser.Controller/Library/VersionResumeData.cs``; before, alternate versions have no data that
    their primary lacks).
    """
    datum = user.of(item)
    dto: dict[str, Any] = {
        "PlaybackPositionTicks": datum.position,
        "PlayCount": datum.play_count,
        "IsFavorite": datum.favorite,
        "Played": datum.played,
        "Key": item.user_data_keys[0],
        "ItemId": item.id,
    }
    if item.kind in ("Series", "Season"):
        count = len(episodes_of(item))
        unplayed = user.unplayed_count(item)
        dto["UnplayedItemCount"] = unplayed
        dto["Played"] = user.has_played(item)
        # A series without episodes is played, without a percentage.
        if count and counted:
            dto["PlayedPercentage"] = round(100.0 * (count - unplayed) / count, 6)
    elif datum.position and item.runtime_ticks:
        dto["PlayedPercentage"] = round(100.0 * datum.position / item.runtime_ticks, 6)
    last_played = datum.last_played
    latest = user.latest_version(item) if item.versions else None
    if latest is not None and latest is not item:
        other = user.of(latest)
        dto["Played"] = datum.played or other.played
        last_played = max(last_played or 0.0, other.last_played or 0.0) or None
        if other.played and other.position == 0:
            dto["PlaybackPositionTicks"] = 0
            dto.pop("PlayedPercentage", None)
    if last_played is not None:
        dto["LastPlayedDate"] = ticks_date(last_played)
    if datum.rating is not None:
        dto["Rating"] = datum.rating
        dto["Likes"] = datum.likes
    return dto


def library_dto(
    library: WorldLibrary, server_id: str, fields: frozenset[str] = frozenset(), *, images: bool = True
) -> dict[str, Any]:
    """Return a library as an item (CollectionFolder). Of all ``fields``, only tags are modelled."""
    return {
        **({"Tags": list(library.tags)} if "tags" in fields else {}),
        "Name": library.name,
        "ServerId": server_id,
        "Id": library.item_id,
        "Type": "CollectionFolder",
        **({"CollectionType": library.collection_type} if library.collection_type else {}),
        "IsFolder": True,
        "MediaType": "Unknown",
        "LocationType": "FileSystem",
        **({"ImageTags": {}, "BackdropImageTags": []} if images else {}),
    }


def virtual_folder_dto(
    library: WorldLibrary, options: dict[str, Any], status: str = "Idle", progress: float | None = None
) -> dict[str, Any]:
    """Return a library as VirtualFolderInfo. ``status`` and ``progress`` are those of its refresh.

    Without an item for its folder, a library has no id and no options
    (``Emby.Server.Implementations/Library/LibraryManager.cs``: ``GetVirtualFolderInfo``).
    """
    folder = {
        "Name": library.name,
        "Locations": list(library.locations),
        **({"CollectionType": library.collection_type} if library.collection_type else {}),
    }
    if not library.has_id:
        return folder
    return {
        **folder,
        "LibraryOptions": options,
        "ItemId": library.item_id,
        **({} if progress is None else {"RefreshProgress": progress}),
        "RefreshStatus": status,
    }


def user_dto(user: ServerUser, server_id: str, release: tuple[int, int] | None) -> dict[str, Any]:
    """Return a UserDto. As on the real server, it has no e-mail address. ``release`` None: Emby's."""
    dto: dict[str, Any] = {
        "Name": user.name,
        "ServerId": server_id,
        "Id": user.id,
        "HasPassword": True,
        "HasConfiguredPassword": True,
        "HasConfiguredEasyPassword": False,
        "EnableAutoLogin": False,
        "Configuration": policies.configuration_dto(user, release),
        "Policy": policies.policy_dto(user, release),
    }
    if user.last_activity is not None:
        dto["LastLoginDate"] = dto["LastActivityDate"] = ticks_date(user.last_activity)
    return dto
