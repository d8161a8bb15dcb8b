"""Which requests the guard passes on: by the headers that browsers, proxies and programs send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aperture_dagster.front_door.clients.any_origin import open_paths
from aperture_dagster.front_door.guard import AllowedHosts, Guard

LOCAL = "127.0.0.1:3000"
PROXIED = "aperture.example.org"
OTHERS_PORT = "http://127.0.0.1:8096"


def headers(text: str) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return [(name.strip().lower().encode(), value.strip().encode()) for name, _, value in pairs]


def answer(
    head: str, method: str = "GET", path: str = "/runs", *, kind: str = "http", listening: str = "127.0.0.1",
    allowed: tuple[str, ...] = (), prefix: str = "",
) -> tuple[int, dict[str, str], str]:  # fmt: skip
    """Send a request through the guard to an application that answers 200; return status, headers and text."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
        await send({"type": "http.response.body", "body": b"ui"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the guard reads no body")

    path, _, query = path.partition("?")
    scope = {
        "type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": headers(head),
    }  # fmt: skip
    guard = Guard(app, AllowedHosts(listening, allowed), f"{prefix}/graphql", open_paths(prefix))
    asyncio.run(guard(scope, receive, send))
    if kind == "websocket":
        (message,) = sent
        return (101 if message["type"] == "websocket.accept" else 403), {}, ""
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, body["body"].decode()


@pytest.mark.parametrize(
    ("host", "how"),
    [
        ("127.0.0.1:3000", {}),
        ("localhost:3000", {}),
        ("localhost.:3000", {}),
        ("[::1]:3000", {}),
        ("aperture.localhost", {}),
        # Through a tunnel, a port of a container, or on another address of this machine.
        ("localhost:8080", {}),
        ("192.168.1.10:8080", {"listening": "0.0.0.0"}),
        ("[fd00::10]:3000", {"listening": "::"}),
        ("mediabox:3000", {"listening": "mediabox"}),
        ("box-7:3000", {"listening": "0.0.0.0"}),
        ("aperture.example.org:8443", {"allowed": ("Aperture.example.org",)}),
    ],
)
def test_the_ui_answers_to_the_names_of_this_machine_and_to_those_that_were_set(
    host: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.uname", lambda: type("Node", (), {"nodename": "box-7"}))
    assert answer(f"Host: {host}", **how)[0] == 200
    assert answer(f"Host: {host}", kind="websocket", **how)[0] == 101


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: evil.example:3000", 421),
        ("Host: localhost.evil.example:3000", 421),
        ("Host: box-7:3000", 421),
        ("Host: 127.1:3000", 421),
        ("Host: sub.aperture.example.org", 421),
        ("", 400),
        ("Host:", 400),
        ("Host: localhost\nHost: evil.example", 400),
        ("Host: localhost, evil.example", 400),
        ("Host: user@localhost", 400),
        ("Host: [::1", 400),
    ],
)
def test_another_name_is_refused_since_its_owner_could_point_it_here(
    head: str, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.uname", lambda: type("Node", (), {"nodename": "box-7"}))
    how = {"allowed": ("aperture.example.org",)}
    found, _, text = answer(head, **how)
    assert found == status
    assert status == 400 or "APERTURE_UI_ALLOWED_HOSTS" in text
    # Also with what a page of that name would send.
    assert answer(f"{head}\nSec-Fetch-Site: same-origin", "POST", "/graphql", **how)[0] == status
    assert answer(head, kind="websocket", **how)[0] == 403


@pytest.mark.parametrize(
    ("head", "how"),
    [
        # No page: curl, health checks.
        (f"Host: {LOCAL}", {}),
        # The UI itself, in browsers of any age.
        (f"Host: {LOCAL}\nOrigin: http://{LOCAL}\nSec-Fetch-Site: same-origin", {}),
        ("Host: Localhost:3000\nOrigin: http://localhost:3000", {}),
        (f"Host: {LOCAL}\nSec-Fetch-Site: none\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document", {}),
        # Caddy and Tailscale keep the host, nginx as documented leaves the port out, others replace it.
        (f"Host: {PROXIED}\nOrigin: https://{PROXIED}\nX-Forwarded-Proto: https", {"allowed": (PROXIED,)}),
        (f"Host: {PROXIED}:443\nOrigin: https://{PROXIED}", {"allowed": (PROXIED,)}),
        (f"Host: {PROXIED}\nOrigin: https://{PROXIED}:8443", {"allowed": (f"{PROXIED}:8443",)}),
        (f"Host: {LOCAL}\nOrigin: https://{PROXIED}\nSec-Fetch-Site: same-origin", {"allowed": (PROXIED,)}),
    ],
)
def test_the_ui_and_programs_may_send_anything(head: str, how: dict[str, Any]):
    assert answer(head, **how)[0] == 200
    assert answer(f"{head}\nContent-Type: application/json", "POST", "/graphql", **how)[0] == 200
    assert answer(head, "POST", "/report_asset_materialization/movies", **how)[0] == 200
    assert answer(head, kind="websocket", path="/graphql", **how)[0] == 101


@pytest.mark.parametrize(
    "head",
    [
        "Origin: http://evil.example",
        "Origin: http://evil.example\nSec-Fetch-Site: same-origin",
        f"Origin: http://{LOCAL}\nOrigin: http://evil.example",
        "Origin: null",
        f"Origin: {LOCAL}",
        # Another program on this machine, and another protocol.
        f"Origin: {OTHERS_PORT}",
        "Origin: http://localhost:3000",
        f"Origin: http://{LOCAL}.evil.example",
        f"Origin: http://{PROXIED}:8096",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        f"Origin: http://{LOCAL}\nSec-Fetch-Site: cross-site",
    ],
)
def test_what_a_page_of_another_website_sends_is_refused(head: str):
    head, how = f"Host: {LOCAL}\n{head}", {"allowed": (PROXIED,)}
    for method, path in (
        ("GET", "/runs"), ("GET", "/graphql"), ("HEAD", "/"), ("OPTIONS", "/graphql"), ("POST", "/graphql"),
        ("POST", "/report_asset_materialization/movies"), ("POST", "/sign-in"), ("GET", "/api/v1/openapi.json"),
    ):  # fmt: skip
        status, found, _ = answer(f"{head}\nContent-Type: application/json", method, path, **how)
        assert status == 403 and "x-app" not in found, (method, path)
    assert answer(head, kind="websocket", path="/graphql", **how)[0] == 403


FOLLOWED = f"Host: {LOCAL}\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document"


@pytest.mark.parametrize("path", ["/runs/1?tab=logs", "//evil.example/a", "/\\evil.example", '/"><script>alert(1)'])
def test_whoever_follows_a_link_continues_with_one_click_to_the_same_address(path: str):
    status, found, text = answer(FOLLOWED, path=path)
    assert status == 403 and found["content-type"].startswith("text/html")
    # Of an address that another website chose, nothing is on the page.
    assert 'href=""' in text and text.count("href") == 1 and "evil" not in text and "script" not in text


@pytest.mark.parametrize(
    ("head", "method"),
    [
        (FOLLOWED, "POST"),
        (FOLLOWED.replace("document", "iframe"), "GET"),
        (FOLLOWED.replace("navigate", "no-cors"), "GET"),
        (f"{FOLLOWED}\nOrigin: http://evil.example", "GET"),
    ],
)
def test_nothing_but_a_followed_link_gets_a_way_to_continue(head: str, method: str):
    status, found, text = answer(head, method)
    assert status == 403 and found["content-type"].startswith("text/plain") and "href" not in text


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", "/graphql?query=mutation+x", "", 405),
        ("GET", "/graphql%0A?query=mutation+x", "", 405),
        ("PUT", "/graphql?query=mutation+x", "application/json", 405),
        ("GET", "/graphql", "", 200),
        ("GET", "/assets/graphql?view=lineage", "", 200),
        ("POST", "/graphql", "application/json", 200),
        ("POST", "/graphql", "application/json; charset=utf-8", 200),
        ("POST", "/graphql?query=mutation+x", "", 415),
        ("POST", "/graphql?query=mutation+x", "application/x-www-form-urlencoded", 415),
        ("POST", "/graphql?query=mutation+x", "multipart/form-data; boundary=application/json", 415),
        # Dagster looks for its type anywhere in the header, browsers at the beginning.
        ("POST", "/graphql", "text/plain; application/json", 415),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/aperture"])
def test_a_query_arrives_only_in_a_form_that_no_picture_and_no_form_can_send(
    method: str, path: str, content_type: str, status: int, prefix: str
):
    head = f"Host: {LOCAL}" + (f"\nContent-Type: {content_type}" if content_type else "")
    assert answer(head, method, prefix + path.replace("%0A", "\n"), prefix=prefix)[0] == status


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/api/recommendations", True),
        ("/api/recommendations/", True),
        ("/api/recommendations?serverId=1", True),
        ("/api/search?q=alien", True),
        ("/api/watchlists", True),
        ("/api/watchlists/promoted", True),
        ("/api/watchlists/12", True),
        ("/aperture/api/watchlists/12", True),
        ("/api/watchlists/x", False),
        ("/api/search/x", False),
        ("/api/watchlists/1234567890", False),
        ("/api/watchlists/\u0661", False),
        ("/api/watchlists/1/items", False),
        ("/api/recommendations\n", False),
        ("/api/recommendations//", False),
        ("/api/recommendations/../../sign-in", False),
        ("/x/api/recommendations", False),
        ("/aperture/aperture/api/recommendations", False),
        ("/api", False),
        ("/api/v1/users/Anna/recommendations", False),
        ("/operate/api/recommendations", False),
        ("/", False),
    ],
)
def test_pages_of_any_website_and_unknown_names_reach_the_lists_for_clients_alone(path: str, is_open: bool):
    how = {"prefix": "/aperture"}
    for head, refused in (
        ("Host: evil.example", 421),
        (f"Host: {LOCAL}\nOrigin: http://evil.example\nSec-Fetch-Site: cross-site", 403),
        (f"Host: {LOCAL}\nOrigin: null", 403),
    ):
        for method in ("GET", "OPTIONS", "POST"):
            assert answer(head, method, path, **how)[0] == (200 if is_open else refused), (head, method)
        # No WebSocket is one of them, and none can be shown in a frame.
        assert answer(head, path=path, kind="websocket", **how)[0] == 403
        assert answer(head, path=path, **how)[1]["x-frame-options"] == "SAMEORIGIN"


def test_no_other_website_can_show_the_ui_in_a_frame():
    for head in (f"Host: {LOCAL}", FOLLOWED, "Host: evil.example"):
        found = answer(head)[1]
        assert found["x-frame-options"] == "SAMEORIGIN"
        assert found["content-security-policy"] == "frame-ancestors 'self'"
