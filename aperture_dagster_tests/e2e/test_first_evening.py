"""The first evening: `aperture up` and a browser, from nothing to the first list. All processes are real."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from aperture_dagster.files.env_file import read_env_file
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster.texts import texts_of
from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.front_door.first_evening import (
    DESKTOP,
    PHONE,
    Evening,
    Walk,
    see_the_first_list,
    set_up_with_mistakes,
)
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.services import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

pytestmark = pytest.mark.e2e

SIZE = WorldSize(movies=16, series=3, episodes=12, users=2, plays=40)
PATIENCE = 300


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for a socket in it; no process is left in it."""
    with tempfile.TemporaryDirectory(prefix="aperture-", ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()
        left = [] if all_gone(Path(made)) else processes_of(Path(made))
        for process in left:
            process.kill()
        assert not left


def ask(browser: httpx.Client, path: str = "/") -> str:
    """Return a page; empty while nobody answers."""
    with suppress(httpx.TransportError):
        return browser.get(path).text
    return ""


def send(browser: httpx.Client, step: str, **fields: Any) -> httpx.Response:
    token = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
    assert token is not None
    return browser.post(f"/set-up/{step}", data={"csrf": token[1], **fields})


@pytest.mark.nightly(
    reason="Everything that `aperture up` starts, twice, and the first lists.",
    instead="front_door/test_set_up.py::test_from_an_address_to_a_file_with_all_settings; sensors/test_first_sync.py",
)
def test_from_nothing_to_the_first_list(folder: Path, clusters: Path):
    world = generate_world(SIZE, seed=1, now=NOW)
    with running_simulator(world, SimulatorSettings()) as simulator:
        _first_evening(folder, clusters, simulator)


def _first_evening(folder: Path, clusters: Path, simulator: RunningSimulator) -> None:
    home, port, log = folder / "home", free_port(), folder / "up.log"
    own = environment(home, APERTURE_HOME=str(home), APERTURE_TMDB_URL=simulator.tmdb_url, PYTHONPATH=str(PROJECT))
    with log.open("wb") as out:
        up = subprocess.Popen(
            [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--port", str(port)],
            env=own | {FOLDER: str(clusters)}, cwd=folder, stdout=out, stderr=out,
        )  # fmt: skip

    def wait(what: Any) -> Any:
        return wait_for(what, log.read_text, pause=0.3, process=up)

    administrator = next(user.name for user in simulator.state.users.values() if user.facts.is_administrator)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=120, trust_env=False
    ) as browser:
        page = wait(lambda: ask(browser))
        assert not home.exists()
        # Where tests run in a container.
        if "Code from the log" in page:
            code = re.search(r"code for set-up.*: (\w+)", log.read_text())
            assert code is not None
            send(browser, "code", code=code[1])
        send(browser, "address", url=simulator.jellyfin_url)
        send(browser, "account", name=administrator, password=PASSWORD)
        send(browser, "users", user=[user.name for user in simulator.state.users.values()])
        send(browser, "keys")
        send(browser, "lists", publish="no")
        assert "half a minute" in send(browser, "finish").text
        # From now on nobody is refused: the address stays open until the pages are there.
        began = time.monotonic()
        page = ""
        while "Sign in" not in page:
            # As browsers do, ask again where a connection that was open ended with what had answered on it.
            with suppress(httpx.ReadError, httpx.RemoteProtocolError):
                page = browser.get("/").text
            assert time.monotonic() - began < PATIENCE, log.read_text()
            time.sleep(0.5)
        browser.post("/sign-in", data={"name": administrator, "password": PASSWORD})
        titles = [title.name for title in world_titles(simulator)]
        wait(lambda: any(title in ask(browser) for title in titles))
        change_country(browser)
        wait(lambda: "Starting everything anew" in log.read_text())
        wait(lambda: re.search(r'name="set.country"[^>]* value="AT"', ask(browser, "/settings")))
        wait(lambda: any(title in ask(browser) for title in titles))
    names = {"APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY", "APERTURE_COUNTRY"}
    assert read_env_file(home / ".env").keys() == names
    key = read_env_file(home / ".env")["APERTURE_MEDIA_SERVER_API_KEY"]
    assert key not in log.read_text() and PASSWORD not in log.read_text()
    up.send_signal(signal.SIGINT)
    assert up.wait(PATIENCE) == 0, log.read_text()


@pytest.mark.nightly(
    reason="Everything that `aperture up` starts, in Chromium.",
    instead="front_door/test_set_up.py::test_from_an_address_to_a_file_with_all_settings",
)
@needs_chromium
@pytest.mark.parametrize(
    ("size", "language"),
    [pytest.param(PHONE, "de", id="phone"), pytest.param(DESKTOP, "en", id="desktop", marks=ANOTHER_CASE)],
)
def test_in_chromium_from_nothing_to_the_first_list_with_each_mistake_corrected_on_its_page(
    folder: Path, clusters: Path, size: tuple[int, int], language: str
):
    with running_simulator(generate_world(SIZE, seed=1, now=NOW), SimulatorSettings()) as simulator:
        home, port, log = folder / "home", free_port(), folder / "up.log"
        own = environment(home, APERTURE_HOME=str(home), APERTURE_TMDB_URL=simulator.tmdb_url, PYTHONPATH=str(PROJECT))
        # What is set outside is not asked for.
        del own["APERTURE_TIMEZONE"]
        fault = simulator.state.add_fault(FaultRule("tmdb", status=503))
        administrator, member = (user.name for user in simulator.state.users.values())

        def tmdb_returns() -> str:
            simulator.state.remove_fault(fault)
            return "demo-tmdb-key"

        evening = Evening(
            simulator.jellyfin_url, f"http://127.0.0.1:{free_port()}", administrator, member, "Europe/Berlin",
            str(folder), tmdb_returns,
        )  # fmt: skip
        with log.open("wb") as out:
            up = subprocess.Popen(
                [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--port", str(port)],
                env=own | {FOLDER: str(clusters)}, cwd=folder, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            with open_page(address) as first, httpx.Client(base_url=address, timeout=60, trust_env=False) as browser:
                page = wait_for(lambda: ask(browser), log.read_text, pause=0.3, process=up)
                # Where tests run in a container.
                code = re.search(r"code for set-up.*: (\w+)", log.read_text()) if 'name="code"' in page else None
                context = first.context.browser.new_context(
                    base_url=address, timezone_id="Europe/Berlin", locale=language,
                    viewport={"width": size[0], "height": size[1]},
                )  # fmt: skip
                walk, began = Walk(context.new_page(), texts_of(language)), time.monotonic()
                walk.page.set_default_timeout(120_000)
                set_up_with_mistakes(walk, evening, code[1] if code else None)
                set_up = time.monotonic() - began
                see_the_first_list(walk, evening, PATIENCE)
                context.close()
            seconds = time.monotonic() - began
            print(f"{walk.clicks} clicks with mistakes; set up after {set_up:.0f} s, first list after {seconds:.0f} s")
            assert read_env_file(home / ".env")["TMDB_API_KEY"] == "demo-tmdb-key"
            assert PASSWORD not in log.read_text() + (home / ".env").read_text()
        except BaseException:
            up.kill()
            raise
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE) == 0, log.read_text()


def change_country(browser: httpx.Client) -> None:
    """Change a setting on its page, after which everything starts anew."""

    def hidden(page: str, name: str) -> str:
        found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page)
        assert found is not None, page
        return found[1]

    page = browser.get("/settings").text
    fields = {name: hidden(page, name) for name in ("csrf", "seen.country")}
    review = browser.post("/settings/change", data={**fields, "set.country": "AT"}).text
    assert "Save these settings?" in review
    fields = {name: hidden(review, name) for name in ("csrf", "change")}
    assert "Saved" in browser.post("/settings/save", data=fields).text


def world_titles(simulator: RunningSimulator) -> list[Any]:
    """Return the films of the media server."""
    return simulator.state.catalogue.items("Movie")
