"""Listings: the items that match a request, in order. Results are cached, so that paging is cheap.

Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5:

- ``Jellyfin.Api/Controllers/ItemsController.cs`` ``GetItems``: parameters, the user, implicit recursion (in 12, for
  a library with ``includeItemTypes``);
- ``MediaBrowser.Controller/Entities/Folder.cs`` ``CollapseBoxSetItems``, ``AllowBoxSetCollapsing``: when box sets
  replace their members; ``RequiresPostFiltering`` (up to 10.11): when the whole library is loaded for a page;
- ``Jellyfin.Server.Implementations/Item/BaseItemRepository.QueryBuilding.cs`` ``ApplyBoxSetCollapsing`` (12), and
  ``Emby.Server.Implementations/Collections/CollectionManager.cs`` ``CollapseItemsWithinBoxSets`` (before, only for
  users): the collapsed listing;
- ``Jellyfin.Server.Implementations/Item/BaseItemRepository.TranslateQuery.cs``: versions of a film (12: only
  primary ones, except for ``IsResumable``, which includes merged ones and excludes those in the primary's folder, since
  they have an owner), tags of users.

Emby is closed source. The stand-in assumes that it groups films into collections by default, lists only primary
versions, and has one state for all versions of a film.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from aperture_dagster.simulator.catalogue import Item, stable_number
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import Predicate, is_limited, visible_to
from aperture_dagster.simulator.jellyfin.dto import item_sort_name, premiere_date
from aperture_dagster.simulator.service import Query, Unmodelled
from aperture_dagster.simulator.state import SimulatorState
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


KINDS = {kind.lower(): kind for kind in ("Movie", "Series", "Season", "Episode", "BoxSet", "Playlist")}
"""Types of items that the stand-in has."""
WHOLE_LIBRARY = "whole library in memory"
_LISTS = ("BoxSet", "Playlist")
COLLAPSED = "collapsed into box sets"
_CACHED_LISTINGS = 24


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """The parameters of a listing, without the page. Times in Unix seconds."""

    kinds: tuple[str, ...] = ()
    parent: str | None = None
    recursive: bool = False
    ids: tuple[str, ...] = ()
    sort: SortSpec = ()
    user_filters: frozenset[tuple[str, bool]] = frozenset()
    saved_from: float | None = None
    user_saved_from: float | None = None
    """Minimum time at which the user's own data was saved. This filter works on Emby only."""
    virtual: bool | None = None
    """Whether items lack a file; None: either."""
    collapse: bool | None = None
    """Whether box sets replace their members; None: the server decides."""


_USER_FILTERS = {
    "isplayed": ("played", True),
    "isunplayed": ("played", False),
    "isfavorite": ("favorite", True),
    "isresumable": ("resumable", True),
    "likes": ("liked", True),
}


LISTING_PARAMETERS = (
    "userId", "parentId", "recursive", "includeItemTypes", "ids", "sortBy", "sortOrder", "filters", "isPlayed",
    "isFavorite", "minDateLastSaved", "minDateLastSavedForUser", "excludeLocationTypes",
    "collapseBoxSetItems",
)  # fmt: skip
"""Parameters that select items; see `parse_item_query`."""
PAGE_PARAMETERS = ("startIndex", "limit", "enableTotalRecordCount", "fields", "enableImages", "enableUserData")
"""Parameters that select a page, and the fields of its items."""


def parse_item_query(query: Query) -> ItemQuery:
    """Parse a listing's parameters. Raises Unmodelled."""
    if unknown := [name for name in query.split("filters") if name.lower() not in _USER_FILTERS]:
        raise Unmodelled(f"filters={','.join(unknown)}")
    user_filters = {_USER_FILTERS[name.lower()] for name in query.split("filters")}
    for parameter, name in (("isPlayed", "played"), ("isFavorite", "favorite")):
        value = binding.boolean(query, parameter)
        if value is not None:
            user_filters.add((name, value))
    # The real server also compares the "for user" date with the item's save date: a bug that clients must know.
    saved = [binding.moment(query, "minDateLastSaved"), binding.moment(query, "minDateLastSavedForUser")]
    return ItemQuery(
        kinds=parse_kinds(query),
        parent=binding.guid(query, "parentId"),
        recursive=bool(binding.boolean(query, "recursive")),
        ids=binding.guids(query, "ids"),
        sort=parse_sort(query.split("sortBy"), query.split("sortOrder")),
        user_filters=frozenset(user_filters),
        saved_from=max((when for when in saved if when is not None), default=None),
        virtual=False if "virtual" in map(str.lower, query.split("excludeLocationTypes")) else None,
        collapse=binding.boolean(query, "collapseBoxSetItems"),
    )


