"""Say in Dagster's UI, which has no place for it, that it shows a demo."""

from __future__ import annotations

import html

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aperture_dagster.front_door.gate import texts_for
from aperture_dagster.front_door.rendering import DEMO

NOTICE = (
    '<p role="note" style="position: fixed; z-index: 1000; right: 0; bottom: 0; margin: 0; padding: 4px 12px; '
    'font: 13px sans-serif; color: #fff; background: #4d41c4; pointer-events: none">{}</p>'
)
"""Over a corner of the window, wherever its reader goes in it, without taking clicks."""


class DemoNotice:
    """Middleware that adds a notice to pages. There is one page, which scripts fill."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, WebSocket or lifespan as the application does, with the notice in a page."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        notice = NOTICE.format(html.escape(texts_for(HTTPConnection(scope))(DEMO))).encode()
        start: Message | None = None
        page = b""

        async def send_with_notice(message: Message) -> None:
            nonlocal start, page
            if message["type"] == "http.response.start":
                if MutableHeaders(scope=message).get("content-type", "").startswith("text/html"):
                    start = message
                    return
            elif start is not None:
                page += message.get("body", b"")
                if message.get("more_body"):
                    return
                page = page.replace(b"</body>", notice + b"</body>")
                MutableHeaders(scope=start)["content-length"] = str(len(page))
                await send(start)
                message = {**message, "body": page}
            await send(message)

        await self._app(scope, receive, send_with_notice)
