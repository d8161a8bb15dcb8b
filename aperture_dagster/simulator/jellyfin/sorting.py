"""Sort orders of listings. Nulls are first ascending and last descending, as in the server's database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aperture_dagster.simulator.catalogue import Item, stable_number
from aperture_dagster.simulator.jellyfin.dto import item_sort_name, premiere_date
from aperture_dagster.simulator.user_data import ServerUser

SortSpec = tuple[tuple[str, bool], ...]
"""``(name in lower case, descending)``, most significant first."""


def _or_null(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


_BY_ITEM: dict[str, Callable[[Item], Any]] = {
    "sortname": item_sort_name,
    "name": lambda item: item.name,
    "default": item_sort_name,
    "datecreated": lambda item: item.created,
    "datelastcontentadded": lambda item: item.created + item.episode_count,
    "premieredate": lambda item: _or_null(premiere_date(item)),
    "productionyear": lambda item: _or_null(item.title.year),
    "communityrating": lambda item: _or_null(item.title.vote_average),
    "criticrating": lambda item: (False, None),
    "officialrating": lambda item: _or_null(item.rating_age),
    "runtime": lambda item: _or_null(item.runtime_ticks),
    "random": lambda item: stable_number(item.id),
    "indexnumber": lambda item: _or_null(item.season if item.kind == "Season" else item.episode),
    "parentindexnumber": lambda item: _or_null(item.season if item.kind == "Episode" else None),
    "seriessortname": lambda item: (item.series or item).sort_name,
    "airedepisodeorder": lambda item: (item.season or 0, item.episode or 0),
    "isfolder": lambda item: item.kind in ("Movie", "Episode"),
}


def _series_date(item: Item, user: ServerUser) -> tuple[bool, Any]:
    if item.kind != "Series":
        return _or_null(user.of(item).last_played)
    dates = [user.of(episode).last_played for season in item.every_season for episode in season.episodes]
    return _or_null(max((date for date in dates if date is not None), default=None))


_BY_USER: dict[str, Callable[[Item, ServerUser], Any]] = {
    "dateplayed": lambda item, user: _or_null(user.last_played_of(item)),
    "seriesdateplayed": _series_date,
    "playcount": lambda item, user: user.of(item).play_count,
    "isfavoriteorliked": lambda item, user: user.of(item).favorite or bool(user.of(item).likes),
    "isplayed": lambda item, user: user.has_played(item),
    "isunplayed": lambda item, user: not user.has_played(item),
}


def parse_sort(names: list[str], orders: list[str]) -> SortSpec:
    """Parse ``sortBy`` and ``sortOrder``: missing orders default to the first one; unknown names are ignored."""
    descending = [order.lower() == "descending" for order in orders if order.lower() in ("ascending", "descending")]
    default = descending[0] if descending else False
    known = [name.lower() for name in names if name.lower() in _BY_ITEM or name.lower() in _BY_USER]
    return tuple((name, descending[place] if place < len(descending) else default) for place, name in enumerate(known))


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
