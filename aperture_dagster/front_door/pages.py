"""The pages of members as a web application: which address shows what, to whom, and with which headers."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.discovery.seerr import why_not_configured
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.front_door import content
from aperture_dagster.front_door.actions import LARGEST_ID, Actions
from aperture_dagster.front_door.api import Api
from aperture_dagster.front_door.choices import offer_to
from aperture_dagster.front_door.gate import Gate, Visitor
from aperture_dagster.front_door.guard import is_loopback
from aperture_dagster.front_door.language import texts_for
from aperture_dagster.front_door.pictures import Pictures
from aperture_dagster.front_door.sign_in import NO_MEMBER, SignIn, safe_path
from aperture_dagster.maintenance.status import server_identity
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.wording import stars
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.queries import state_of_database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.more_like_this import titles_to_follow
from aperture_dagster.texts.translations import LANGUAGES, Texts, marked

_LOG = logging.getLogger(__name__)
HERE = Path(__file__).parent
KEPT_PAGES = 200
STATIC = {"aperture.css": "text/css; charset=utf-8", "aperture.svg": "image/svg+xml"}
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
LISTS = {
    "/": (marked("For you"), content.for_you),
    "/shows": (marked("Shows you watch"), content.shows),
    "/top-picks": (marked("Top Picks"), content.top_picks),
    "/suggestions": (marked("Not in the library"), content.suggestions),
    "/taste": (marked("My taste"), content.my_taste),
}


class Pages:
    """The member's pages.

    Args:
        settings: who takes part, and the operator's country and time zone.
        database: where the lists are.
        gate: who visits.
        prefix: path below which everything is served; empty, or with a leading slash.
        clock: the time.
    """

    def __init__(
        self,
        settings: Settings,
        database: ReadOnlyDatabase,
        gate: Gate,
        prefix: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._database, self._gate, self._prefix = settings, database, gate, prefix
        self._clock = clock or Clock()
        self._kept = KeptPages()
        loader = FileSystemLoader(HERE / "templates")
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._static = {name: (HERE / "static" / name).read_bytes() for name in STATIC}
        # In the addresses of the files, so that browsers can keep them.
        version = hashlib.sha256(b"".join(self._static.values())).hexdigest()[:12]
        self._templates.globals.update(base=prefix, version=version, languages=LANGUAGES)
        self._templates.globals["requests"] = why_not_configured(settings) is None
        self._templates.filters["stars"] = stars

    def application(self, *others: BaseRoute) -> Starlette:
        """Return the application, with other routes that are served beside the pages."""
        sign_in = SignIn(self._settings, self._database, self._gate, self._rendered, self._prefix)
        pictures = Pictures(self._settings, self._database, self._gate)
        api = Api(self._settings, self._database, self._gate, self._prefix, self._clock)
        actions = Actions(self._settings, self._database, self._gate, self._rendered, self._prefix)
        routes: list[BaseRoute] = [*others, *sign_in.routes(), *actions.routes(self._clock)]
        routes += [pictures.route(), api.route()]
        routes += [Route(path, self._shown(read), methods=["GET"]) for path, (_, read) in LISTS.items()]
        routes.append(Route("/titles/{work:int}", self._shown(content.one_title, "title.html"), methods=["GET"]))
        routes.append(Route("/static/{name}", self._file, methods=["GET"]))
        routes.append(Route("/health", lambda _: PlainTextResponse("ok\n"), methods=["GET"]))
        errors = {DatabaseError: self._not_ready, HTTPException: self._refused}
        return Starlette(
            routes=[Mount(self._prefix, routes=routes)] if self._prefix else routes,
            exception_handlers=errors,  # pyright: ignore[reportArgumentType]
        )

    def _shown(
        self, read: Callable[..., content.Page | None], template: str = "titles.html"
    ) -> Callable[[Request], Response]:
        """Return the endpoint of a page. It is no coroutine, so it runs in a thread of its own."""

        def shown(request: Request) -> Response:
            here = request.url.path.removeprefix(self._prefix)
            visitor = self._gate.visitor(request.scope)
            if visitor is None:
                return RedirectResponse(f"{self._prefix}/sign-in?{urlencode({'next': self._prefix + here})}", 303)
            if request.path_params.get("work", 0) >= LARGEST_ID:
                raise HTTPException(404)
            asked, back = request.query_params.get("as"), safe_path(request.query_params.get("from"), self._prefix)
            own = visitor.user.user_id if visitor.user is not None else None
            csrf = visitor.session.csrf if visitor.session is not None else ""
            today, _ = today_of(self._clock.now(), self._settings), texts_for(request.scope)
            with self._database.connection() as connection:
                state = f"{today} {state_of_database(connection)}"
                key = (here, asked, back, request.url.hostname, visitor.is_administrator, own, csrf, str(_.locale))
                kept = self._kept.get(key, state)
                if kept is not None:
                    return _page(kept)
                people = who_takes_part(self._settings, read_users(connection))
                viewer = _viewer(visitor, people, asked)
                page = read(connection, viewer, self._settings, self._clock.now(), _, **request.path_params)
                if page is None:
                    raise HTTPException(404)
                ratings = content.own_ratings(connection, viewer, page)
                wanted = {row["work_id"] for row in titles_to_follow(connection, viewer.user_id)}
                identity = server_identity(connection)
                offer = offer_to(connection, viewer, self._settings) if here == "/taste" else None
            chosen = {"as": viewer.partition_key} if asked is not None else {}
            query = f"?{urlencode(chosen)}" if chosen else ""
            text = self._text(
                template,
                _,
                this_page=self._prefix + here + (query if here in LISTS else f"?{urlencode({**chosen, 'from': back})}"),
                heading=page.heading,
                shelves=page.shelves,
                lines=page.lines,
                nothing=page.nothing,
                offer=offer,
                genres=page.genres,
                trakt=page.trakt,
                ratings=ratings,
                wanted=wanted,
                link=self._link_to(identity, request.url.hostname or ""),
                here=here,
                back=back,
                tabs=[(path, name) for path, (name, _) in LISTS.items()],
                viewer=viewer.name,
                # Others may not find the same title.
                others=[(one.partition_key, one.name) for one in people if visitor.is_administrator and here in LISTS],
                operates=visitor.is_administrator,
                csrf=csrf,
                acts=bool(csrf) and viewer.user_id == own,
                query=query,
            )
            self._kept.put(key, state, text)
            return _page(text)

        return shown

    def _link_to(self, identity: dict[str, Any] | None, host: str) -> str:
        """Return the address of a title in the server's web client, but for its id; empty if there is none.

        ``host`` is the name by which the visitor reached this machine, which may be that of the server, too.
        """
        url = self._settings.media_server_url
        if url is None or identity is None or self._gate.is_open:
            return ""
        parts = urlsplit(url)
        if is_loopback(parts.hostname or "") and host:
            name = f"[{host}]" if ":" in host else host
            parts = parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name)
        is_emby = "emby" in str(identity.get("product", "")).lower()
        page = "/web/index.html#!/item" if is_emby else "/web/#/details"
        return f"{parts.geturl().removesuffix('/emby')}{page}?serverId={quote(str(identity['server_id']))}&id="

    def _rendered(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        # Where the switch of the language leads: a form that was sent cannot be shown again.
        query = f"?{request.url.query}" if request.url.query else ""
        this_page = f"{request.url.path}{query}" if request.method == "GET" else f"{self._prefix}/"
        return _page(self._text(template, texts_for(request.scope), this_page=this_page, **values), status)

    def _text(self, template: str, _: Texts, **values: Any) -> str:
        return self._templates.get_template(template).render(_=_, **values)

    def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        headers = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}
        return Response(self._static[name], 200, headers, STATIC[name])

    def _refused(self, request: Request, error: HTTPException) -> Response:
        texts = {404: marked("There is no such page."), 405: marked("This page cannot be asked for in that way.")}
        return self._message(request, error.status_code, marked("Sorry"), texts.get(error.status_code, error.detail))

    def _not_ready(self, request: Request, error: DatabaseError) -> Response:
        if not isinstance(error, NothingYet):
            # Its sentence is for the operator.
            _LOG.warning("%s", error)
        text = marked(
            "There are no lists yet. They are made once the library has been read; look again in a few minutes."
        )
        return self._message(request, 503, marked("Almost there"), text)

    def _message(self, request: Request, status: int, heading: str, text: str) -> Response:
        """Show a text that is translated here."""
        _ = texts_for(request.scope)
        return self._rendered(request, "message.html", status, heading=_(heading), text=_(text))


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, {**HEADERS, "cache-control": "private, no-store"})


class KeptPages:
    """The last pages, each for as long as nothing that it was made from can have changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[Hashable, tuple[str, str]] = OrderedDict()

    def get(self, wanted: Hashable, state: str) -> str | None:
        """Return a page as it was made in this state of everything; None if there is none."""
        with self._lock:
            made_in, text = self._pages.get(wanted, (None, None))
        return text if made_in == state else None

    def put(self, wanted: Hashable, state: str, text: str) -> None:
        """Keep a page that was made in a state, or in a later one."""
        with self._lock:
            self._pages[wanted] = (state, text)
            self._pages.move_to_end(wanted)
            while len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)


def _viewer(visitor: Visitor, people: Sequence[User], key: str | None) -> User:
    """Return whose pages a visitor sees: their own, or anybody's, if they are an administrator and name a key.

    Raises:
        HTTPException: 404, there is nobody of that key, or it is not theirs; 403, they do not take part.
        NothingYet: nobody takes part yet.
    """
    own = visitor.user.user_id if visitor.user is not None else None
    allowed = people if visitor.is_administrator else [one for one in people if one.user_id == own]
    if key is not None:
        found = next((one for one in allowed if one.partition_key == key), None)
        if found is None:
            raise HTTPException(404)
        return found
    found = next((one for one in allowed if one.user_id == own), None) or next(iter(allowed), None)
    if found is not None:
        return found
    if people and own is not None:
        raise HTTPException(403, NO_MEMBER)
    raise NothingYet("No users were read from the media server yet.")
