"""The whole front door of a household whose media server runs, and browsers in which somebody has signed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from aperture_dagster.catalogue.stored_users import remember_server
from aperture_dagster.front_door.app import FrontDoor
from aperture_dagster.front_door.house import House
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.front_door.home import Home

PASSWORD = "demo-password"


@dataclass
class Door:
    """The front door of a household whose media server runs."""

    home: Home
    simulator: RunningSimulator
    settings: Settings
    house: House
    app: FrontDoor

    def browser(self, address: str = "http://localhost", **headers: Any) -> TestClient:
        """Return a browser without cookies."""
        page = {"accept": "text/html", **headers}
        return TestClient(self.app, address, follow_redirects=False, headers=page)

    def signed_in(self, name: str, **how: Any) -> TestClient:
        """Return a browser in which somebody has signed in."""
        browser = self.browser(**how)
        answer = sign_in(browser, name)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        return browser

    def place(self, server_item_id: str, title: WorldTitle) -> str:
        """Let the media server have a film of the household, which gets another id thereby; return that."""
        (item,) = self.simulator.state.add_title(title)
        self.home.shelf.do(
            "UPDATE titles SET server_item_id = :new WHERE server_item_id = :old", new=item, old=server_item_id
        )
        self.remember_server()
        return item

    def remember_server(self) -> None:
        """Let the household be of this media server, as after a sync."""
        identity = httpx.get(f"{self.simulator.jellyfin_url}/System/Info/Public").json()
        known = {"server_id": identity["Id"], "name": "Stand-in", "product": identity["ProductName"]}
        with self.home.shelf.open() as connection:
            remember_server(connection, known)


def sign_in(browser: TestClient, name: str, password: str = PASSWORD, target: str = "/") -> httpx.Response:
    return browser.post("/sign-in", data={"name": name, "password": password, "next": target})


def operators_ui() -> Starlette:
    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("Dagster")

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    async def events(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    routes: list[Any] = [WebSocketRoute("/graphql", live), WebSocketRoute("/events", events)]
    routes.append(Route("/{path:path}", page, methods=["GET", "POST"]))
    return Starlette(routes=[Mount("/operate", routes=routes)])
