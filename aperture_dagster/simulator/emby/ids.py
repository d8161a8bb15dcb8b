"""Emby's ids: numbers as text for items, whole numbers for names, and three different ones for a library."""

from __future__ import annotations

from aperture_dagster.simulator.catalogue import Catalogue, Item, Library, stable_number

_FIRST_ITEM = 1_000
_GENERATION = 10_000_000
_FIRST_LIBRARY, _FIRST_FOLDER = 3, 503


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
