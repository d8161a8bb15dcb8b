"""What all pages share, and a visit to one of them: who comes, with which form, in which language, for what."""

from __future__ import annotations

import asyncio
import functools
import hmac
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

from sqlalchemy import Connection
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.servers import MediaServers, known_server
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.discovery.seerr import why_not_configured
from aperture_dagster.front_door.first_lists import REFRESH_SECONDS, FirstLists, read_first_lists
from aperture_dagster.front_door.gate import Gate, Visitor, texts_for
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.rendering import NO_STORE, Renderer, as_page
from aperture_dagster.front_door.search_index import search_index
from aperture_dagster.front_door.secrets import FOLDER
from aperture_dagster.front_door.server import network_of
from aperture_dagster.front_door.throttle import FILE, Throttle
from aperture_dagster.front_door.trouble import ServerWatch
from aperture_dagster.media_server.posters import Posters
from aperture_dagster.postgres.database import Database, NothingYet, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import name_of
from aperture_dagster.texts import marked
from aperture_dagster.trakt.connecting import Connecting

_LOG = logging.getLogger(__name__)
LARGEST_ID = 2**63
T = TypeVar("T")
BODY_SECONDS = 10.0
PATIENCE_SECONDS = 10.0
"""How long a browser waits for a picture. An attempt as a whole may take twice as long as each read."""
MOST_WAITING = 200
LARGEST_FORM, LONGEST_FIELD, MOST_FIELDS = 10_000, 500, 100
LONG_FORM = (200_000, 20_000)
"""Bytes of a long form, and characters of its fields."""
LARGEST_UPLOAD, UPLOAD_SECONDS = 16_000_000, 120.0
"""Bytes of a form with a file, and how long it may take to arrive."""
TOO_LARGE = marked("This file is too large: it may have 16 MB. Split it, and import its parts.")
NO_MEMBER = marked("You do not take part, so no lists are made for you.")
TOO_OLD = marked("This form is too old: reload the page, and try again.")
TOO_OFTEN = marked("There were too many attempts. Try again in two minutes.")
NOT_READY = marked("There are no lists yet. They are made once the library has been read; look again in a few minutes.")


class NotReady(HTTPException):
    """There is no list yet. The page loads itself again until there is one."""

    def __init__(self, counts: FirstLists | None = None) -> None:
        super().__init__(503, NOT_READY, {"refresh": f"{REFRESH_SECONDS}"})
        self.counts = counts


