"""Posters and backdrops: fetched by us from the media server or from TMDb, for whoever may see the title.

A browser asks nobody but us, and names a title, never a picture or an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.discovery.suggestions import picture_paths
from aperture_dagster.enrichment.tmdb.posters import TmdbPosters
from aperture_dagster.front_door.house import LARGEST_ID, MOST_WAITING, PATIENCE_SECONDS, House, Visit
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.rendering import HEADERS
from aperture_dagster.http.pictures import KeptPictures
from aperture_dagster.media_server.posters import Kind
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.shelves import may_see_suggestion

ID = re.compile(r"[A-Za-z0-9-]{1,64}")
K = TypeVar("K", bound=Hashable)
MISSING = {"cache-control": "private, max-age=60"}


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes: pictures of titles in the library by item, and of others by work."""
    # Threads of their own, since TMDb may be slow while the media server is not.
    lane = Lane(4, waiting=MOST_WAITING, seconds=PATIENCE_SECONDS)
    posters = TmdbPosters(house.settings.tmdb_image_url, timeout_seconds=PATIENCE_SECONDS / 2)
    of_suggestion = partial(_of_suggestion, house, posters, lane)
    of_item = partial(show_item, house)
    return [
        Route(f"/pictures/{path}{'' if kind == 'poster' else f'/{kind}'}", partial(answer, kind))
        for kind in get_args(Kind)
        for path, answer in (("suggested/{work:int}", of_suggestion), ("{item}", of_item))
    ]


async def show_item(
    house: House, kind: Kind, request: Request, *, may_see: Callable[[str, Visit], bool] | None = None
) -> Response:
    """Show a picture of a title in the library. Nothing but its id is sent to the server.

    ``may_see``: tells who may, by the id of the item; by default, who may see the title on the media server.
    """
    visit, item = Visit(house, request), request.path_params["item"]
    if not await house.answer(house.pages, partial(may_see or _may_see, item), visit):
        raise HTTPException(404)
    return await _show(visit, house.posters, (item, kind), house.pictures)


async def _of_suggestion(house: House, posters: TmdbPosters, lane: Lane, kind: Kind, request: Request) -> Response:
    """Show a picture of a title that is not in the library. Nothing but TMDb's path of it is sent to TMDb."""
    visit = Visit(house, request)
    path = await house.answer(house.pages, partial(_path, request.path_params["work"], kind), visit)
    if path is None:
        raise HTTPException(404, headers=MISSING)
    return await _show(visit, posters, (path, kind), lane)


async def _show(visit: Visit, pictures: KeptPictures[K], key: K, lane: Lane) -> Response:
    picture = pictures.kept(key)
    if picture is None and not pictures.is_missing(key):
        with suppress(TimeoutError):
            picture = await visit.house.answer(lane, lambda _: pictures.get(key), visit)
    if picture is None:
        raise HTTPException(404, headers=MISSING)
    # Only for this browser, since others may not be allowed to see the title.
    headers = {**HEADERS, "cache-control": "private, max-age=86400", "etag": picture.tag}
    if visit.request.headers.get("if-none-match") == picture.tag:
        return Response(status_code=304, headers=headers)
    return Response(picture.content, 200, headers, picture.media_type)


def _may_see(item: str, visit: Visit) -> bool:
    visitor = visit.visitor
    if visitor is None or not ID.fullmatch(item):
        return False
    statement = "SELECT work_id FROM present_titles WHERE server_item_id = :item"
    with visit.house.database.connection() as connection:
        work = read_value(connection, statement, item=item)
        if work is None or visitor.operates:
            return work is not None
        seen = titles_in_sight(connection, visitor.user, [work]) if visitor.user else {}
    return work in seen and seen[work].server_item_id == item


def _path(work: int, kind: Kind, visit: Visit) -> str | None:
    """Return TMDb's path of a picture; None unless the visitor may see the title, and TMDb is used."""
    visitor = visit.visitor
    if visitor is None or work >= LARGEST_ID or visit.settings.tmdb_api_key is None:
        return None
    with visit.house.database.connection() as connection:
        if not visitor.operates and not (
            visitor.user and may_see_suggestion(connection, visitor.user, visit.settings, work)
        ):
            return None
        return picture_paths(connection, work).get(kind)
