"""The first evening with the image: an empty folder, `compose.yaml` alone, and a browser in which mistakes are made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster.texts import texts_of
from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.engine import DEPLOY, Deployment
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.front_door.first_evening import (
    DESKTOP,
    PHONE,
    Evening,
    Walk,
    see_the_first_list,
    set_up_with_mistakes,
)
from aperture_dagster_tests.services import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

pytestmark = [pytest.mark.containers, needs_chromium]

HERE = Path(__file__).parent
PATIENCE = 600
ADMINISTRATOR, MEMBER, _ = (
    user.name for user in generate_world(WorldSize(1, 0, 0, 3, 0), seed=1, now=NOW).users
)  # fmt: skip
SERVER = "http://media-server:8096/jellyfin"


@pytest.fixture
def box(image: str, network: str, stand_ins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder with ``compose.yaml`` and nothing else, whose container has just been started."""
    port = free_port()
    # What the adaptation to the tests needs is in the environment of Compose, and not in a file.
    for name, value in {"TEST_IMAGE": image, "TEST_NETWORK": network, "APERTURE_UI_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("APERTURE_UI_HOST", raising=False)
    name = f"{network}-evening-{port}"
    with engine.deployment([DEPLOY / "compose.yaml", HERE / "household.yaml"], tmp_path, {}, name) as made:
        (tmp_path / ".env").unlink()
        made.compose("up", "--detach")
        yield made, port


@pytest.mark.nightly(
    reason="Chromium and a household of its own.",
    instead="deploy/test_engine.py; front_door/test_set_up_in_browser.py",
)
@pytest.mark.parametrize(("size", "language"), [(PHONE, "de"), (DESKTOP, "en")], ids=["phone", "desktop"])
def test_from_an_empty_folder_to_the_first_list_with_seven_mistakes(
    box: tuple[Deployment, int], size: tuple[int, int], language: str, say: Callable[[str], None]
):
    household, port = box
    address = f"http://127.0.0.1:{port}"
    code = wait_for(
        lambda: re.search(r"code for set-up, good until the next start: (\w+)", household.log("aperture")),
        lambda: household.log("aperture"), seconds=120,
    )  # fmt: skip
    assert code is not None
    with open_page(address) as first:
        screen = {"viewport": {"width": size[0], "height": size[1]}}
        context = first.context.browser.new_context(
            base_url=address, timezone_id="Europe/Berlin", locale=language, **screen
        )
        page = context.new_page()
        page.set_default_timeout(120_000)
        walk, began = Walk(page, texts_of(language)), time.monotonic()
        evening = Evening(SERVER, "http://media-server:8097", ADMINISTRATOR, MEMBER, "Europe/Berlin")
        set_up_with_mistakes(walk, evening, code[1])
        set_up = time.monotonic() - began
        see_the_first_list(walk, evening, PATIENCE)
        context.close()
    seconds = time.monotonic() - began
    say(f"{walk.clicks} clicks with mistakes; set up after {set_up:.0f} s, first list after {seconds:.0f} s")
    assert not (household.folder / ".env").exists(), "nothing was edited, and nothing is beside the file"
    entered = household.run_in("aperture", "cat", "/var/lib/aperture/.env")
    assert f"APERTURE_MEDIA_SERVER_URL={SERVER}" in entered.replace("'", "").replace('"', "")
    assert PASSWORD not in entered + household.log("aperture")
