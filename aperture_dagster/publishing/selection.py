"""Which of several versions of a title is published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# These are folders, not files. An image of a disc is a file.
DISC_FOLDERS = frozenset({"dvd", "bluray", "hddvd"})
_ABSOLUTE_PATH = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of a version, as the server describes it.

    ``path`` is the server's; ``size`` is in bytes; ``width`` and ``height`` are in pixels; ``part`` counts from 1;
    ``sidecars`` are paths of subtitle and audio files beside it.
    """

    path: str
    size: int | None = None
    width: int | None = None
    height: int | None = None
    part: int = 1
    sidecars: tuple[str, ...] = ()
    video_type: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it is a file that a link can point to, rather than a disc folder or a network address."""
        return bool(_ABSOLUTE_PATH.match(self.path)) and (self.video_type or "").casefold() not in DISC_FOLDERS


@dataclass(frozen=True, slots=True)
class Source:
    """A version of a title: its files in the order of their parts. ``bitrate`` is in bits per second."""

    files: tuple[MediaFile, ...]
    bitrate: int | None = None


def best_source(sources: Sequence[Source]) -> Source | None:
    """Return the version with the highest resolution, then bitrate, then size; None if none consists of files."""
    usable = [source for source in sources if source.files and all(file.is_usable for file in source.files)]
    # Break ties by path, so that an unchanged library is not published again.
    return min(usable, key=_order, default=None)


def _order(source: Source) -> tuple[int, int, int, str]:
    # The width of a picture of 16:9, so that wide and narrow films of the same standard are equal.
    width = max(max(file.width or 0, (file.height or 0) * 16 // 9) for file in source.files)
    size = sum(file.size or 0 for file in source.files)
    return -width, -(source.bitrate or 0), -size, source.files[0].path
