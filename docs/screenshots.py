"""Take the pictures of README and docs from the UI: ``python docs/screenshots.py``, or ``make screenshots``.

The demo is made in a temporary home, with which the real UI runs; Chromium opens its pages at 1,440 by 900. So the
pictures show what the program shows. Pages of members are opened by one who has signed in, on a phone, too: a picture
has both sizes side by side. Everything that was started is ended, and the home is deleted.

`PICTURES` and `MEMBER_PICTURES` list the pictures. To add one, add an entry and use its file in a page; a test holds
that every file in ``docs/images`` is used.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.types import ASGIApp

from aperture_dagster.cli.homes import point_at
from aperture_dagster.cli.stand_ins import StandIns, usual_port
from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.set_up.pages import SetUp, Start
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.settings import JELLYFIN_PATH

IMAGES = Path(__file__).resolve().parent / "images"
PROJECT = IMAGES.parents[1]
WIDTH, HEIGHT = 1440, 900
SHOWN_USER = "Alma"
LIST = ("Because you liked",)
START_SECONDS = 300
PAGE_SECONDS = 60
SAME_SHARE = 0.005
"""Share of differing pixels up to which a picture counts as the one that is there: times and ids of runs vary."""
SETTINGS = {
    "TZ": "UTC",
    "APERTURE_TIMEZONE": "UTC",
    # Runs that start while the pictures are taken would change what is on them.
    "APERTURE_SCHEDULES_ENABLED": "false",
}
LIKE_A_PALETTE = 32
"""Difference of brightness, of 255, below which two colours count as equal: a palette has 256 of them."""
HIDE_TIMESTAMPS = """
for (const table of document.querySelectorAll("table"))
    if (table.rows[0]?.cells[1]?.textContent === "Timestamp")
        for (const row of table.rows) row.cells[1].style.display = "none";
"""
"""Hides when each value of an asset was recorded: it is the same for all, and differs each time."""
LOAD_IMAGES = """
Promise.all([...document.images].filter(one => one.getBoundingClientRect().top < innerHeight)
    .map(one => one.decode().catch(() => null))).then(() => true)
