"""User data that items share, or inherit from removed items.

Modelled on jellyfin/jellyfin, ``Emby.Server.Implementations/Library/UserDataManager.cs``: up to 10.10, rows belong to a
user and a key; items read the row of their first key and write those of all their keys. From 10.11 on
(``BaseItemRepository``, ``ItemPersistenceService.ReattachUserData``), rows belong to an item, and those of a removed
item go to the next new one with a common key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aperture_dagster.simulator.item import Item
from aperture_dagster.simulator.user_data import UserDatum

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState


class UserDataSharing:
    """Copies user data between the items of a state. The caller must hold the state's lock."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._shares = state.settings.rules.shares_user_data
        self._first_keys: dict[str, list[Item]] = {}
        self._version = -1

    def settle(self) -> None:
        """Copy changed user data to the items that share it."""
        for user in self._state.users.values():
            if not user.touched:
                continue
            touched = list(user.touched.values())
            if self._shares:
                for item in touched:
                    datum = user.of(item)
                    for key in item.user_data_keys:
                        for peer in self._peers(key):
                            if peer is not item:
                                user.copy(datum, peer)
            user.touched.clear()

    def _peers(self, key: str) -> list[Item]:
        """Return the items on the server whose user data is read under a key: those that have it first."""
        catalogue = self._state.catalogue
        if self._version != catalogue.version:
            self._first_keys = {}
            for item in catalogue.every_item():
                if item.present and item.kind not in ("BoxSet", "Playlist"):
                    self._first_keys.setdefault(item.user_data_keys[0], []).append(item)
            self._version = catalogue.version
        return self._first_keys.get(key, [])

    def inherit(self, items: Iterable[Item]) -> None:
        """Give new items the user data under their keys: shared, or left behind by an item that was removed."""
        every_item = self._state.catalogue.every_item()
        for user in self._state.users.values():
            left: dict[str, tuple[UserDatum, Item]] = {}
            for slot, datum in user.data.items():
                source = every_item[slot]
                if self._shares or not source.present:
                    left.update((key, (datum, source)) for key in source.user_data_keys)
            for item in items if left else ():
                keys = item.user_data_keys[:1] if self._shares else item.user_data_keys
                found = next((left[key] for key in keys if key in left), None)
                if found is None or found[1] is item:
                    continue
                user.copy(found[0], item)
                if not self._shares:
                    # It was parked, and can be taken once.
                    user.forget(found[1])
                    left = {key: pair for key, pair in left.items() if pair[1] is not found[1]}
            user.touched.clear()
