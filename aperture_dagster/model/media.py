"""Types of media."""

from typing import Literal

MediaType = Literal["movie", "series"]
MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "series")
