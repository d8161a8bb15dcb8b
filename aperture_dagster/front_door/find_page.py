"""The page on which members find titles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.pages import show
from aperture_dagster.search.found import find_page
from aperture_dagster.search.keeper import Keeper
from aperture_dagster.search.rows import read_search_episodes, read_search_titles, state_of_titles
from aperture_dagster.search.words import clean_question

if TYPE_CHECKING:
    from aperture_dagster.search.index import Index

PATH = "/find"


def find_routes(house: House) -> Sequence[BaseRoute]:
    """Return the route."""
    return [house.page(PATH, partial(find, Keeper(house.database, state_of_titles, read_index)))]


def find(keeper: Keeper[Index], visit: Visit) -> Response:
    """Show what whoever visits finds."""
    question = clean_question(visit.request.query_params.get("q"))
    index = keeper.get() if question and visit.visitor is not None else None
    read = partial(find_page, question=question, index=index)
    # What somebody looked for is not kept.
    return show({}, read, "titles.html", visit, question=question)


def read_index(connection: Connection) -> Index:
    """Read and index all titles and episodes."""
    # numpy takes memory that only those who search need.
    from aperture_dagster.search.index import build_index

    return build_index(read_search_titles(connection), read_search_episodes(connection))
