"""In Chromium, on a phone in German and on a desktop: bars of long jobs, and a backup that is made and restored.

`aperture up` runs with all its processes, and everything is done on pages.
"""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from aperture_dagster.front_door.restore_page import BUSY, NOT_SURE
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster.texts import Texts, texts_of
from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.test_first_evening import folder
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.services import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

pytestmark = [pytest.mark.e2e, needs_chromium]

__all__ = ["folder"]
SIZE = WorldSize(movies=16, series=3, episodes=12, users=2, plays=40)
PATIENCE = 300
PHONE, DESKTOP = (390, 844), (1440, 900)
AXE_SCRIPT = Axe().axe_script
SLOW_LISTS = FaultRule("tmdb", path_contains="discover", kind="slow", delay_seconds=0.4)
SLOW_PRICES = FaultRule("prices", kind="drip", delay_seconds=0.002)
"""What makes long jobs of short ones."""
COUNTED = {
    "refresh_ai_pricing": "bytes of the price list",
    "generate_discovery_suggestions": "lists of titles outside the library",
    "database_backup": "rows restored",
}


@dataclass
class Program:
    """`aperture up` and its services."""

    simulator: RunningSimulator
    process: subprocess.Popen[bytes]
    address: str
    log: Path
    administrator: str

    def wait(self, what: Any, seconds: float = PATIENCE) -> Any:
        """Wait for something, unless the program ends."""
        return wait_for(what, self.log.read_text, seconds=seconds, pause=0.05, process=self.process)


@pytest.fixture
def program(folder: Path, clusters: Path) -> Iterator[Program]:
    home, port, log = folder / "home", free_port(), folder / "up.log"
    with running_simulator(generate_world(SIZE, seed=1, now=NOW), SimulatorSettings()) as simulator:
        simulator.state.add_fault(SLOW_LISTS)
        given = {
            "APERTURE_HOME": str(home),
            "APERTURE_MEDIA_SERVER_URL": simulator.jellyfin_url,
            "APERTURE_MEDIA_SERVER_API_KEY": "demo-jellyfin-key",
            "APERTURE_TMDB_URL": simulator.tmdb_url,
            "TMDB_API_KEY": "demo-tmdb-key",
            "APERTURE_PRICES_URL": simulator.prices_url,
        }
        with log.open("wb") as out:
            up = subprocess.Popen(
                [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--port", str(port)],
                env=environment(home, **given, PYTHONPATH=str(PROJECT)) | {FOLDER: str(clusters)},
                cwd=folder, stdout=out, stderr=out,
            )  # fmt: skip
        name = next(user.name for user in simulator.state.users.values() if user.facts.is_administrator)
        try:
            yield Program(simulator, up, f"http://127.0.0.1:{port}", log, name)
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(PATIENCE) == 0, log.read_text()


class Operator:
    """The browser of an administrator. Pages that are looked at have nothing wrong and are not too wide."""

    def __init__(self, program: Program, page: Any, texts: Texts) -> None:
        self.program, self.page, self._ = program, page, texts

    def sign_in(self, path: str) -> None:
        """Open a page, and sign in on the way."""
        self.page.goto(path)
        self.page.locator("input[name=name]").fill(self.program.administrator)
        self.page.locator("input[name=password]").fill(PASSWORD)
        with self.page.expect_navigation():
            self.button("Sign in").click()

    def button(self, text: str, of: str = "") -> Any:
        """Return the button with a text, of a job or a file."""
        name = f"{self._(text)}: {of}" if of else self._(text)
        return self.page.get_by_role("button", name=name, exact=True).first

    def press(self, target: Any) -> None:
        """Press what leads to another page."""
        with self.page.expect_navigation():
            target.click()

    def look(self, name: str) -> None:
        """Find nothing wrong with the page."""
        self.page.evaluate(AXE_SCRIPT)
        # Pages that wait load themselves again on purpose.
        rules = {"resultTypes": ["violations"], "rules": {"meta-refresh": {"enabled": False}}}
        found = self.page.evaluate("rules => axe.run(rules)", rules)["violations"]
        assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in found] == [], name
        width = self.page.viewport_size["width"]
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width, name
        if shots := os.environ.get("SHOTS"):
            self.page.screenshot(path=f"{shots}/{self._.locale.language}-{width}-{name}.png", full_page=True)

    def card(self, job: str) -> Any:
        """Return the card of a job."""
        return self.page.locator(f"#{job}")

    def idle(self) -> None:
        """Wait until no job runs."""

        def is_idle() -> bool:
            self.page.goto("/jobs")
            return self.page.locator("li.running, li.waiting").count() == 0

        wait_for(is_idle, self.program.log.read_text, seconds=PATIENCE, pause=1.0)

    def start(self, job: str) -> None:
        """Start a job once no other one runs."""
        self.idle()
        self.press(self.button("Run now", job))

    def see_bar(self, job: str) -> None:
        """See the bar of a job with a count and the time left while it runs."""
        left = self._("about %(time)s left").partition("%")[0].strip()
        of = self._("%(done)s of %(total)s").replace("%(done)s", r"[\d.,]+").replace("%(total)s", r"[\d.,]+")
        seen: set[str] = set()

        def is_seen() -> bool:
            with_bar = self.card(job).filter(has=self.page.locator("progress"))
            text = " ".join(with_bar.all_inner_texts())
            if COUNTED[job] in text and re.search(of, text):
                seen.add("count")
                if left in text and "left" not in seen:
                    self.look(f"bar-{job}")
                    seen.add("left")
            # A backup of a household of this size takes no second, which is too short for an estimate.
            if seen >= ({"count"} if job == "database_backup" else {"count", "left"}):
                return True
            self.page.goto("/jobs")
            return False

        wait_for(is_seen, lambda: f"{seen} of {job}: {self.card(job).inner_text()}", seconds=PATIENCE, pause=0)