def parse_kinds(query: Query) -> tuple[str, ...]:
    """Return the types of items that a request asks for. Raises Unmodelled."""
    if unknown := [kind for kind in query.split("includeItemTypes") if kind.lower() not in KINDS]:
        raise Unmodelled(f"includeItemTypes={','.join(unknown)}")
    return tuple(dict.fromkeys(KINDS[kind.lower()] for kind in query.split("includeItemTypes")))


class Listings:
    """Computes listings from the state, and caches the last ones.

    Args:
        state: the state.
        service: the service's name in the counters.
        release: the release of Jellyfin; None for Emby.
    """

    def __init__(self, state: SimulatorState, service: str, release: tuple[int, int] | None) -> None:
        self._state = state
        self._service = service
        self._release = release
        self._kept: OrderedDict[Hashable, list[Item]] = OrderedDict()

    def items(self, query: ItemQuery, user: ServerUser | None) -> list[Item]:
        """Return all matching items in order. Do not change the list."""
        catalogue = self._state.catalogue
        self._count_costly(query, user)
        key = (catalogue.version, query, *((user.id, user.version) if user else ()))
        return self._keep(key, lambda: self._compute(query, user))

    def _count_costly(self, query: ItemQuery, user: ServerUser | None) -> None:
        counters, collapses = self._state.counters, self._collapses(query, user)
        if collapses and not self._in_memory:
            counters.count_costly(self._service, COLLAPSED)
        played = any(name == "played" for name, _ in query.user_filters)
        filtered = played and query.kinds == ("Series",)
        if self._in_memory and query.recursive and not query.ids and (collapses or filtered):
            counters.count_costly(self._service, WHOLE_LIBRARY)

    @property
    def _in_memory(self) -> bool:
        """Whether the server handles box sets in memory, rather than in the database."""
        return self._release is not None and self._release < (12, 0)

    def _collapses(self, query: ItemQuery, user: ServerUser | None) -> bool:
        """Return whether box sets replace their members: ``CollapseBoxSetItems``."""
        if query.ids or not query.recursive:
            return False
        parent = self._state.catalogue.find(query.parent) if query.parent else None
        if parent is not None and parent.kind in _LISTS:
            return False
        if self._release is None:
            return query.collapse is not False and (not query.kinds or "Movie" in query.kinds)
        never = ("Season", "Series") if self._release < (10, 11) else ("Season",)
        if parent is not None and parent.kind in never:
            return False
        if query.collapse is not None:
            return query.collapse and self._may_collapse(query)
        if user is not None and not self._state.settings.group_into_collections:
            return False
        kinds = {"Movie"} if self._release < (10, 11) else {"Movie", "Series"}
        return (not query.kinds or bool(kinds & set(query.kinds))) and self._may_collapse(query)

    def _may_collapse(self, query: ItemQuery) -> bool:
        """Return ``AllowBoxSetCollapsing``: False with most filters."""
        if query.user_filters:
            return False
        if self._release is not None and self._release < (10, 11):
            return True
        return all(name != "communityrating" for name, _ in query.sort)

    def _keep(self, key: Hashable, compute: Callable[[], list[Item]]) -> list[Item]:
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = compute()
            if len(self._kept) > _CACHED_LISTINGS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

    def _compute(self, query: ItemQuery, user: ServerUser | None) -> list[Item]:
        tests = _predicates(query)
        tests += self._version_predicates(query, user)
        if user is not None:
            if is_limited(user) or self._hides_some(query):
                tests.append(visible_to(user))
            # Up to 10.11, a folder is played if it was marked itself, unless only series are listed.
            itself = self._release is None or (self._in_memory and query.kinds != ("Series",))
            tests += _user_predicates(query, user, shared=self._release is None, folder_itself=itself)
        parent = self._state.catalogue.find(query.parent) if query.parent else None
        if parent is not None and parent.kind in _LISTS and not query.ids:
            candidates, presorted = self._members(parent, query, user), not query.sort
        elif _needs_user_data(query) and user is not None:
            # Few items have data; checking those is far cheaper than checking all.
            slots = user.data
            candidates = [
                item
                for item in self._candidates(query)
                if item.slot in slots or item.kind == "Series" or any(each.slot in slots for each in item.versions)
            ]
            presorted = False
        elif query.ids or depends_on_user(query.sort):
            candidates, presorted = self._candidates(query), False
        else:
            candidates, presorted = self._sorted(query), True
        if tests:
            candidates = [item for item in candidates if all(test(item) for test in tests)]
        if self._in_memory and user is not None:
            candidates = _grouped(candidates)
        if user is not None and not self._in_memory and self._release is not None:
            candidates = self._joined(candidates)
        if self._collapses(query, user) and (user is not None or not self._in_memory):
            raise Unmodelled("a listing in which box sets replace their members")
        return candidates if presorted else sort_items(candidates, query.sort, user)

    def _hides_some(self, query: ItemQuery) -> bool:
        """Return whether there may be items that even users without limits do not see."""
        listed = not query.kinds or "Playlist" in query.kinds
        return listed or self._state.catalogue.hides_libraries

    def _joined(self, items: list[Item]) -> list[Item]:
        """Keep one of the series that the server takes for the same, as users see them from 12 on."""
        kept: list[Item] = []
        first: dict[str, Item] = {}
        for item in items:
            key = self._state.libraries.series_key(item) if item.kind == "Series" else None
            # An item may be listed twice, and then stays twice.
            if key is None or first.setdefault(key, item) is item:
                kept.append(item)
        return kept

    def _members(self, parent: Item, query: ItemQuery, user: ServerUser | None) -> list[Item]:
        """Return the members of a box set or playlist.

        They are linked, not children: without recursion, a listing without a user is empty.
        """
        if user is None and not query.recursive:
            return []
        members = [member.item for member in self._state.lists.members_of(parent)]
        if parent.kind == "BoxSet" and not query.sort:
            members = self._in_order(members, query, user)
        return [item for item in members if not query.kinds or item.kind in query.kinds]

    def _in_order(self, members: list[Item], query: ItemQuery, user: ServerUser | None) -> list[Item]:
        """Sort the members of a box set for a client that asks for no order (``Folder.cs``: ``QueryRecursive``)."""
        if self._in_memory and user is None:
            return members
        if user is None or (query.recursive and not self._in_memory):
            # The database decides.
            return sorted(members, key=lambda item: item.id)
        raise Unmodelled("the members of a box set in its own order")

    def _version_predicates(self, query: ItemQuery, user: ServerUser | None) -> list[Predicate]:
        """Return predicates for the versions of a film that are listed."""
        if not any(item.primary is not None for item in self._state.catalogue.items("Movie")):
            return []
        if self._in_memory:
            # The server does not list versions in the primary's folder as films.
            return [lambda item: not item.is_owned]
        if self._release is None or user is None or ("resumable", True) not in query.user_filters:
            return [lambda item: item.primary is None]
        owner = user
        return [lambda item: not item.is_owned, lambda item: owner.latest_begun(item) is item]

    def _sorted(self, query: ItemQuery) -> list[Item]:
        key = ("sorted", self._state.catalogue.version, query.kinds, query.parent, query.recursive, query.sort)
        return self._keep(key, lambda: sort_items(self._candidates(query), query.sort, None))

    def _candidates(self, query: ItemQuery) -> list[Item]:
        catalogue = self._state.catalogue
        if query.ids:
            found = [catalogue.find(item_id) for item_id in dict.fromkeys(query.ids)]
            return [item for item in found if item is not None and (not query.kinds or item.kind in query.kinds)]
        kinds = query.kinds or tuple(KINDS.values())
        if query.parent is None:
            return [item for kind in kinds for item in catalogue.items(kind)]
        if catalogue.find(query.parent) is not None or not query.recursive:
            raise Unmodelled("the children of an item")
        return [item for kind in kinds for item in catalogue.items(kind) if item.library.item_id == query.parent]


