"""``/discover``: the filters that this project sends, and orders.

An unknown id yields an empty page, not an error. Ids of ``with_*`` are joined with ``,``, and titles need all of them;
lists joined with ``|`` are not modelled. ``with_people`` is for films only: of series, the real service ignores it,
which the stand-in refuses, as it would widen a search unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aperture_dagster.simulator.service import Query, Unmodelled
from aperture_dagster.simulator.tmdb.ids import genre_id, named_id
from aperture_dagster.simulator.tmdb.library import TitleIndex
from aperture_dagster.simulator.world import WorldTitle


def _ids(kind: str, names: Iterable[str]) -> list[str]:
    return [str(named_id(kind, name)) for name in names]


def _people(title: WorldTitle) -> list[str]:
    crew = (*title.directors, *title.writers, *title.composers, *title.cinematographers)
    return _ids("person", (*(member.name for member in title.cast), *crew))


_TRAITS: dict[str, Callable[[WorldTitle], Iterable[str]]] = {
    "with_genres": lambda title: [str(genre_id(name)) for name in title.genres],
    "with_keywords": lambda title: _ids("keyword", title.keywords),
    "with_people": _people,
    "with_original_language": lambda title: [title.language or "en"],
}
_DAYS = {"movie": "primary_release_date", "series": "first_air_date"}
_ORDERS: dict[str, Callable[[WorldTitle], float]] = {
    "popularity.desc": lambda title: title.popularity or 0.0,
    "vote_count.desc": lambda title: title.vote_count or 0,
}


def parameters(media_type: str) -> tuple[str, ...]:
    """Return the names of the parameters that are modelled."""
    traits = [name for name in _TRAITS if media_type == "movie" or name != "with_people"]
    day = _DAYS[media_type]
    return (
        "language", "page", "sort_by", "include_adult", "vote_count.gte", f"{day}.gte", f"{day}.lte", *traits,
    )  # fmt: skip


class Discovery:
    """``/discover`` over an index of titles. A new index needs a new object."""

    def __init__(self, index: TitleIndex) -> None:
        self._index = index
        self._by_trait: dict[tuple[str, str], dict[str, set[str]]] = {}

    def find(self, media_type: str, query: Query) -> list[WorldTitle]:
        """Return the titles that pass all filters, in the requested order. Raises Unmodelled."""
        found = self._index.popular(media_type)
        if query.get("include_adult") != "true":
            found = [title for title in found if not title.adult]
        for name in _TRAITS:
            for value in query.split(name):
                if "|" in value:
                    raise Unmodelled(f"{name}={value}")
                holders = self._holders(media_type, name, value)
                found = [title for title in found if title.key in holders]
        if least := query.get("vote_count.gte"):
            found = [title for title in found if (title.vote_count or 0) >= int(least)]
        if first := query.get(f"{_DAYS[media_type]}.gte"):
            found = [title for title in found if (title.release_date or "") >= first]
        if last := query.get(f"{_DAYS[media_type]}.lte"):
            found = [title for title in found if title.release_date and title.release_date <= last]
        order = query.get("sort_by") or "popularity.desc"
        if order not in _ORDERS:
            raise Unmodelled(f"sort_by={order}")
        # Of equal titles, the more popular one comes first.
        return sorted(found, key=_ORDERS[order], reverse=True)

    def _holders(self, media_type: str, name: str, value: str) -> set[str]:
        """Return the keys of the titles with a trait."""
        holders = self._by_trait.get((media_type, name))
        if holders is None:
            holders = self._by_trait[media_type, name] = {}
            for title in self._index.popular(media_type):
                for each in _TRAITS[name](title):
                    holders.setdefault(each, set()).add(title.key)
        return holders.get(value, set())
