"""Without a media server, other machines get a page that says what to set, and nothing else runs."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import psutil
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
from aperture_dagster.up import health
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.waiting import wait_for

APERTURE = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
NAMED = ("APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY", ".env", "compose.yaml", "docs/containers.md")
MUTATION = json.dumps({"query": "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"})
UPGRADE = {
    "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
    "sec-websocket-protocol": "graphql-ws", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
IS_DEMO = "This is a demo: an invented household"


@dataclass
class Started:
    """What `aperture up` runs, and the address by which another machine would ask it."""

    process: Fork
    address: str
    port: int

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        return httpx.request(method, f"{self.address}{path}", timeout=60, trust_env=False, **options)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run the image's command without a media server."""
    home = tmp_path_factory.mktemp("not") / "home"
    with socket.socket() as probe:
        # Free at every address of this machine, since the command listens at all of them.
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APERTURE_HOME", str(home))
        process = Fork(APERTURE, "up", "--host", "0.0.0.0", "--port", str(port))
    running = Started(process, f"http://127.0.0.2:{port}", port)

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return running.ask("/health").status_code == 200
        return False

    def why() -> str:
        process.kill()
        return f"it does not start: {process.communicate()}"

    try:
        wait_for(answers, why, process=process)
        yield running
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate()
        assert "nothing runs but a page that says what to set" in said and all(one in said for one in NAMED[:2])
        assert not home.exists(), "not even the home was made"
        assert process.returncode == 0, "to be told to end is no failure"
    finally:
        process.kill()


def test_every_address_shows_what_to_set_in_the_visitors_language(started: Started):
    for path in ("/", "/sign-in", "/operate", "/operate/assets?x=1", "/api/v1/openapi.json", "/nowhere", "/%00"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = started.ask(path, method)
            assert answer.status_code == 503 and all(one in answer.text for one in NAMED), (method, path)
            assert answer.headers["cache-control"] == "private, no-store" and "set-cookie" not in answer.headers
    german = started.ask("/", headers={"accept-language": "de"}).text
    assert "Noch ist kein Medienserver eingerichtet" in german and all(one in german for one in NAMED)
    (style,) = [one for one in german.split('"') if one.startswith("/static/aperture.css")]
    assert started.ask(style).headers["content-type"] == "text/css; charset=utf-8"
    assert started.ask("/static/../set_up.py").status_code in (404, 503)
    # By whichever name of this machine somebody asks, also through a proxy.
    proxied = {"host": f"nas.lan:{started.port}", "x-forwarded-for": "203.0.113.7"}
    assert started.ask("/", headers=proxied).status_code == 503


def test_nobody_changes_anything_and_nothing_else_runs(started: Started):
    for path in ("/operate/graphql", "/graphql"):
        answer = started.ask(path, "POST", content=MUTATION, headers={"content-type": "application/json"})
        assert answer.status_code == 503 and "__typename" not in answer.text
        refused = started.ask(path, headers=UPGRADE)
        assert refused.status_code == 403
    assert psutil.Process(started.process.pid).children(recursive=True) == []


def test_the_container_counts_as_healthy_since_there_is_nothing_to_start_again(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert started.ask("/health").text == health.NOT_SET_UP
    (tmp_path / "cmdline").write_text("tini\0-s\0--\0aperture\0up\0")
    monkeypatch.setattr(health, "FIRST_PROCESS", tmp_path / "cmdline")
    assert health.main(["container", "--port", str(started.port)]) == 0
    assert health.main(["all", "--port", str(started.port)]) == 1, "nothing is made"


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