def _grouped(items: list[Item]) -> list[Item]:
    """Keep one matching version of each film, if possible the primary one, as users see them up to 10.11."""
    kept = {(item.primary or item).slot: item for item in reversed(items) if item.primary is not None}
    kept |= {item.slot: item for item in items if item.primary is None}
    return [item for item in items if kept[(item.primary or item).slot] is item]


def _needs_user_data(query: ItemQuery) -> bool:
    return query.user_saved_from is not None or any(wanted for _, wanted in query.user_filters)


def _user_predicates(query: ItemQuery, user: ServerUser, *, shared: bool, folder_itself: bool) -> list[Predicate]:
    """Return predicates on user data.

    Args:
        query: the listing's parameters.
        user: the user.
        shared: whether all versions of a film share their user data.
        folder_itself: whether a series or season is played if it was marked itself, not if its episodes are.
    """

    def begun(item: Item) -> bool:
        versions = item.every_version if shared else (item,)
        return any(user.of(each).position > 0 for each in versions)

    properties: dict[str, Callable[[Item], Any]] = {
        "played": (lambda item: user.of(item).played) if folder_itself else user.has_played,
        "favorite": lambda item: user.of(item).favorite,
        "liked": lambda item: user.of(item).likes,
        "resumable": begun,
    }
    tests: list[Predicate] = []
    if (saved := query.user_saved_from) is not None:
        tests.append(lambda item: max(user.of(each).saved for each in (item, *item.versions)) >= saved)
    tests += [lambda item, f=properties[name], w=wanted: bool(f(item)) is w for name, wanted in query.user_filters]
    return tests


def _predicates(query: ItemQuery) -> list[Predicate]:
    tests: list[Predicate] = []
    if query.virtual is not None:
        tests.append(lambda item: item.virtual is query.virtual)
    if (saved := query.saved_from) is not None:
        tests.append(lambda item: item.saved >= saved)
    return tests
