"""Emby's ids: numbers as text for items, integers for names, and three different ones for a library."""

from __future__ import annotations

from aperture_dagster.simulator.catalogue import Catalogue, Item, stable_number
from aperture_dagster.simulator.catalogue import item_number as item_number
from aperture_dagster.simulator.lists import PLAYLISTS
from aperture_dagster.simulator.world import WorldLibrary

_PLAYLISTS = "2"
_FIRST_LIBRARY, _FIRST_FOLDER, _FIRST_SUB_FOLDER = 3, 503, 703


def find_item(catalogue: Catalogue, number: str) -> Item | None:
    """Return the item with this id, if it is on the server now."""
    return catalogue.at_number(number)


def name_number(kind: str, name: str) -> int:
    """Return the id of a studio, genre, tag or person."""
    return stable_number(f"{kind}|{name}") % 2**31


def library_number(catalogue: Catalogue, library: WorldLibrary) -> str:
    """Return the ``ItemId`` of a library, which is also the parent of its items."""
    if library == PLAYLISTS:
        return _PLAYLISTS
    return str(_FIRST_LIBRARY + catalogue.place(library))


def folder_number(catalogue: Catalogue, library: WorldLibrary) -> str:
    """Return the ``Id`` of a library, which changes to it use. The third id, ``Guid``, is for users' policies."""
    return str(_FIRST_FOLDER + catalogue.place(library))


def sub_folders(catalogue: Catalogue, library: WorldLibrary) -> dict[str, str]:
    """Return the ids of a library's folders by path."""
    first = _FIRST_SUB_FOLDER + 10 * catalogue.place(library)
    return {location: str(first + place) for place, location in enumerate(library.locations)}


def excluded_folders(catalogue: Catalogue, locations: tuple[str, ...]) -> list[str]:
    """Return folders as users' policies name them: the library's Guid and the folder's id."""
    return [
        f"{library.item_id}_{number}"
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
        if location in locations
    ]


def excluded_locations(catalogue: Catalogue, names: list[str]) -> tuple[str, ...]:
    """Return the paths of such names, without unknown ones."""
    known = {
        f"{library.item_id}_{number}": location
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
    }
    return tuple(known[name] for name in names if name in known)
