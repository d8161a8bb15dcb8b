"""The files of films and episodes: media sources, their streams, and the parts of a film.

Modelled on jellyfin/jellyfin, 10.9 to 12: ``MediaBrowser.Controller/Entities/BaseItem.cs`` (``GetMediaSources``,
``GetVersionInfo``), ``Video.cs`` and ``Emby.Server.Implementations/Dto/DtoService.cs`` (``PartCount``).
"""

from __future__ import annotations

import hashlib
from typing import Any

from aperture_dagster.simulator.catalogue import Item

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
