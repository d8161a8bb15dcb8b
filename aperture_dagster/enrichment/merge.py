"""The merge of what several sources say of a title into one view.

For every column the sources are asked in the order of their ranks. The first that has a value wins, and the view
records which one that was. Values of ``joined`` columns are combined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

Row = Mapping[str, Any]
# Increase it when the code of this module merges the same values differently: everything is merged again then.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Gives:
    """A column of the view that a source has values for.

    Args:
        own: the source's own column; default the same name.
        rank: lower ones are asked first.
        joined: combine the values with those of other joined sources, instead of taking the first.
        read: makes the value of the view from the source's own.
    """

    column: str
    own: str = ""
    rank: int = 0
    joined: bool = False
    read: Callable[[Any], Any] | None = None

    def value(self, row: Row) -> Any:
        """Return the value that a row of the source gives; None if it has none."""
        value = row.get(self.own or self.column)
        if value is not None and self.read is not None:
            value = self.read(value)
        return None if value is None or value == "" or value == [] else value


def gives(rank: int, *same: str, **renamed: str) -> tuple[Gives, ...]:
    """Declare columns that a source gives under the same name, and others as ``column="own column"``."""
    return tuple(Gives(column, own, rank) for column, own in ((dict(zip(same, same, strict=True))) | renamed).items())


# What the media server gives. The title is the operator's own name for it, the runtime that of the file, so these come
# before all sources. Descriptions come after all sources.
SERVER = "server"
SERVER_GIVES = (
    *gives(0, "title", "year", "tmdb_id", "imdb_id", "tvdb_id", "official_rating", "runtime_minutes"),
    *gives(90, release_date="premiere_date"),
    *gives(90, "original_title", "overview", "tagline", "genres", "status"),
    *gives(90, keywords="tags", companies="studios", vote_average="community_rating"),
)


class MergePlan:
    """Which source is asked first for each column of the view, given what each source gives by its name.

    Raises:
        ValueError: two sources have the same rank in a column, or one gives a column twice.
    """

    def __init__(self, declared: Mapping[str, Iterable[Gives]]) -> None:
        columns: dict[str, dict[int, tuple[str, Gives]]] = {}
        for source, given in declared.items():
            for one in given:
                ranks = columns.setdefault(one.column, {})
                if one.rank in ranks:
                    raise ValueError(f"{one.column}: {source} and {ranks[one.rank][0]} both have rank {one.rank}")
                ranks[one.rank] = (source, one)
        self.columns = {column: tuple(ranks[rank] for rank in sorted(ranks)) for column, ranks in columns.items()}
        self._joined = {name for name, candidates in self.columns.items() if any(one.joined for _, one in candidates)}

    def recipe(self) -> str:
        """Hash what the merge of a title depends on besides the rows."""
        plain = [
            (column, [(source, one.own or column, one.joined, _name(one.read)) for source, one in candidates])
            for column, candidates in sorted(self.columns.items())
        ]
        return hashlib.blake2b(repr((VERSION, plain)).encode(), digest_size=8).hexdigest()

    def merge(self, rows: Mapping[str, Row | None]) -> dict[str, Any]:
        """Merge the rows of a title, by source; None for a source that does not know it.

        Returns the columns of the view that any source has a value for, and under ``sources`` the source of each value
        (``a+b`` where two are combined).
        """
        merged: dict[str, Any] = {}
        came_from: dict[str, str] = {}
        for column, candidates in self.columns.items():
            joined: list[tuple[str, Any]] = []
            for source, one in candidates:
                row = rows.get(source)
                value = one.value(row) if row is not None else None
                if value is None:
                    continue
                if column not in merged:
                    merged[column], came_from[column] = value, source
                    if column not in self._joined:
                        break
                if one.joined:
                    joined.append((source, value))
            if len(joined) > 1:
                merged[column] = weave([value for _, value in joined])
                came_from[column] = "+".join(source for source, _ in joined)
        return {**merged, "sources": came_from}


def _name(read: Callable[[Any], Any] | None) -> str:
    return read.__qualname__ if read is not None else ""


def weave(lists: Sequence[Sequence[str]]) -> list[str]:
    """Combine lists of names, each name once regardless of case.

    Names that are in all lists come first, then one of each list in turn, so that the first twenty are from all lists.
    """
    folded = [{name.casefold() for name in names} for names in lists]
    agreed = [name for name in lists[0] if all(name.casefold() in names for names in folded)]
    in_turns = (name for turn in zip_longest(*lists) for name in turn if name is not None)
    spelled: dict[str, str] = {}
    for name in chain(agreed, in_turns):
        spelled.setdefault(name.casefold(), name)
    return list(spelled.values())