"""
"""Waits for the images in the window; others may be loaded only when somebody scrolls to them."""
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@dataclass(frozen=True)
class Picture:
    """What one picture shows.

    Attributes:
        name: name of the file, without ``.png``.
        path: address of the page below that of the UI.
        shows: texts that have to be on the page before the picture is taken.
        asset: the asset whose page it is, if it is one.
        parts: selector of the elements to keep.
        margin: pixels around these elements.
        most: pixels of height to keep at most.
        window: height of the window; pages with long tables need a high one, since they scroll inside of it.
    """

    name: str
    path: str
    shows: tuple[str, ...]
    parts: str
    asset: str | None = None
    margin: int = 0
    most: int = HEIGHT
    window: int = HEIGHT


def metadata_of(
    asset: str, *rows: str, name: str, shows: tuple[str, ...], partition: str | None = None, most: int = HEIGHT
) -> Picture:
    """Describe the picture of adjacent rows, as far as they exist, of the latest metadata of an asset or partition."""
    view = f"view=partitions&partition={partition}" if partition else "view=overview"
    named = " or ".join(f"normalize-space()='{row}'" for row in rows)
    parts = f"xpath=//tr[td[1][{named}]]"
    return Picture(name, f"/operate/assets/{asset}?{view}", shows, parts, asset, most=most, window=4 * HEIGHT)


PICTURES: tuple[Picture, ...] = (
    Picture(
        "asset-graph",
        "/operate/asset-groups",
        ("catalogue", "enrichment", "taste", "popularity", "discovery", "publishing", "ratings", "maintenance"),
        parts="foreignObject",
        margin=2,
    ),
    metadata_of(
        "household_overview",
        "watch_first",
        "posters",
        "plays_per_week",
        name="household",
        most=1100,
        shows=(SHOWN_USER,),
    ),
    metadata_of("recommendations", "films", name="recommendations", partition=SHOWN_USER, most=700, shows=LIST),
    metadata_of(
        "recommendation_libraries",
        "films_posters",
        "films",
        name="published-libraries",
        partition=SHOWN_USER,
        most=700,
        shows=LIST,
    ),
)


MEMBER, PASSWORD = "Bruno", "demo-password"
SCREENS: tuple[dict[str, Any], ...] = (
    {"viewport": {"width": WIDTH, "height": HEIGHT}, "device_scale_factor": 0.64},
    {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 0.6825, "is_mobile": True, "has_touch": True},
)
"""A desktop and a phone, which become equally high."""
GAP, BETWEEN = 20, "#8c8a99"
END_OF_MAIN = """
Math.min(document.querySelector("main").getBoundingClientRect().bottom, innerHeight) * devicePixelRatio
"""


@dataclass(frozen=True)
class MemberPicture:
    """A page of a member, by the file and path, with a text that has to be there, and what the member does on it."""

    name: str
    path: str
    shows: str
    then: Callable[[Page], None] = lambda page: None


def sign_in(page: Page) -> None:
    """Sign in on the page for it."""
    page.get_by_label("Name").fill(MEMBER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()


def hide(page: Page) -> None:
    """Hide the first title of a page."""
    first = page.locator(".titles button", has_text="Not for me").first
    with page.expect_navigation():
        first.click()


MEMBER_PICTURES = (
    MemberPicture("members-sign-in", "/sign-in", "Quick Connect", then=sign_in),
    MemberPicture("members-for-you", "/", "Because you liked"),
    MemberPicture("members-shows", "/shows", "Next: "),
    MemberPicture("members-top-picks", "/top-picks", "Not for me"),
    MemberPicture("members-suggestions", "/suggestions", "Streams on", then=hide),
    MemberPicture("members-taste", "/taste", "Show it again"),
)
"""In this order."""
SET_UP_PICTURES = (MemberPicture("set-up", "/", "Address of Jellyfin or Emby"),)
"""Of the pages on which a server is set up."""


@dataclass(frozen=True)
class ClientPicture:
    """A row that a client of the media server draws, by the file and what the client asks for."""

    name: str
    query: dict[str, str]


CLIENT_PICTURES = (ClientPicture("client-row", {"type": "Movie", "limit": "7"}),)
CLIENT_PAGE = IMAGES.with_name("client_row.html")
"""The page of such a client."""


# The UI on the demo


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def demo_environment() -> dict[str, str]:
    """Return this process's environment without the operator's settings, and with the time zone of the pictures."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("APERTURE_", "DAGSTER_"))}
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, **SETTINGS, "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def running(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of ``aperture`` until the end of the block; it gets SIGTERM, and SIGKILL after two minutes."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "aperture_dagster.cli.main", *arguments],
            env=demo_environment(),
            cwd=PROJECT,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def demo_home() -> Iterator[Path]:
    """Run the demo in a temporary home, and yield it.

    Raises:
        SystemExit: the demo failed; with the end of the output.
    """
    with tempfile.TemporaryDirectory(prefix="aperture-pictures-", ignore_cleanup_errors=True) as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        print("Making the demo …", flush=True)
        with running(["demo", "--home", str(home)], log) as demo:
            if demo.wait() != 0:
                raise SystemExit(f"The demo failed:\n{_end_of(log)}")
        yield home


@contextlib.contextmanager
def running_ui(home: Path) -> Iterator[str]:
    """Run the UI on a demo, and yield its address.

    Raises:
        SystemExit: the UI did not start; with the end of the output.
    """
    port, log = free_port(), home.with_name("log")
    address = f"http://127.0.0.1:{port}"
    with running(["up", "--demo", "--home", str(home), "--port", str(port)], log) as up:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            if up.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The UI did not start:\n{_end_of(log)}")
            time.sleep(0.5)
        yield address


