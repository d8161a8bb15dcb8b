"""The page on which members find titles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.pages import show
from aperture_dagster.search.found import find_page
from aperture_dagster.search.words import clean_question

PATH = "/find"


def find_routes(house: House) -> Sequence[BaseRoute]:
    """Return the route."""
    return [house.page(PATH, find)]


def find(visit: Visit) -> Response:
    """Show what whoever visits finds."""
    question = clean_question(visit.request.query_params.get("q"))
    index = visit.house.index.get() if question and visit.visitor is not None else None
    read = partial(find_page, question=question, index=index)
    # What somebody looked for is not kept.
    return show({}, read, "titles.html", visit, question=question)
