"""The entries of box sets and playlists, and the owners of playlists."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """The owner of a playlist, by id, and the other ``editors``: users by id, and whether they may edit it.

    A playlist without an owner is everyone's to see and to edit.
    """

    owner: str | None
    is_public: bool
    media_type: str = "Video"
    editors: dict[str, bool] = field(default_factory=dict)

    def allows(self, user_id: str) -> bool:
        """Return whether a user sees the playlist."""
        return self.is_public or self.owner in (None, user_id) or user_id in self.editors

    def allows_edits(self, user_id: str) -> bool:
        """Return whether a user may change the playlist."""
        return self.owner in (None, user_id) or self.editors.get(user_id, False)
