"""Sort orders of listings. Nulls are first ascending and last descending, as in the server's database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aperture_dagster.simulator.catalogue import Item, stable_number
from aperture_dagster.simulator.jellyfin.dto import item_sort_name, premiere_date
from aperture_dagster.simulator.service import Unmodelled
from aperture_dagster.simulator.user_data import ServerUser

SortSpec = tuple[tuple[str, bool], ...]
"""``(name in lower case, descending)``, most significant first."""


def _or_null(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


_BY_ITEM: dict[str, Callable[[Item], Any]] = {
    "sortname": item_sort_name,
    "datecreated": lambda item: item.created,
    "premieredate": lambda item: _or_null(premiere_date(item)),
    "productionyear": lambda item: _or_null(item.title.year),
    "communityrating": lambda item: _or_null(item.title.vote_average),
    "random": lambda item: stable_number(item.id),
}
_BY_USER: dict[str, Callable[[Item, ServerUser], Any]] = {
    "dateplayed": lambda item, user: _or_null(user.last_played_of(item)),
    "playcount": lambda item, user: user.of(item).play_count,
}


def parse_sort(names: list[str], orders: list[str]) -> SortSpec:
    """Parse ``sortBy`` and ``sortOrder``: missing orders default to the first one. Raises Unmodelled."""
    names = [name.lower() for name in names]
    if unknown := [name for name in names if name not in _BY_ITEM and name not in _BY_USER]:
        raise Unmodelled(f"sortBy={','.join(unknown)}")
    descending = [order.lower() == "descending" for order in orders if order.lower() in ("ascending", "descending")]
    default = descending[0] if descending else False
    return tuple((name, descending[place] if place < len(descending) else default) for place, name in enumerate(names))


def depends_on_user(spec: SortSpec) -> bool:
    """Return whether the order depends on user data."""
    return any(name in _BY_USER for name, _ in spec)


def sort_items(items: list[Item], spec: SortSpec, user: ServerUser | None) -> list[Item]:
    """Return a sorted copy. Without a user, orders that need one are ignored. Ties keep the catalogue's order."""
    ordered = list(items)
    for name, descending in reversed(spec):
        if name in _BY_ITEM:
            ordered.sort(key=_BY_ITEM[name], reverse=descending)
        elif user is not None:
            by_user, owner = _BY_USER[name], user
            ordered.sort(key=lambda item, f=by_user: f(item, owner), reverse=descending)
    return ordered
