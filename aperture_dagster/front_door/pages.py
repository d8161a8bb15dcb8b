"""The pages of lists and titles, and the files that pages consist of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import server_identity
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.evening import company, wishes
from aperture_dagster.evening.company import together
from aperture_dagster.evening.tonight import tonight
from aperture_dagster.front_door import pictures, sign_in
from aperture_dagster.front_door.choices import offer_to
from aperture_dagster.front_door.evenings import ways_back
from aperture_dagster.front_door.first_lists import REFRESH_SECONDS, read_first_lists
from aperture_dagster.front_door.gate import Visitor
from aperture_dagster.front_door.house import LARGEST_ID, NO_MEMBER, House, Visit, safe_path
from aperture_dagster.front_door.rendering import as_page
from aperture_dagster.members.choices import choices_of
from aperture_dagster.members.for_later import titles_for_later
from aperture_dagster.members.more_like_this import titles_to_follow
from aperture_dagster.postgres.changes import state_of_product
from aperture_dagster.postgres.database import NothingYet
from aperture_dagster.settings.types import is_loopback
from aperture_dagster.shelves import (
    Page,
    for_later,
    for_you,
    my_taste,
    own_ratings,
    shows,
    suggestions,
    top_picks,
)
from aperture_dagster.taste.alike import Alike
from aperture_dagster.texts import marked
from aperture_dagster.title_page import title_page

KEPT_PAGES = 200
LISTS = {
    "/": (marked("For you"), for_you),
    "/shows": (marked("Shows you watch"), shows),
    "/top-picks": (marked("Top Picks"), top_picks),
    "/suggestions": (marked("Not in the library"), suggestions),
    "/later": (marked("For later"), for_later),
    "/taste": (marked("My taste"), my_taste),
}
ASKING: Mapping[str, tuple[Callable[..., Page], Collection[str]]] = {
    "/tonight": (tonight, wishes.NAMES),
    "/together": (together, company.NAMES),
}
"""Paths of lists that are made for what the address asks, each with the parameters that count."""
WITH_EVENINGS = ("/", "/together")
"""Paths of lists on which members find the way back to an open evening."""
MOST_ASKED = 30
KeptPages = dict[Hashable, tuple[str, bytes]]
"""Compressed pages, each with the state in which it was made."""
FAST = 1
"""The level of compression: a page of 40 kB takes 5 kB, and half a millisecond."""


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    # The last pages, each for as long as nothing that it was made from can have changed.
    kept: KeptPages = {}
    of_title = partial(title_page, Alike())
    return [
        *(house.page(path, partial(show, kept, read, "titles.html")) for path, (_, read) in LISTS.items()),
        *(house.page(path, partial(show, kept, read, "titles.html")) for path, (read, _) in ASKING.items()),
        house.page("/titles/{work:int}", partial(show, kept, of_title, "title.html")),
        *pictures.routes(house),
        house.quick("/static/{name}", lambda visit: house.renderer.file(visit.request.path_params["name"])),
        house.quick("/health", lambda _: PlainTextResponse("ok\n")),
    ]


def show(
    kept: KeptPages, read: Callable[..., Page | None], template: str, visit: Visit, *, question: str | None = None
) -> Response:
    """Show titles that are read for whoever visits, or for whom an administrator names.

    ``question`` is what they look for, on the page that answers it.
    """
    house, request, _ = visit.house, visit.request, visit.texts
    here = request.url.path.removeprefix(house.prefix)
    is_list = here in LISTS or here in ASKING or question is not None
    counting = ASKING[here][1] if here in ASKING else ()
    asked_for = [pair for pair in request.query_params.multi_items() if pair[0] in counting and pair[1]][:MOST_ASKED]
    if question:
        asked_for = [("q", question)]
    visitor = visit.visitor
    if visitor is None:
        target = f"{house.prefix}{here}{'?' if asked_for else ''}{urlencode(asked_for, quote_via=quote)}"
        return visit.back(house.prefix + sign_in.address(target))
    if request.path_params.get("work", 0) >= LARGEST_ID:
        raise HTTPException(404)
    asked, back = request.query_params.get("as"), safe_path(request.query_params.get("from"), house.prefix)
    own = visitor.user_id
    if visitor.is_administrator and not visitor.operates and asked not in (None, visitor.key):
        target = f"{house.prefix}{here}?{urlencode({'as': asked})}"
        return visit.back(house.prefix + sign_in.address(target, again=True))
    csrf = house.gate.csrf(request)
    now = house.clock.now()
    with house.database.connection() as connection:
        state = f"{today_of(now, visit.settings)} {state_of_product(connection)}"
        key = (
            here,
            asked,
            back,
            tuple(asked_for),
            request.url.hostname,
            visitor.is_administrator,
            visitor.operates,
            own,
            csrf,
            str(_.locale),
        )
        made_in, packed = kept.get(key, ("", b""))
        if made_in == state:
            return as_page(zlib.decompress(packed).decode())
        people = house.takes_part(connection)
        viewer = _viewer(visitor, people, asked)
        given = {"asked": asked_for} if here in ASKING else request.path_params
        if here == "/together":
            # In a demo nobody can say that others may count them in.
            given = {**given, "everybody": house.gate.is_open}
        page = read(connection, viewer, visit.settings, now, _, **given)
        if page is None:
            raise HTTPException(404)
        ratings = own_ratings(connection, viewer, page)
        wanted = {row["work_id"] for row in titles_to_follow(connection, viewer.user_id)}
        put_aside = {row["work_id"] for row in titles_for_later(connection, viewer.user_id)}
        link = _link(visit, server_identity(connection))
        offer = offer_to(connection, viewer, visit.settings) if here == "/taste" else None
        own_choices = choices_of(connection, viewer.user_id) if here == "/taste" else None
        trouble = house.watch.trouble(connection)
        evenings = (
            ways_back(house, connection, viewer.user_id) if own == viewer.user_id and here in WITH_EVENINGS else []
        )
        waiting = (
            read_first_lists(connection)
            if not page.shelves and here in (*LISTS, "/tonight") and not asked_for
            else None
        )
    chosen = {"as": viewer.partition_key} if asked is not None else {}
    query = f"?{urlencode(chosen)}" if chosen else ""
    kept_query = f"?{urlencode([*chosen.items(), *asked_for])}" if chosen or asked_for else ""
    text = house.renderer.text(
        template,
        _,
        this_page=house.prefix + here + (kept_query if is_list else f"?{urlencode({**chosen, 'from': back})}"),
        page=page,
        heading=page.heading,
        notice=trouble and _(trouble),
        offer=offer,
        waiting=waiting.facts(_) if waiting is not None else (),
        refresh=REFRESH_SECONDS,
        ratings=ratings,
        wanted=wanted,
        put_aside=put_aside,
        link=link,
        here=here,
        back=back,
        tabs=[*((path, name) for path, (name, _) in LISTS.items()), ("/together", marked("Together"))],
        viewer=viewer.name,
        # Others may not find the same title.
        others=[(one.partition_key, one.name) for one in people if visitor.operates and is_list],
        operates=visitor.is_administrator,
        csrf=csrf,
        acts=bool(csrf) and viewer.user_id == own,
        query=query,
        chosen=chosen,
        question=question or "",
        lengths=wishes.LENGTHS,
        ages=wishes.AGES,
        guest_ages=company.GUEST_AGES,
        own_choices=own_choices,
        evenings=evenings,
        title_query=urlencode({**chosen, "from": house.prefix + here + kept_query if is_list else back}),
    )
    answer = as_page(text)
    # The newest pages come last. Other threads change this meanwhile. A page with a notice is not kept, so that the
    # next visit looks again whether what it says is still true; nor is one that waits for the first lists, or leads to
    # an evening, which ends by the clock.
    kept.pop(key, None)
    if not trouble and waiting is None and not evenings:
        kept[key] = (state, zlib.compress(answer.body, FAST))
    for oldest in list(kept)[:-KEPT_PAGES]:
        kept.pop(oldest, None)
    return answer


def _viewer(visitor: Visitor, people: Sequence[User], key: str | None) -> User:
    """Return whose pages a visitor sees: their own, or anybody's, if they are an administrator and name a key.

    Raises:
        HTTPException: 404, there is nobody of that key, or it is not theirs; 403, they do not take part.
        NothingYet: nobody takes part yet.
    """
    own = [one for one in people if one.user_id == visitor.user_id]
    allowed = people if visitor.operates else own
    found = [*own, *allowed] if key is None else [one for one in allowed if one.partition_key == key]
    if found:
        return found[0]
    if key is not None:
        raise HTTPException(404)
    if people and visitor.user_id is not None:
        raise HTTPException(403, NO_MEMBER)
    raise NothingYet("No users were read from the media server yet.")


def _link(visit: Visit, identity: dict[str, Any] | None) -> str:
    """Return the address of a title in the server's web client, but for its id; empty if there is none.

    The name by which the visitor reached this machine may be that of the server, too.
    """
    public, host = visit.settings.media_server_public_url, visit.request.url.hostname
    url = public or visit.settings.media_server_url
    if url is None or identity is None or visit.house.gate.is_open:
        return ""
    parts = urlsplit(url)
    if public is None and is_loopback(parts.hostname or "") and host:
        name = f"[{host}]" if ":" in host else host
        parts = parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name)
    is_emby = "emby" in str(identity.get("product", "")).lower()
    page = "/web/index.html#!/item" if is_emby else "/web/#/details"
    return f"{parts.geturl().removesuffix('/emby')}{page}?serverId={quote(str(identity['server_id']))}&id="