@contextlib.contextmanager
def serving(pages: ASGIApp) -> Iterator[str]:
    """Serve pages on this machine, and yield their address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(pages, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def serving_set_up() -> Iterator[str]:
    """Serve the pages on which a server is set up, as a browser of this machine sees them, and yield their address."""
    start = Start("127.0.0.1", again=[], demo=["--demo"])
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="aperture-pictures-"))
        yield stack.enter_context(serving(SetUp(start, load_settings(home=home), lambda: None).app()))


@contextlib.contextmanager
def serving_members(home: Path) -> Iterator[str]:
    """Serve the members' pages of a demo as where nobody sees anything without a sign-in, and yield their address."""
    with StandIns().running() as (_, environment):
        settings = point_at(environment, home, create=False)
        database = ReadOnlyDatabase(settings)
        try:
            with serving(members_pages(House(settings, database, Gate(settings, database)))) as address:
                yield address
        finally:
            database.close()
            release_embedded_server(home / "postgres")


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/operate/server_info", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


# Pictures


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium until the end of the block.

    Raises:
        SystemExit: Chromium is not installed.
    """
    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, address: str, **screen: Any) -> Page:
    """Open an empty page in the time zone of the pictures, of the size of the UI's if no other is given."""
    options: dict[str, Any] = {"timezone_id": "UTC", "locale": "en-US", "color_scheme": "light"}
    options |= {"reduced_motion": "reduce", "viewport": {"width": WIDTH, "height": HEIGHT}} | screen
    page = browser.new_context(base_url=address, **options).new_page()
    page.set_default_timeout(PAGE_SECONDS * 1000)
    return page


def settled(page: Page, *, seconds: float = 10) -> bytes:
    """Return the window as PNG once fonts and pictures are there and it no longer changes; spinners never settle."""
    page.evaluate("document.fonts.ready.then(() => true)")
    page.evaluate(LOAD_IMAGES)
    deadline = time.monotonic() + seconds
    before = page.screenshot(animations="disabled")
    while True:
        page.wait_for_timeout(400)
        after = page.screenshot(animations="disabled")
        if after == before or time.monotonic() > deadline:
            return after
        before = after


def take(page: Page, picture: Picture) -> Image.Image:
    """Open the page of a picture, and return the part that it shows.

    Raises:
        playwright.sync_api.TimeoutError: something that it should show is not on the page.
    """
    page.set_viewport_size({"width": WIDTH, "height": picture.window})
    page.goto(picture.path)
    for text in picture.shows:
        page.get_by_text(text).first.wait_for()
    parts = page.locator(picture.parts)
    parts.first.wait_for()
    page.evaluate(HIDE_TIMESTAMPS)
    window = Image.open(io.BytesIO(settled(page)))
    boxes = [box for part in parts.all() if (box := part.bounding_box()) is not None]
    left, top = (int(min(box[side] for box in boxes)) - picture.margin for side in ("x", "y"))
    right = int(max(box["x"] + box["width"] for box in boxes)) + picture.margin
    bottom = int(max(box["y"] + box["height"] for box in boxes)) + picture.margin
    return window.crop((max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, top + picture.most)))


def take_members(
    browser: Browser, address: str, pictures: Sequence[MemberPicture] = MEMBER_PICTURES
) -> Iterator[tuple[str, Image.Image]]:
    """Go through pages of a member, or of set-up, on each screen, and yield the name of each picture with the picture.

    Raises:
        playwright.sync_api.TimeoutError: something that it should show is not on the page.
    """
    pages = [open_page(browser, address, **screen) for screen in SCREENS]
    for picture in pictures:
        windows, ends = [], []
        for page in pages:
            page.goto(picture.path)
            page.get_by_text(picture.shows).first.wait_for()
            windows.append(Image.open(io.BytesIO(settled(page))).convert("RGB"))
            ends.append(int(page.evaluate(END_OF_MAIN)))
            picture.then(page)
        bottom = min(max(ends), *(window.height for window in windows))
        yield picture.name, side_by_side([window.crop((0, 0, window.width, bottom)) for window in windows])


