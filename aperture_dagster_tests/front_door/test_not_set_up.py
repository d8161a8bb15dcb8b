"""Without a media server, a web server that runs alone shows what to set; a demo says that it is one."""

from __future__ import annotations

import json
import socket
from typing import Any

import click
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from aperture_dagster.front_door.__main__ import Place, create_app
from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.types import is_loopback_only

APERTURE = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
NAMED = ("APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY", ".env", "compose.yaml", "docs/containers.md")
MUTATION = json.dumps({"query": "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"})
UPGRADE = {
    "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
    "sec-websocket-protocol": "graphql-ws", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
IS_DEMO = "This is a demo: an invented household"


def test_the_webserver_alone_serves_the_page_as_well_and_no_demo_to_other_machines(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    class OperateWanted(Exception):
        pass

    def operate(path: str) -> Any:
        raise OperateWanted(path)

    def app(host: str, *, is_demo: bool = False) -> Any:
        return create_app(Place(host, is_demo=is_demo), load_settings(), operate)

    for host in ("0.0.0.0", "::", "192.168.1.10"):
        answer = TestClient(app(host), "http://192.168.1.10:3000").get("/operate/graphql")
        assert answer.status_code == 503 and NAMED[0] in answer.text
        list_of = TestClient(app(host), "http://any.example").get("/api/recommendations", headers={"origin": "null"})
        assert list_of.status_code == 503 and list_of.json()["error"] == "Service Unavailable"
        assert list_of.headers["access-control-allow-origin"] == "*"
    for name, value in {"URL": "http://127.0.0.1:9", "API_KEY": "key"}.items():
        monkeypatch.setenv(f"APERTURE_MEDIA_SERVER_{name}", value)
    with pytest.raises(click.UsageError, match="no sign-in"):
        app("0.0.0.0", is_demo=True)
    with pytest.raises(Exception, match="/operate"):
        app("0.0.0.0")


@pytest.mark.parametrize(
    ("addresses", "is_ours"),
    [
        (["127.0.0.1"], True), (["::1"], True), (["127.0.0.1", "::1"], True), (["0.0.0.0"], False), (["::"], False),
        (["127.0.0.1", "192.168.1.10"], False), (["::1", "fd00::10"], False), ([], False),
    ],
)  # fmt: skip
def test_a_name_is_for_this_machine_only_if_all_of_its_addresses_are(
    addresses: list[str], is_ours: bool, monkeypatch: pytest.MonkeyPatch
):
    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror
        return [(0, 0, 0, "", (one, 0)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert is_loopback_only("mediabox") is is_ours
    assert is_loopback_only("::1") and not is_loopback_only("::"), "addresses are not looked up"


@pytest.mark.parametrize("is_demo", [True, False])
def test_pages_and_the_operators_ui_say_that_they_are_of_a_demo(settings: Settings, is_demo: bool):
    page = "<!doctype html><html><body><div id='root'></div></body></html>"

    async def operate(request: Any) -> HTMLResponse:
        return HTMLResponse(page)

    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database, is_open=is_demo)
    ui = Starlette(routes=[Route("/operate/{path:path}", operate)])
    door = FrontDoor(ui, members_pages(House(settings, database, gate)), gate)
    browser = TestClient(door, client=("127.0.0.1", 1), headers={"accept-language": "en"})
    for path in ("/sign-in", "/nowhere", "/operate/assets"):
        assert (IS_DEMO in browser.get(path).text) is is_demo, path
    answer = browser.get("/operate/", headers={"accept-language": "de"})
    assert answer.headers["content-length"] == str(len(answer.content))
    assert ("Das ist eine Demo" in answer.text) is is_demo and (answer.text == page) is not is_demo
    assert IS_DEMO not in browser.get("/health").text
    database.close()
