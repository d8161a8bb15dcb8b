"""Listings: which items a request asks for, in which order. Results are kept, so that paging through them is cheap."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from aperture_dagster.simulator.asgi import Query
from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.dto import premiere_date, series_status
from aperture_dagster.simulator.jellyfin.sorting import SortSpec, depends_on_user, parse_sort, sort_items
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

KINDS = {kind.lower(): kind for kind in ("Movie", "Series", "Season", "Episode")}
_KEPT_LISTINGS = 24
Predicate = Callable[[Item], bool]


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """What a listing asks for, without the page. Times in unix seconds."""

    kinds: tuple[str, ...] = ()
    without_kinds: tuple[str, ...] = ()
    parent: str | None = None
    recursive: bool = False
    ids: tuple[str, ...] = ()
    without_ids: tuple[str, ...] = ()
    sort: SortSpec = ()
    user_filters: frozenset[tuple[str, bool]] = frozenset()
    search: str = ""
    years: frozenset[int] = frozenset()
    genres: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    studios: frozenset[str] = frozenset()
    official_ratings: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    saved_from: float | None = None
    user_saved_from: float | None = None
    """The user's own data was saved since then; Jellyfin has no such filter that works, Emby does."""
    premiere_from: float | None = None
    premiere_to: float | None = None
    rating_from: float | None = None
    has: frozenset[tuple[str, bool]] = frozenset()


_USER_FILTERS = {
    "isplayed": ("played", True),
    "isunplayed": ("played", False),
    "isfavorite": ("favorite", True),
    "isresumable": ("resumable", True),
    "likes": ("likes", True),
    "dislikes": ("dislikes", True),
    "isfavoriteorlikes": ("favorite_or_likes", True),
}


def parse_item_query(query: Query) -> ItemQuery:
    """Read a listing's parameters. Raises BindingError; unknown values of enums are ignored, as on the real server."""
    user_filters = {_USER_FILTERS[name.lower()] for name in query.split("filters") if name.lower() in _USER_FILTERS}
    for parameter, name in (("isPlayed", "played"), ("isFavorite", "favorite")):
        value = binding.boolean(query, parameter)
        if value is not None:
            user_filters.add((name, value))
    has = set()
    for parameter in ("hasTmdbId", "hasImdbId", "hasTvdbId", "hasOverview", "isMissing", "isMovie", "isSeries"):
        value = binding.boolean(query, parameter)
        if value is not None:
            has.add((parameter, value))
    # The real server compares the "for user" date with the item's own save date, too: a bug that clients must know.
    saved = [binding.moment(query, "minDateLastSaved"), binding.moment(query, "minDateLastSavedForUser")]
    return ItemQuery(
        kinds=tuple(dict.fromkeys(KINDS.get(kind.lower(), "") for kind in query.split("includeItemTypes"))),
        without_kinds=tuple(KINDS.get(kind.lower(), "") for kind in query.split("excludeItemTypes")),
        parent=binding.guid(query, "parentId"),
        recursive=bool(binding.boolean(query, "recursive")),
        ids=binding.guids(query, "ids"),
        without_ids=binding.guids(query, "excludeItemIds"),
        sort=parse_sort(query.split("sortBy"), query.split("sortOrder")),
        user_filters=frozenset(user_filters),
        search=(query.get("searchTerm") or "").lower(),
        years=frozenset(int(year) for year in query.split("years") if year.isdecimal()),
        genres=frozenset(name.lower() for name in query.split("genres", "|")),
        tags=frozenset(name.lower() for name in query.split("tags", "|")),
        studios=frozenset(name.lower() for name in query.split("studios", "|")),
        official_ratings=frozenset(name.lower() for name in query.split("officialRatings", "|")),
        statuses=frozenset(name.lower() for name in query.split("seriesStatus")),
        saved_from=max((when for when in saved if when is not None), default=None),
        premiere_from=binding.moment(query, "minPremiereDate"),
        premiere_to=binding.moment(query, "maxPremiereDate"),
        rating_from=binding.number(query, "minCommunityRating"),
        has=frozenset(has),
    )


def visible_to(user: ServerUser) -> Predicate:
    """Whether a user's policy lets them see an item: its library, and the age that its rating asks for."""
    folders = None if user.policy.enable_all_folders else frozenset(user.policy.enabled_folders)
    limit = user.facts.max_parental_rating

    def visible(item: Item) -> bool:
        if folders is not None and item.library.item_id not in folders:
            return False
        if limit is None:
            return True
        age = item.rating_age
        return age is None or age <= limit

    return visible