class House:
    """What all pages share.

    Args:
        settings: who takes part, and the operator's country and time zone.
        database: where the lists are. What members say is written to another one, of the same settings.
        gate: who visits, and what time it is: a page must not show one time, and judge a session by another.
        prefix: path below which everything is served; empty, or with a leading slash.
    """

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, prefix: str = "") -> None:
        self.settings, self.database, self.gate, self.prefix = settings, database, gate, prefix
        self.clock, self.written = gate.clock, Database(settings)
        self.index = search_index(database)
        self.connecting, self.throttle = Connecting(), Throttle(settings.home_path / FOLDER / FILE)
        # What reads the database, and what asks a service: for members, who signs in on a device that is known or is
        # a stranger, and pictures.
        self.pages, self.services = Lane(8, waiting=MOST_WAITING), Lane(4)
        self.known, self.strangers = Lane(4), Lane(8, of_client=4)
        # A few files at once, of a member one.
        self.imports = Lane(2, waiting=4, of_client=1)
        self.pictures = Lane(8, waiting=MOST_WAITING, seconds=PATIENCE_SECONDS)
        hasty = {"media_server_timeout_seconds": PATIENCE_SECONDS / 2, "http_attempts": 1}
        impatient = settings.model_copy(update=hasty)
        self.posters = Posters(functools.partial(known_server, impatient, database))
        self.watch = ServerWatch(MediaServers(impatient, self.written))
        self.renderer = Renderer(
            prefix, is_demo=gate.is_open, installable=True, requests=why_not_configured(settings) is None
        )

    def takes_part(self, connection: Connection) -> list[User]:
        """Return who has lists."""
        return who_takes_part(self.settings, read_users(connection))

    def quick(self, path: str, answer: Answer) -> Route:
        """Return the route of what is answered from memory, however much else there is to do."""

        async def endpoint(request: Request) -> Response:
            return answer(Visit(self, request))

        return Route(path, endpoint, methods=["GET"])

    def page(self, path: str, answer: Answer, *methods: str) -> Route:
        """Return the route of what reads the database, by default answered to GET alone."""

        async def endpoint(request: Request) -> Response:
            return await self.answer(self.pages, answer, Visit(self, request))

        return Route(path, endpoint, methods=methods or ["GET"])

    def form(self, path: str, answer: Answer, lane: Lane | None = None, *, is_long: bool = False) -> Route:
        """Return the route of a form.

        ``lane``: its threads, if answering asks a service. ``is_long``: its fields hold more than names and choices.
        """

        async def endpoint(request: Request) -> Response:
            visit = Visit(self, request, await read_form(request, *(LONG_FORM if is_long else ())))
            return await self.answer(lane or self.pages, answer, visit)

        return Route(path, endpoint, methods=["POST"])

    def members_form(self, path: str, answer: Answer, lane: Lane | None = None) -> Route:
        """Return the route of a form with which somebody who takes part changes what is theirs."""

        def checked(visit: Visit) -> Response:
            visit.require_csrf()
            return answer(visit) if visit.member else visit.back()

        return self.form(path, checked, lane)

    def upload(self, path: str, answer: Callable[[Visit, UploadFile], Response]) -> Route:
        """Return the route of a form with a file, which is sent by somebody who takes part."""

        async def endpoint(request: Request) -> Response:
            # Nobody else's file is even read.
            member = await self.answer(self.pages, lambda visit: visit.member, Visit(self, request))
            fields, file = await read_upload(request)
            try:
                visit = Visit(self, request, fields)
                visit.require_csrf()
                return await self.import_for(member.user_id, lambda: answer(visit, file))
            finally:
                await file.close()

        return Route(path, endpoint, methods=["POST"])

    async def import_for(self, user_id: str, do: Callable[[], T]) -> T:
        """Do something with a member's file, one at a time. Raises HTTPException 503 if there is too much to do."""
        return await self.imports.run(do, client=user_id)

    async def answer(self, lane: Lane, answer: Callable[[Visit], T], visit: Visit) -> T:
        """Answer in a thread of a lane. Raises HTTPException 503 if it is full, or the database cannot be read."""
        try:
            return await lane.run(self._answered, answer, visit, client=network_of(visit.address))
        except DatabaseError as error:
            if not isinstance(error, NothingYet):
                # Its sentence is for the operator.
                _LOG.warning("%s", error)
            raise NotReady from None

    def _answered(self, answer: Callable[[Visit], T], visit: Visit) -> T:
        try:
            return answer(visit)
        except NothingYet:
            # Not in a few minutes, if nothing can be read.
            with self.database.connection() as connection:
                trouble, counts = self.watch.trouble(connection), read_first_lists(connection)
            raise (HTTPException(503, trouble) if trouble else NotReady(counts)) from None

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Say in the visitor's language why there is no page; needs no thread, which there may be none of."""
        assert isinstance(error, HTTPException)
        texts = {404: marked("There is no such page."), 405: marked("This page cannot be asked for in that way.")}
        visit = Visit(self, request)
        _ = visit.texts
        heading = _("Almost there") if error.detail == NOT_READY else _("Sorry")
        facts = error.counts.facts(_) if isinstance(error, NotReady) and error.counts is not None else ""
        text = _(texts.get(error.status_code, error.detail))
        answer = visit.step(heading, error.status_code, text=text, facts=facts)
        answer.headers.update(error.headers or {})
        return answer


