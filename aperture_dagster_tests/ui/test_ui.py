"""The UI in a real browser: the asset graph, a user's list, runs started by hand.

``docs/screenshots.py`` takes pictures of its pages.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from aperture_dagster.cli.stand_ins import usual_port
from aperture_dagster.simulator.settings import JELLYFIN_PATH
from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port

screenshots = load_script("docs/screenshots.py")

pytestmark = [
    pytest.mark.ui,
    needs_chromium,
    pytest.mark.nightly(
        reason="The demo's whole household, and 22 pages in Chromium: a minute and a half of processor time.",
        instead="e2e/test_demo_and_up.py::test_the_lists_of_a_demo_are_in_the_ui",
    ),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder for the home."""
    home = tmp_path_factory.mktemp("ui") / "home"
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def stand_ins_port(home: Path) -> int:
    """Return the port that the stand-ins of the home will use; asked for before they run."""
    return usual_port(home)


@pytest.fixture(scope="module")
def ui(home: Path, stand_ins_port: int) -> Iterator[str]:
    """Start the UI on a home that the demo has filled; yield its address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APERTURE_")}
    aperture = [sys.executable, "-m", "aperture_dagster.cli.main"]
    subprocess.run(
        [*aperture, "demo", "--home", str(home)],
        check=True,
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        timeout=600,
    )
    port = free_port()
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*aperture, "up", "--demo", "--home", str(home), "--port", str(port)],
            env=environment,
            cwd=PROJECT,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                if httpx.get(f"{address}/operate/server_info", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert process.poll() is None and time.monotonic() < deadline, (home / "up.log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)


@pytest.fixture
def page(ui: str) -> Iterator[Any]:
    """Open a page in a headless browser."""
    with open_page(ui) as opened:
        yield opened


@pytest.fixture
def media_server_refuses(ui: str, stand_ins_port: int) -> Iterator[None]:
    """Make the media server refuse the key during a test."""
    control = f"http://127.0.0.1:{stand_ins_port}/_control"
    rule = {"service": "jellyfin", "path_contains": "/Users", "status": 401}
    httpx.post(f"{control}/add_fault", json=rule).raise_for_status()
    yield
    httpx.post(f"{control}/clear_faults").raise_for_status()


def _materialize(page: Any, asset: str) -> None:
    """Materialize an asset by hand, and open the page of its run."""
    page.goto(f"/operate/assets/{asset}?view=overview")
    page.get_by_role("button", name="Materialize").first.click(timeout=60_000)
    page.get_by_text("Launched run").first.wait_for(timeout=60_000)
    page.get_by_role("link", name="View", exact=True).or_(page.get_by_text("View", exact=True)).last.click()


def test_the_asset_graph_shows_the_groups_and_the_assets_of_an_expanded_one(page: Any) -> None:
    page.goto("/operate/asset-groups?expanded=global@global:taste")
    groups = ("media_server", "enrichment", "publishing", "popularity")
    for name in (*groups, "embeddings", "taste_profiles", "recommendations"):
        page.locator("foreignObject", has_text=name).first.wait_for(timeout=20_000)


def test_a_client_of_the_media_server_draws_a_row_with_its_posters(ui: str, stand_ins_port: int) -> None:
    """The page of a client is of another origin; posters come from the media server, by the ids of our answer."""
    media_server = f"http://127.0.0.1:{stand_ins_port}{JELLYFIN_PATH}"
    with screenshots.serving_client() as client, open_page(client) as page:
        drawn = screenshots.draw_row(page, client, ui, media_server, {"type": "Movie", "limit": "7"})
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert drawn == len(widths) == 7 and min(widths) > 0
        assert "Because of" in page.inner_text("section") and "100%" in page.inner_text("section")


# Width of a table beyond the part of the page in which it is shown.
CUT_OFF = """() => Math.max(0, ...[...document.querySelectorAll('table')].map(table => {
  let around = table.parentElement;
  while (around && getComputedStyle(around).overflowX === 'visible') around = around.parentElement;
  return around ? table.getBoundingClientRect().right - around.getBoundingClientRect().right : 0;
}))"""
# Names of the entries of the metadata, in the order of the page.
ENTRIES = """() => [...document.querySelectorAll('tbody > tr > td:first-child')]
  .filter(cell => !cell.closest('td table') && !cell.closest('.dagster-markdown')).map(cell => cell.innerText.trim())"""
PAGES = {
    "household_overview?view=overview": "watch_first",
    "recommendations?view=overview": "films",
    "recommendations?view=partitions&partition=Alma": "films",
    "taste_profiles?view=overview": "genres",
    "taste_profiles?view=partitions&partition=Alma": "genres",
    "top_picks?view=overview": "films",
    "movies?view=overview": "newest",
    "enriched_metadata?view=overview": "coverage",
    "ai_pricing?view=overview": "configured_price",
    "studio_logos?view=overview": "outcomes",
    "discovery_candidates?view=partitions&partition=Alma": "films",
}


@pytest.mark.parametrize(("address", "first"), PAGES.items())
def test_a_page_begins_with_what_is_of_interest_and_fits_a_laptop(page: Any, address: str, first: str) -> None:
    page.goto(f"/operate/assets/{address}")
    page.locator("td", has_text=re.compile(f"^{first}$")).first.wait_for(timeout=40_000)
    page.wait_for_timeout(500)
    entries = page.evaluate(ENTRIES)
    # On the overview, the columns of the asset's table come first.
    numbers = [name for name in entries if name in ("rows_written", "requests", "zero")]
    assert first in entries and all(entries.index(first) < entries.index(name) for name in numbers), entries
    if "partition=" in address:
        assert entries[0] == first
    assert page.evaluate(CUT_OFF) <= 1, "a table is cut off"


def test_the_household_sees_everybodys_first_titles_and_plays(page: Any) -> None:
    page.goto("/operate/assets/household_overview?view=overview")
    page.get_by_text("watch_first").first.wait_for(timeout=40_000)
    lines = page.locator("tr", has_text="watch_first").first.locator("table tbody tr")
    texts = [cells.split("\t") for cells in lines.all_inner_texts()]
    assert len(texts) == 12 and all(len(cells) == 3 and all(cells) for cells in texts), texts
    assert "Alma" in {cells[0] for cells in texts}
    page.get_by_text("highest week").first.wait_for(timeout=10_000)


@pytest.mark.parametrize(
    ("asset", "query"),
    [("recommendation_libraries", "view=partitions&partition=Alma"), ("top_picks_libraries", "view=overview")],
)
def test_the_page_of_published_libraries_shows_posters(page: Any, asset: str, query: str) -> None:
    page.goto(f"/operate/assets/{asset}?{query}")
    posters = page.locator("img[src*='/Images/Primary']")
    posters.first.wait_for(timeout=40_000)
    page.wait_for_function(
        "[...document.querySelectorAll(\"img[src*='/Images/Primary']\")].every(one => one.naturalWidth > 0)"
    )
    assert posters.count() >= 6
    assert all(posters.nth(number).get_attribute("alt") for number in range(posters.count()))


def test_the_pictures_of_the_documentation_can_be_taken(
    page: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Serving the members' pages points this process at the demo.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    taken = [(one.name, screenshots.take(page, one)) for one in screenshots.PICTURES]
    with screenshots.serving_members(home) as address:
        taken += screenshots.take_members(page.context.browser, address)
    for name, image in taken:
        path = tmp_path / f"{name}.png"
        assert screenshots.write(image, path)
        with Image.open(path) as picture:
            assert min(picture.size) >= 200, path.name
            # More than an empty page or a spinner.
            assert len(picture.convert("L").getcolors() or range(300)) > 16, path.name


def test_an_asset_materialized_by_hand_succeeds_and_its_page_shows_the_checks(page: Any) -> None:
    _materialize(page, "movies")
    page.get_by_text("RUN_SUCCESS").first.wait_for(timeout=120_000)
    page.goto("/operate/assets/movies?view=checks")
    page.get_by_text("is_not_empty").first.wait_for(timeout=60_000)
    page.get_by_text("Passed").first.wait_for(timeout=60_000)


@pytest.mark.usefixtures("media_server_refuses")
def test_a_failed_run_shows_what_failed_and_what_to_do(page: Any) -> None:
    _materialize(page, "users")
    page.get_by_text("refused (401). Check APERTURE_MEDIA_SERVER_API_KEY").first.wait_for(timeout=120_000)
