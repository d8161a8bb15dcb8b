"""The library as the ranking sees it, which the tastes and the lists of a run share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.storage.inputs import item_hashes, vector_hash
from aperture_dagster.storage.lists import read_titles
from aperture_dagster.storage.vectors import read_vectors

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from aperture_dagster.ranking.library import Library


@dataclass(frozen=True, slots=True, eq=False)
class Shelves:
    """The item table without its lists of names, and what was computed from it and the vectors once."""

    items: "pd.DataFrame"
    library: "Library"


# The last one of this process. Both assets of a run need it, and reading it costs most of a newcomer's first list.
_last: dict[tuple[str, ...], Shelves] = {}


def read_shelves(connection: "Connection", model_key: str, *, keep: bool = False) -> Shelves:
    """Read and prepare the library, unless this process has just done so and nothing has changed since.

    With ``keep``, the next caller may have it, too.
    """
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.ranking.library import library_of

    # Hashes come before the rows: what changes in between makes the next caller read again.
    key = (str(connection.engine.url), *item_hashes(connection), vector_hash(connection, model_key))
    found = _last.pop(key, None)
    _last.clear()
    if found is None:
        items, names = read_titles(connection)
        found = Shelves(items, library_of(items, *read_vectors(connection, model_key, items["work_id"]), names))
    if keep:
        _last[key] = found
    return found
