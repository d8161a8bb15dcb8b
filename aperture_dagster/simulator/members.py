"""The entries of box sets and playlists, and the owners of playlists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperture_dagster.simulator.catalogue import Item


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a box set or playlist; ``number`` is unique in the catalogue."""

    item: Item
    number: int


@dataclass(slots=True)
class Ownership:
    """The owner of a playlist, by id. A playlist without an owner is everyone's to see and to edit."""

    owner: str | None
    is_public: bool
    media_type: str = "Video"

    def allows(self, user_id: str) -> bool:
        """Return whether a user sees the playlist."""
        return self.is_public or self.owner in (None, user_id)

    def allows_edits(self, user_id: str) -> bool:
        """Return whether a user may change the playlist."""
        return self.owner in (None, user_id)