class Listings:
    """Answers listings from the state, and keeps the last ones."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._kept: OrderedDict[Hashable, list[Item]] = OrderedDict()

    def items(self, query: ItemQuery, user: ServerUser | None) -> list[Item]:
        """All items that match, in order; not to be changed."""
        catalogue = self._state.catalogue
        key = (catalogue.version, query, *((user.id, user.version) if user else ()))
        return self._keep(key, lambda: self._compute(query, user))

    def _keep(self, key: Hashable, compute: Callable[[], list[Item]]) -> list[Item]:
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = compute()
            if len(self._kept) > _KEPT_LISTINGS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

    def _compute(self, query: ItemQuery, user: ServerUser | None) -> list[Item]:
        tests = _predicates(query)
        if user is not None:
            if not user.policy.enable_all_folders or user.facts.max_parental_rating is not None:
                tests.append(visible_to(user))
            tests += _user_predicates(query, user)
        if _needs_user_data(query) and user is not None:
            # Few items carry data; asking those is far cheaper than asking all.
            slots = user.data
            candidates = [item for item in self._candidates(query) if item.slot in slots or item.kind == "Series"]
            presorted = False
        elif query.ids or depends_on_user(query.sort):
            candidates, presorted = self._candidates(query), False
        else:
            candidates, presorted = self._sorted(query), True
        if tests:
            candidates = [item for item in candidates if all(test(item) for test in tests)]
        return candidates if presorted else sort_items(candidates, query.sort, user)

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
        parent = catalogue.find(query.parent)
        if parent is not None:
            return [item for item in _children(parent, query.recursive) if item.kind in kinds]
        if not query.recursive:
            kinds = tuple(kind for kind in kinds if kind in ("Movie", "Series"))
        return [item for kind in kinds for item in catalogue.items(kind) if item.library.item_id == query.parent]


def _children(parent: Item, recursive: bool) -> list[Item]:
    if parent.kind == "Season" and parent.series is not None and parent.season is not None:
        return parent.series.seasons[parent.season - 1].episodes
    seasons = [season.item for season in parent.seasons]
    return seasons + [episode for season in parent.seasons for episode in season.episodes] if recursive else seasons


def _needs_user_data(query: ItemQuery) -> bool:
    positive = {"favorite", "resumable", "likes", "dislikes", "favorite_or_likes"}
    if query.user_saved_from is not None:
        return True
    return any((name in positive and wanted) or (name == "played" and wanted) for name, wanted in query.user_filters)


def _user_predicates(query: ItemQuery, user: ServerUser) -> list[Predicate]:
    asked: dict[str, Callable[[Item], Any]] = {
        "played": user.has_played,
        "favorite": lambda item: user.of(item).favorite,
        "resumable": lambda item: user.of(item).position > 0,
        "likes": lambda item: user.of(item).likes is True,
        "dislikes": lambda item: user.of(item).likes is False,
        "favorite_or_likes": lambda item: user.of(item).favorite or user.of(item).likes is True,
    }
    tests: list[Predicate] = []
    if (saved := query.user_saved_from) is not None:
        tests.append(lambda item: user.of(item).saved >= saved)
    tests += [lambda item, f=asked[name], w=wanted: bool(f(item)) is w for name, wanted in query.user_filters]
    return tests


def _lower(names: tuple[str, ...]) -> set[str]:
    return {name.lower() for name in names}


def _predicates(query: ItemQuery) -> list[Predicate]:
    tests: list[Predicate] = []
    if query.without_kinds:
        tests.append(lambda item: item.kind not in query.without_kinds)
    if query.without_ids:
        tests.append(lambda item: item.id not in query.without_ids)
    if query.search:
        tests.append(lambda item: query.search in item.name.lower())
    if query.years:
        tests.append(lambda item: item.title.year in query.years)
    if query.genres:
        tests.append(lambda item: bool(query.genres & _lower(item.title.genres)))
    if query.tags:
        tests.append(lambda item: bool(query.tags & _lower(item.title.keywords[:3])))
    if query.studios:
        tests.append(lambda item: bool(query.studios & _lower(item.title.companies + item.title.networks)))
    if query.official_ratings:
        tests.append(lambda item: (item.title.official_rating or "").lower() in query.official_ratings)
    if query.statuses:
        tests.append(lambda item: item.kind == "Series" and (series_status(item) or "").lower() in query.statuses)
    if (saved := query.saved_from) is not None:
        tests.append(lambda item: item.saved >= saved)
    if (rating := query.rating_from) is not None:
        tests.append(lambda item: (item.title.vote_average or 0.0) >= rating)
    if (first := query.premiere_from) is not None:
        tests.append(lambda item: (when := _premiere(item)) is not None and when >= first)
    if (last := query.premiere_to) is not None:
        tests.append(lambda item: (when := _premiere(item)) is not None and when <= last)
    tests += [lambda item, f=_HAS[name], w=wanted: f(item) is w for name, wanted in query.has]
    return tests


def _premiere(item: Item) -> float | None:
    date = premiere_date(item)
    return binding.parse_moment("premiereDate", date) if date else None


_HAS: dict[str, Predicate] = {
    "hasTmdbId": lambda item: item.title.tmdb_id is not None,
    "hasImdbId": lambda item: bool(item.title.imdb_id),
    "hasTvdbId": lambda item: item.title.tvdb_id is not None,
    "hasOverview": lambda item: bool(item.title.overview),
    "isMissing": lambda item: False,
    "isMovie": lambda item: item.kind == "Movie",
    "isSeries": lambda item: item.kind == "Series",
}