@contextlib.contextmanager
def serving_client() -> Iterator[str]:
    """Serve the page of a client from an origin of its own, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path == "/"
            body = CLIENT_PAGE.read_bytes() if is_page else b""
            self.send_response(200 if is_page else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        # Not by the name of our own pages.
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def member_token(media_server: str) -> str:
    """Sign in on the media server as a client does, and return the token."""
    client = 'MediaBrowser Client="Web", Device="Chromium", DeviceId="pictures", Version="1"'
    answer = httpx.post(
        f"{media_server}/Users/AuthenticateByName",
        json={"Username": MEMBER, "Pw": PASSWORD},
        headers={"authorization": client},
        trust_env=False,
    )
    return answer.raise_for_status().json()["AccessToken"]


def draw_row(page: Page, client: str, address: str, media_server: str, query: dict[str, str]) -> int:
    """Let the page of a client draw a row of a member; return how many titles it has.

    Raises:
        playwright.sync_api.Error: the browser lets the page read no answer, or it is an error.
    """
    page.goto(client)
    given = [address, media_server, member_token(media_server), query]
    count = page.evaluate("given => draw(...given)", given)
    page.evaluate(LOAD_IMAGES)
    return count


def take_row(page: Page, client: str, address: str, media_server: str, picture: ClientPicture) -> Image.Image:
    """Let a client draw a row, and return the part of its page that shows it."""
    draw_row(page, client, address, media_server, picture.query)
    window = Image.open(io.BytesIO(settled(page)))
    bottom = int(page.evaluate("document.querySelector('section').getBoundingClientRect().bottom")) + GAP
    return window.crop((0, 0, window.width, min(bottom, window.height)))


def side_by_side(windows: Sequence[Image.Image]) -> Image.Image:
    """Return one picture of windows of the same height, with a frame."""
    width = GAP + sum(window.width + GAP for window in windows)
    image = Image.new("RGB", (width, windows[0].height + 2 * GAP), BETWEEN)
    left = GAP
    for window in windows:
        image.paste(window, (left, GAP))
        left += window.width + GAP
    return image


def write(image: Image.Image, path: Path) -> bool:
    """Write a picture with a palette, unless the file shows the same already; return whether it was written."""
    image = image.convert("RGB")
    if path.exists():
        with Image.open(path) as present:
            if nearly_equal(present.convert("RGB"), image):
                return False
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return True


def nearly_equal(one: Image.Image, other: Image.Image) -> bool:
    """Tell whether two pictures differ at most as two of the same page do, made at different times."""
    if one.size != other.size:
        return False
    differences = ImageChops.difference(one, other).convert("L").histogram()
    return sum(differences[LIKE_A_PALETTE:]) <= SAME_SHARE * one.width * one.height


def main() -> None:
    """Take the pictures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with running_browser() as browser, serving_set_up() as address:
        for name, image in take_members(browser, address, SET_UP_PICTURES):
            keep(name, image)
    with demo_home() as home, running_browser() as browser:
        with serving_members(home) as address:
            for name, image in take_members(browser, address):
                keep(name, image)
        # Of stand-ins that run, it is another one.
        media_server = f"http://127.0.0.1:{usual_port(home)}{JELLYFIN_PATH}"
        with running_ui(home) as address:
            page = open_page(browser, address)
            for picture in PICTURES:
                keep(picture.name, take(page, picture))
            with serving_client() as client:
                for row in CLIENT_PICTURES:
                    screen = open_page(browser, client, viewport={"width": WIDTH, "height": HEIGHT // 2})
                    keep(row.name, take_row(screen, client, address, media_server, row))


def keep(name: str, image: Image.Image) -> None:
    """Write a picture, and say so."""
    path = IMAGES / f"{name}.png"
    written = write(image, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB{'' if written else ', as it was'}", flush=True)


if __name__ == "__main__":
    main()