class Visit:
    """A request, and the form that came with it."""

    def __init__(self, house: House, request: Request, form: Mapping[str, str] | None = None) -> None:
        self.house, self.request, self.form = house, request, form or {}
        self.settings, self.texts = house.settings, texts_for(request)

    @functools.cached_property
    def visitor(self) -> Visitor | None:
        """Who comes; None if they have to sign in."""
        return self.house.gate.visitor(self.request)

    @functools.cached_property
    def member(self) -> User:
        """Who comes, if they take part. Raises HTTPException 403 if they do not."""
        # The pages' own database has to be there first, so that no page creates or upgrades one.
        with self.house.database.connection() as connection:
            people = self.house.takes_part(connection)
        own = self.visitor.user_id if self.visitor is not None else None
        found = next((one for one in people if one.user_id == own), None)
        if found is None:
            raise HTTPException(403, NO_MEMBER)
        return found

    @property
    def address(self) -> str:
        """The address that it comes from."""
        return self.request.client.host if self.request.client else ""

    @property
    def is_encrypted(self) -> bool:
        """Whether it is encrypted: by what a trusted proxy says, or by the browser, which names the page of a form.

        A page of another website was refused already, so this is one of ours.
        """
        origin = self.request.headers.get("origin", "")
        return self.request.url.scheme == "https" or origin.lower().startswith("https://")

    @property
    def csrf(self) -> str:
        """What belongs into every form of this session."""
        return self.form.get("csrf", "")

    @property
    def work(self) -> int:
        """The title that a form is about; 0: none that there could be."""
        return self.number("work")

    def number(self, name: str) -> int:
        """Return the id in a field of the form; 0: none that there could be."""
        given = self.form.get(name, "")
        is_id = given.isascii() and given.isdigit() and len(given) < 20 and int(given) < LARGEST_ID
        return int(given) if is_id else 0

    @property
    def target(self) -> str:
        """Where to go next: a path of ours, whatever the form or the link names."""
        return safe_path(self.form.get("next") or self.request.query_params.get("next"), self.house.prefix)

    def title(self, connection: Connection) -> str:
        """Return what the title is called. Raises HTTPException 404 if it is none that the member could find."""
        name = name_of(connection, self.member, self.settings, self.house.clock.now(), self.work)
        if name is None:
            raise HTTPException(404)
        return name

    def require_csrf(self) -> None:
        """Raise HTTPException 403 unless the form comes from a page of the session's owner."""
        wanted = self.house.gate.csrf(self.request)
        if not wanted or not hmac.compare_digest(self.csrf.encode(), wanted.encode()):
            raise HTTPException(403, TOO_OLD)

    def back(self, target: str | None = None) -> Response:
        """Lead to where they want to be next, or to another of our paths."""
        return RedirectResponse(self.target if target is None else target, 303, NO_STORE)

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Show a page that is made from a template and its values."""
        # Where the switch of the language leads: a form that was sent cannot be shown again.
        query = f"?{self.request.url.query}" if self.request.url.query else ""
        here = f"{self.request.url.path}{query}" if self.request.method == "GET" else f"{self.house.prefix}/"
        return as_page(self.house.renderer.text(template, self.texts, visit=self, this_page=here, **values), status)

    def step(self, heading: str, status: int = 200, **values: Any) -> Response:
        """Show one thing and what can be done next.

        ``values`` are any of ``problem``, ``text``, ``link``, ``code``, ``facts`` (names and texts), the text of a
        ``button``, what it ``sends`` to the same path (a name and a value), and that of an ``other`` one. With
        ``ends``, the page has no link back.
        """
        usual = dict.fromkeys(("problem", "text", "link", "code", "facts", "button", "other", "ends"), "")
        return self.render("step.html", status, heading=heading, **{**usual, "sends": ("step", "1"), **values})


Answer = Callable[[Visit], Response]


async def read_form(
    request: Request, largest: int = LARGEST_FORM, longest_field: int = LONGEST_FIELD
) -> dict[str, str]:
    """Read a form, each field once. Raises HTTPException if it is no form, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, marked("This is no form."))
    body = await read_body(request, largest)
    if body is None:
        raise HTTPException(413, marked("This form is too large."))
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(413, marked("This form has too many fields.")) from None
    return {name: values[0][:longest_field] for name, values in fields.items()}


async def read_upload(request: Request) -> tuple[dict[str, str], UploadFile]:
    """Read a form with one file, which is on disk if it is large. Raises HTTPException if it is none, or too large."""
    # Only whoever imports a file needs it.
    from python_multipart.exceptions import FormParserError

    if request.headers.get("content-type", "").partition(";")[0].strip() != "multipart/form-data":
        raise HTTPException(403, TOO_OLD)

    async def limited() -> AsyncGenerator[bytes, None]:
        read = 0
        async for chunk in request.stream():
            read += len(chunk)
            if read > LARGEST_UPLOAD:
                raise HTTPException(413, TOO_LARGE)
            yield chunk

    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            parser = MultiPartParser(
                request.headers, limited(), max_files=1, max_fields=5, max_part_size=LARGEST_FORM
            )  # fmt: skip
            form = await parser.parse()
    except TimeoutError:
        raise HTTPException(408, marked("This form took too long to arrive.")) from None
    except (MultiPartException, FormParserError, ValueError, KeyError):
        raise HTTPException(400, marked("This is no form.")) from None
    fields = {name: value[:LONGEST_FIELD] for name, value in form.items() if isinstance(value, str)}
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        await form.close()
        raise HTTPException(400, marked("Choose a file first."))
    return fields, file


async def read_body(request: Request, most: int) -> bytes | None:
    """Read what was sent; None if it is more than so many bytes. Raises HTTPException 408 if that takes too long."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    return None
    except TimeoutError:
        raise HTTPException(408, marked("This form took too long to arrive.")) from None
    return body


def safe_path(target: str | None, prefix: str) -> str:
    """Return a path to go to: one of ours, whatever a link named."""
    own = target is not None and target.startswith(f"{prefix}/") and re.fullmatch(r"/(?!/)[!-\[\]-~]*", target)
    return target if own and target is not None else f"{prefix}/"