@pytest.mark.nightly(
    reason="An evening of all jobs under `aperture up`, in Chromium: minutes.",
    instead="front_door/test_jobs_page.py; front_door/test_restoring.py",
)
@pytest.mark.parametrize(
    ("size", "language"),
    [pytest.param(PHONE, "de", id="phone"), pytest.param(DESKTOP, "en", id="desktop", marks=ANOTHER_CASE)],
)
def test_long_jobs_show_bars_and_a_backup_is_made_and_restored_on_pages(
    program: Program, size: tuple[int, int], language: str, tmp_path: Path
):
    with open_page(program.address) as first:
        program.wait(lambda: "lists are ready" in program.log.read_text())
        context = first.context.browser.new_context(
            base_url=program.address, locale=language, viewport={"width": size[0], "height": size[1]}
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        operator = Operator(program, page, texts_of(language))
        operator.sign_in("/jobs")
        # On a new home, it starts as soon as it can.
        operator.see_bar("generate_discovery_suggestions")
        program.simulator.state.add_fault(SLOW_PRICES)
        for job in ("refresh_ai_pricing", "database_backup"):
            operator.start(job)
            operator.see_bar(job)
        operator.idle()
        operator.look("jobs")
        _download(page, tmp_path)
        page.goto("/")
        titles = page.locator(".titles h3")
        listed = titles.first.inner_text()
        hide = page.locator(".titles button[aria-label]").filter(has_text=operator._("Not for me")).first
        hide.locator("xpath=ancestor::details[not(@open)]/summary").click()
        operator.press(hide)
        page.goto("/")
        assert titles.first.inner_text() != listed
        _restore(operator)
        page.goto("/")
        assert titles.first.inner_text() == listed, "what was hidden after the backup is on the list again"
        context.close()


def _download(page: Any, folder: Path) -> None:
    """Download the backup, which is a whole dump."""
    page.goto("/jobs")
    with page.expect_download() as downloading:
        page.locator('a[href*="/jobs/backups/"]').first.click()
    file = folder / "backup.sql.gz"
    downloading.value.save_as(file)
    assert b"CREATE TABLE public.recommendations" in gzip.decompress(file.read_bytes())


def _restore(operator: Operator) -> None:
    """Restore the backup, and follow the page until the program runs again."""
    page, program, _ = operator.page, operator.program, operator._
    wait_for(lambda: _order(operator), program.log.read_text, seconds=PATIENCE, pause=1.0)
    assert page.locator("h1").inner_text() == _("A backup is being restored")
    operator.look("restore-begins")
    said: set[str] = set()

    # The page goes on by itself, to the sign-in at last.
    def is_over() -> bool:
        heading, *rest = page.locator("h1, main p[role=status]").all_inner_texts() or [""]
        if heading == _("A backup is being restored") and rest and rest[0] not in said:
            said.add(rest[0])
            operator.look(f"restoring-{len(said)}")
        return operator.button("Sign in").count() > 0

    wait_for(lambda: _calmly(is_over), lambda: page.content() + program.log.read_text(), seconds=PATIENCE, pause=0.1)
    assert said, "it says what happens"
    operator.sign_in("/jobs")
    done = re.split(r"%\(\w+\)s", _("%(author)s restored %(backup)s (%(moment)s)."))[1].strip()
    text = page.locator("section[aria-labelledby=backups]").inner_text()
    assert program.administrator in text and done in text
    operator.look("restored")
    page.goto("/jobs/replaced")
    operator.look("replaced")
    operator.press(page.locator("button[name=database]").first)
    assert page.locator("button[name=database]").count() == 0


def _order(operator: Operator) -> bool:
    """Order a restore, first without ticking the box; return whether no job was in the way."""
    page, _ = operator.page, operator._
    page.goto("/jobs")
    operator.press(page.locator('a[href*="/jobs/restore?"]').first)
    operator.look("restore")
    for is_sure in (False, True):
        # A job may begin at any moment; what members choose starts one within seconds.
        if page.get_by_role("checkbox").count() == 0:
            assert page.get_by_role("alert").inner_text().startswith(_(BUSY))
            return False
        if is_sure:
            assert page.get_by_role("alert").inner_text() == _(NOT_SURE)
            operator.look("restore-not-sure")
            page.get_by_role("checkbox").check()
        operator.press(operator.button("Restore and restart"))
    return page.get_by_role("alert").count() == 0


def _calmly(look: Any) -> bool:
    """Look at a page that may be replaced by the next one meanwhile."""
    from playwright.sync_api import Error

    try:
        return look()
    except Error:
        time.sleep(0.2)
        return False
