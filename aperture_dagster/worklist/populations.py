"""The sets of items that services are queried for, such as the titles of the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AsksBy = Literal["any", "any_known", "imdb", "imdb_or_tmdb"]


@dataclass(frozen=True, slots=True)
class Population:
    """A set of items in the database, as SQL fragments, in which ``f`` is a row with an item's ``kind`` and ``item``.

    Args:
        kinds: as in ``fetches.kind``.
        members: SELECT ``kind``, ``item`` and ``added_at``, with the condition ``{askable}``.
        has_member: a condition: the item belongs to the population now.
        name: SELECT the display ``name`` and the ``year`` of an item.
        columns: further columns of :class:`~aperture_dagster.worklist.queue.DueItem` that a request needs.
        joins: the tables of ``columns``.
        askable: conditions on ``members``, by the ids that a source needs.
        is_askable: a condition: the item meets such a condition, given as ``{askable}``.
    """

    kinds: tuple[str, ...]
    members: str
    has_member: str
    name: str
    columns: tuple[str, ...] = ()
    joins: str = ""
    askable: Mapping[AsksBy, str] = field(default_factory=dict)
    is_askable: str = "true"


TITLES = Population(
    kinds=("movie", "series"),
    members="SELECT w.media_type AS kind, w.work_id AS item, min(t.added_at) AS added_at FROM work_ids w "
    "JOIN present_titles t USING (work_id) WHERE {askable} GROUP BY 1, 2",
    has_member="EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = f.item)",
    name="SELECT title AS name, year FROM work_copies t WHERE t.work_id = f.item AND t.removed_at IS NULL",
    # An id found by a lookup takes precedence over the server's, which may be outdated.
    columns=("coalesce(f.found_id, w.tmdb_id) AS tmdb_id", "w.imdb_id", "w.tvdb_id"),
    joins="JOIN work_ids w ON w.work_id = f.item",
    askable={
        "any_known": "w.tmdb_id IS NOT NULL OR w.imdb_id IS NOT NULL "
        "OR (w.media_type = 'series' AND w.tvdb_id IS NOT NULL)",
        "imdb": "w.imdb_id IS NOT NULL",
        "imdb_or_tmdb": "w.imdb_id IS NOT NULL OR w.tmdb_id IS NOT NULL",
    },
    is_askable="EXISTS (SELECT 1 FROM work_ids w WHERE w.work_id = f.item AND ({askable}))",
)
COLLECTIONS = Population(
    kinds=("collection",),
    members="SELECT 'collection' AS kind, m.collection_id AS item, min(t.added_at) AS added_at FROM tmdb_metadata m "
    "JOIN present_titles t ON t.work_id = m.work_id "
    "WHERE m.collection_id IS NOT NULL AND {askable} GROUP BY 2",
    has_member="EXISTS (SELECT 1 FROM tmdb_metadata m JOIN present_titles t USING (work_id) "
    "WHERE m.collection_id = f.item)",
    name="SELECT max(collection_name) AS name, NULL::int AS year FROM tmdb_metadata WHERE collection_id = f.item",
)
STUDIOS = Population(
    kinds=("company", "network"),
    members="SELECT s.kind, s.studio_id AS item, NULL::timestamptz AS added_at FROM studio_logos s "
    "WHERE s.titles > 0 AND {askable}",
    has_member="EXISTS (SELECT 1 FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item AND s.titles > 0)",
    name="SELECT name, NULL::int AS year FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item",
    columns=("s.logo_path",),
    joins="JOIN studio_logos s ON s.kind = f.kind AND s.studio_id = f.item",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A service and the population that it is queried for. Each has a work list.

    ``name`` is the service's name in the database, which work lists of different kinds may share. ``asks_by`` are the
    ids that it needs; ``any_known``: TMDb, IMDb or, for series, TVDb; ``any``: none.
    """

    name: str
    label: str
    population: Population = TITLES
    asks_by: AsksBy = "any"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the items."""
        return self.population.kinds

    @property
    def _condition(self) -> str:
        return self.population.askable.get(self.asks_by, "true")

    @property
    def is_askable(self) -> str:
        """Condition on a row ``f`` of the list: its item has the ids that the source needs."""
        return self.population.is_askable.format(askable=self._condition) if self._condition != "true" else "true"

    def members(self, *, askable: bool) -> str:
        """SELECT the items of the population that have the ids that the source needs, or those that have not."""
        return self.population.members.format(askable=f"({self._condition})" if askable else f"NOT ({self._condition})")
