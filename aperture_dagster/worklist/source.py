"""Declare a source: a service, and the items that it is asked about."""

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
        columns: further columns of :class:`~aperture_dagster.worklist.fetches.DueItem` that a request needs.
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


NOTHING = Population(
    kinds=(),
    members="SELECT NULL::text AS kind, NULL::bigint AS item, NULL::timestamptz AS added_at WHERE {askable} AND false",
    has_member="false",
    name="SELECT NULL::text AS name, NULL::int AS year WHERE false",
)
"""Of a service without a work list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A service and the population that it is queried for. Each has a work list.

    ``name`` is the service's name in the database, which work lists of different kinds may share. ``asks_by`` are the
    ids that it needs; ``any_known``: TMDb, IMDb or, for series, TVDb; ``any``: none.
    """

    name: str
    label: str
    population: Population = NOTHING
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
