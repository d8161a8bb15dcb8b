"""Choose which of several versions of a title is published."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aperture_dagster.media_server.records import MediaSource

# These are folders, not files. An image of a disc is a file.
DISC_FOLDERS = frozenset({"dvd", "bluray", "hddvd"})
_ABSOLUTE_PATH = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")


def is_on_disk(path: str) -> bool:
    """Tell whether a link can point to a path of the server, rather than to a network address."""
    return bool(_ABSOLUTE_PATH.match(path))


def best_source(sources: Sequence[MediaSource]) -> MediaSource | None:
    """Return the version with the highest resolution, then bitrate, then size; None if none consists of files."""
    usable = [
        source
        for source in sources
        if source.files
        and all(map(is_on_disk, source.files))
        and (source.video_type or "").casefold() not in DISC_FOLDERS
    ]
    # Break ties by path, so that an unchanged library is not published again.
    return min(usable, key=_order, default=None)


def _order(source: MediaSource) -> tuple[int, int, int, str]:
    # The width of a picture of 16:9, so that wide and narrow films of the same standard are equal.
    width = max(source.width or 0, (source.height or 0) * 16 // 9)
    return -width, -(source.bitrate or 0), -(source.size or 0), source.files[0]
