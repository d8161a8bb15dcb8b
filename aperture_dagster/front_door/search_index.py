"""The index of the search, which the page on which members find titles shares with the search of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection

from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.search.keeper import Keeper
from aperture_dagster.search.rows import read_search_episodes, read_search_titles, state_of_titles

if TYPE_CHECKING:
    from aperture_dagster.search.index import Index


def search_index(database: ReadOnlyDatabase) -> Keeper[Index]:
    """Return what keeps the index of all titles and episodes. It is made at the first search."""
    return Keeper(database, state_of_titles, read_index)


def read_index(connection: Connection) -> Index:
    """Read and index all titles and episodes."""
    # numpy takes memory that only those who search need.
    from aperture_dagster.search.index import build_index

    return build_index(read_search_titles(connection), read_search_episodes(connection))
