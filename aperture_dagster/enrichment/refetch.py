"""Ask sources again for facts that are not due yet: about all titles, or about named ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.queries import read_titles_to_name
from aperture_dagster.catalogue.references import match_titles, nearest_titles, parse_title_reference
from aperture_dagster.enrichment.source import TitleSource
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.worklist.fetches import request_again

ALL = "all"


class UnknownTitle(OperatorError):
    """The library has no title that is named so."""


@dataclass(frozen=True, slots=True)
class Refetch:
    """A request to ask again: how many titles it made due, and how many named ones the source cannot be asked about."""

    due: int
    unknown: int = 0


def refetch(
    connection: Connection, source: TitleSource[Any], titles: Sequence[str], *, request: str, now: datetime
) -> Refetch | None:
    """Make titles due at a source, although their facts are not old; ``ALL`` stands for all of them.

    They stay due until they were asked about, whatever becomes of the run. None if the ``request`` was made before, by
    an attempt that has crashed since.

    Raises:
        UnknownTitle: a name or id means no title of the library; nothing was made due.
    """
    if any(title.strip().casefold() == ALL for title in titles):
        due = request_again(connection, source, None, request=request, now=now)
        return Refetch(due) if due is not None else None
    works = _named(connection, titles)
    due = request_again(connection, source, works, request=request, now=now)
    return Refetch(due, unknown=len(works) - due) if due is not None else None


def _named(connection: Connection, titles: Sequence[str]) -> list[int]:
    """Return the works that are meant; a name that several titles have means all of them."""
    known = [one for one in read_titles_to_name(connection) if one.in_library]
    works: dict[int, None] = {}
    for text in titles:
        meant = match_titles(parse_title_reference(text), known)
        if not meant:
            nearest = [title.label for title in nearest_titles(text, known)[:3]]
            hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
            raise UnknownTitle(f"No title of the library is called {text!r:.100}, so nothing is asked again.{hint}")
        works |= dict.fromkeys(one.work_id for one in meant)
    return list(works)
