"""Refuse what other websites send through the browser of somebody who can reach the UI.

A browser lets any page send requests to any address, including this machine's own, and Dagster's webserver starts runs
without asking who wants them. Three headers show where a request comes from, and no page can change them: ``Host``
(with DNS rebinding, the name of the other website), ``Origin`` and ``Sec-Fetch-Site``. A client that sends neither of
the last two, such as ``curl``, is not a page.

The paths of :mod:`aperture_dagster.front_door.clients` are for pages of any website: they know nobody by a cookie, but
by a token of the media server, which a page has only if the media server gave it one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aperture_dagster.settings.types import is_address, is_loopback, parse_authority
from aperture_dagster.texts import preferred_language, texts_of

SETTING = "APERTURE_UI_ALLOWED_HOSTS"
GRAPHQL_TYPES = ("application/json", "application/graphql")
"""Content types that a page of another website can only send after a preflight request, which Dagster denies."""

NO_FRAMES = {"x-frame-options": "SAMEORIGIN", "content-security-policy": "frame-ancestors 'self'"}
"""Dagster's own policy stays in effect: browsers apply each of them."""
NO_STORE = {"cache-control": "no-store"}

PAGE = """<!doctype html>
<html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Aperture</title>
<p>{text} <a href="">{link}</a></p></html>
"""
"""An empty address is that of the page itself, so there is nothing to escape, and nowhere else to go."""


class AllowedHosts:
    """The names under which the UI answers.

    IP addresses are always allowed, since no name server can point them elsewhere, and so are this machine's names for
    itself.
    """

    def __init__(self, listening: str, given: Iterable[str] = ()) -> None:
        """Allow the address that the UI listens on, and the names that the operator set, with or without a port."""
        self._authorities = {one for host in given if (one := parse_authority(host))}
        self._names = {name for name, _ in self._authorities} | {listening.lower()}
        if not is_loopback(listening):
            node = os.uname().nodename.lower()
            self._names |= {node, f"{node}.local"}

    def answers_to(self, name: str) -> bool:
        """Return whether requests to a name are answered, on any port: it may be that of a proxy or a container."""
        return name in self._names or is_loopback(name) or is_address(name)

    def may_send(self, origin: str, host: tuple[str, str]) -> bool:
        """Return whether a page of an origin belongs to the UI: to the host that it sends to, or to one that was set.

        The scheme is ignored: behind a proxy that encrypts, requests arrive unencrypted.
        """
        scheme, separator, authority = origin.lower().partition("://")
        sender = parse_authority(authority) if separator and scheme in ("http", "https") else None
        return sender is not None and (sender == host or sender in self._authorities)


def find_refusal(scope: Scope, allowed: AllowedHosts, graphql: str) -> Response | None:
    """Return the answer to a request or WebSocket that is refused; None if it is passed on.

    ``graphql`` is the path of the queries.
    """
    hosts = [parse_authority(value) for value in _values(scope, "host")]
    host = hosts[0] if len(hosts) == 1 else None
    if host is None:
        return _refusal(400, "The request names no host, or several, or one that is malformed.")
    if not allowed.answers_to(host[0]):
        return _refusal(
            421,
            f"The UI does not answer to the name {host[0]}, since another website could have pointed it here. If the "
            f"name is yours, add it to {SETTING} and restart.",
        )
    foreign = [origin for origin in _values(scope, "origin") if not allowed.may_send(origin, host)]
    if foreign:
        return _refusal(
            403,
            "A page of another website sent this. If it was the UI itself, behind a proxy that replaces the host, add "
            f"the name in the browser's address bar to {SETTING} and restart.",
        )
    if any(site not in ("same-origin", "none") for site in _values(scope, "sec-fetch-site")):
        if _is_followed_link(scope):
            _ = texts_of(preferred_language(", ".join(_values(scope, "accept-language"))))
            text, link = _("Another website led here."), _("If you followed a link, continue to this page.")
            page = PAGE.format(language=_.locale.language, text=text, link=link)
            return HTMLResponse(page, 403, NO_STORE)
        return _refusal(403, "A page of another website sent this.")
    return _find_graphql_refusal(scope, graphql)


def _find_graphql_refusal(scope: Scope, graphql: str) -> Response | None:
    """Refuse queries in a form that pages of other websites can send without a preflight, such as an HTML form."""
    # Starlette's routes also match with a line break at the end.
    if scope["type"] != "http" or scope["path"].rstrip("\n") != graphql:
        return None
    if scope["method"] != "POST":
        if scope["query_string"]:
            return _refusal(405, "Queries are accepted as JSON by POST only.")
        return None
    types = [value.partition(";")[0].strip().lower() for value in _values(scope, "content-type")]
    if len(types) != 1 or types[0] not in GRAPHQL_TYPES:
        return _refusal(415, f"Queries are accepted with the content type {GRAPHQL_TYPES[0]} only.")
    return None


def _is_followed_link(scope: Scope) -> bool:
    navigates = _values(scope, "sec-fetch-mode") == ["navigate"] and _values(scope, "sec-fetch-dest") == ["document"]
    return scope["type"] == "http" and scope["method"] == "GET" and navigates


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, NO_STORE)


def _values(scope: Scope, name: str) -> list[str]:
    return [value.strip() for value in Headers(scope=scope).getlist(name)]


class Guard:
    """Middleware that refuses what comes from another website, and keeps the application's pages out of frames.

    ``open_to_all`` are the paths that pages of any website may ask, under any name; it has to match the whole path.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed: AllowedHosts,
        graphql: str = "/graphql",
        open_to_all: re.Pattern[str] | None = None,
    ) -> None:
        self._app, self._allowed, self._graphql, self._open_to_all = app, allowed, graphql, open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_without_frames(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in NO_FRAMES.items():
                    headers.append(name, value)
            await send(message)

        refusal = None if self._is_open(scope) else find_refusal(scope, self._allowed, self._graphql)
        if refusal is not None and scope["type"] == "websocket":
            # It is not accepted yet, so the server answers 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await (refusal or self._app)(scope, receive, send_without_frames)

    def _is_open(self, scope: Scope) -> bool:
        is_known = self._open_to_all is not None and self._open_to_all.fullmatch(scope["path"]) is not None
        return scope["type"] == "http" and is_known
