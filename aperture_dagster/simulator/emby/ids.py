"""Emby's ids: numbers as text for items, whole numbers for names, and three different ones for a library."""

from __future__ import annotations

from aperture_dagster.simulator.catalogue import Catalogue, Item, Library, stable_number

_FIRST_ITEM = 1_000
_GENERATION = 10_000_000
_FIRST_LIBRARY, _FIRST_FOLDER, _FIRST_SUB_FOLDER = 3, 503, 703


def item_number(item: Item) -> str:
    """The id of an item; it is another one when the item was given a new id."""
    return str(_FIRST_ITEM + item.slot + item.generation * _GENERATION)


def find_item(catalogue: Catalogue, number: str) -> Item | None:
    """The item of this id, if it is on the server now."""
    if not (number.isascii() and number.isdecimal()):
        return None
    item = catalogue.at(int(number) % _GENERATION - _FIRST_ITEM)
    return item if item is not None and item_number(item) == number else None


def name_number(kind: str, name: str) -> int:
    """The id of a studio, genre, tag or person."""
    return stable_number(f"{kind}|{name}") % 2**31


def library_number(catalogue: Catalogue, library: Library) -> str:
    """The id that a library is listed by, and that its items have as their parent (``ItemId``)."""
    return str(_FIRST_LIBRARY + catalogue.libraries.index(library))


def folder_number(catalogue: Catalogue, library: Library) -> str:
    """The id that a library is changed by (``Id``). The third one (``Guid``) is what users' policies name."""
    return str(_FIRST_FOLDER + catalogue.libraries.index(library))


def sub_folders(catalogue: Catalogue, library: Library) -> dict[str, str]:
    """Of a library: the ids of its folders, by their paths."""
    first = _FIRST_SUB_FOLDER + 10 * catalogue.libraries.index(library)
    return {location: str(first + place) for place, location in enumerate(library.locations)}


def excluded_folders(catalogue: Catalogue, locations: tuple[str, ...]) -> list[str]:
    """Folders as users' policies name those that they exclude: the library's Guid, and the folder's id."""
    return [
        f"{library.item_id}_{number}"
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
        if location in locations
    ]


def excluded_locations(catalogue: Catalogue, names: list[str]) -> tuple[str, ...]:
    """The other way round; what is no folder (any more) is left out."""
    known = {
        f"{library.item_id}_{number}": location
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
    }
    return tuple(known[name] for name in names if name in known)
