"""What a newcomer does first: `aperture demo`, then `aperture up` on its results, and a look at the UI.

All processes are real. One demo and one start serve all tests, in this order.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster_webserver
import httpx
import pytest

from aperture_dagster.cli.homes import SERVED
from aperture_dagster.simulator.settings import EMBY_PATH, SimulatorSettings
from aperture_dagster.up.files import up_is_running
from aperture_dagster.up.processes import RUNNER
from aperture_dagster_tests.chaos import DemoHome, environment
from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.programs import Finished, run_program
from aperture_dagster_tests.waiting import SECONDS, wait_for
from aperture_dagster_tests.webserver import ask, free_port

pytestmark = pytest.mark.e2e

APERTURE = [sys.executable, "-m", "aperture_dagster.cli.main"]
WORLD = ["--world", "generated:movies=16,series=3,episodes=12,users=2,plays=40", "--server", "emby"]
Lists = dict[str, list[tuple[str, list[int], list[str]]]]
"""Key, works and titles of each list of recommendations, by user."""
PROXY = "aperture.example.org"
# Nothing is to run but what is started.
ENVIRONMENT = {
    "PYTHONPATH": str(PROJECT), "APERTURE_UI_ALLOWED_HOSTS": PROXY, "APERTURE_SCHEDULES_ENABLED": "false",
}  # fmt: skip
HEALTH = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } }
              instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"""
SYNC_USERS = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "sync_users"},
  runConfigData: {} }) { __typename } }"""
RUNS = """{ runsOrError(filter: {pipelineName: "%s"}) { ... on Runs {
  results { status tags { key value } } } } }"""

CHECKS = """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { status } } } } } }"""
LISTS = """{ assetOrError(assetKey: {path: ["recommendations"]}) { ... on Asset {
  assetMaterializations(partitions: ["%s"], limit: 1) { metadataEntries {
    ... on MarkdownMetadataEntry { mdStr } } } } } }"""


@dataclass(frozen=True)
class Account:
    """An operator who has configured a database, and tries the demo."""

    folder: Path
    foreign: socket.socket
    """A port in place of the operator's database."""

    @property
    def home(self) -> Path:
        """The home that the demo chooses by itself."""
        return self.folder / "home" / "demo-emby"

    @property
    def variables(self) -> dict[str, str]:
        """What names the operator's database."""
        port = self.foreign.getsockname()[1]
        return {"APERTURE_DATABASE_URL": f"postgresql://ann:hush-very-secret@127.0.0.1:{port}/films"}

    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        # Few people watch the few films of this world.
        rules = '{"minimum_viewers": 1}'
        return environment(home, APERTURE_HOME=str(home), APERTURE_TOP_PICKS_MOVIES=rules, **self.variables)

    def nobody_connected(self) -> bool:
        """Return whether nothing has connected to the operator's database."""
        try:
            self.foreign.accept()[0].close()
        except BlockingIOError:
            return True
        return False


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """An account; processes still running there at the end are an error, and are killed."""
    # A path short enough for a socket two levels below it.
    with tempfile.TemporaryDirectory(prefix="aperture-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            foreign.setblocking(False)
            yield Account(folder, foreign)
        left = [] if all_gone(folder) else processes_of(folder)
        for process in left:
            process.kill()
        assert not left


@pytest.fixture(scope="module")
def demo(account: Account, clusters: Path) -> str:
    """What a demo printed."""
    program = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
    own = account.environment() | {FOLDER: str(clusters)}
    done = run_program(program, "demo", *WORLD, environment=own, folder=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def lists(account: Account, demo: str) -> Lists:
    """What the demo recommends, which is what it has published."""
    recommended = """
        SELECT u.name, 'recommendations/' || user_id || '/' || media_type, array_agg(work_id ORDER BY rank),
        array_agg(title ORDER BY rank) FROM recommendations JOIN users u USING (user_id)
        JOIN work_names USING (work_id) GROUP BY u.name, user_id, media_type"""
    found: Lists = {}
    with DemoHome(account.home).databases() as (product, _):
        for name, *one in product.execute(recommended):
            found.setdefault(name, []).append((one[0], one[1], one[2]))
        entries = "SELECT list_key, array_agg(work_id ORDER BY rank) FROM published_entries GROUP BY list_key"
        placed = dict(product.execute(entries).fetchall())
        picks = """
            SELECT array_agg(work_id ORDER BY rank) FROM top_picks
            WHERE media_type = 'movie' AND day = (SELECT max(day) FROM top_picks)"""
        assert placed["top_picks/movie"] == (product.execute(picks).fetchone() or [None])[0]
    assert all(placed[key] == works for ones in found.values() for key, works, _ in ones)
    return found


class Up:
    """A running `aperture up`."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.account, self.folder = account, folder
        self.port, self.log = free_port(), account.folder / "up.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; what it says is added to the log."""
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [*APERTURE, "up", "--demo", "--port", str(self.port), *WORLD],
                env=self.account.environment() | ENVIRONMENT,
                cwd=self.folder, stdout=out, stderr=out,
            )  # fmt: skip

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait for a true value, and return it."""
        return wait_for(what, self.log.read_text, pause=0.3, process=self.process)

    def parts(self) -> set[int]:
        """Return the process ids of its parts, without what these run for a moment."""
        return {one.pid for one in processes_of(self.account.folder) if RUNNER in one.cmdline()}

    def everything_runs(self) -> bool:
        """Return whether the UI answers, the code is loaded and the daemons have sent heartbeats."""
        if (data := ask(self.port, HEALTH)) is None:
            return False
        statuses = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        locations = data["workspaceOrError"]["locationEntries"]
        return "SENSOR" in {one["daemonType"] for one in statuses if one["healthy"]} and any(
            one["loadStatus"] == "LOADED" for one in locations
        )


@pytest.fixture(scope="module")
def up(account: Account, demo: str) -> Iterator[Up]:
    """Start `aperture up` on the demo's results; at the end it stops as with Ctrl-C."""
    elsewhere = account.folder / "elsewhere"
    elsewhere.mkdir()
    # A file .env in the working directory takes precedence in Dagster.
    lines = [f"{key}={value}\n" for key, value in account.variables.items()]
    (elsewhere / ".env").write_text("".join(lines))
    running = Up(account, elsewhere)
    try:
        running.wait_for(running.everything_runs)
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        ended = running.process.wait(SECONDS)
    assert ended == 0, running.log.read_text()


def test_a_demo_publishes_every_list_and_shows_them_without_the_configured_database(
    account: Account, demo: str, lists: Lists
):
    """Otherwise the demo would fill the operator's database with invented titles."""
    assert sorted(lists) == ["ada0", "bela1"]
    for user, ones in lists.items():
        assert f"{user}: list of " in demo
        assert all(titles[0] in demo for _, _, titles in ones)
    assert "Top Picks: what this household watches" in demo
    assert "\x1b" not in demo and "\r" not in demo, "control sequences in a pipe"
    assert account.nobody_connected()
    lines = [line for line in demo.splitlines() if "APERTURE_DATABASE_URL" in line]
    assert len(lines) == 1 and "is ignored" in lines[0]
    assert "hush" not in demo
    assert (account.home / "postgres" / "PG_VERSION").exists()


def aperture(account: Account, clusters: Path, *arguments: str) -> Finished:
    """Run a command in the home of the demo, as an operator without a media server."""
    program = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
    own = account.environment() | {FOLDER: str(clusters)}
    done = run_program(program, *arguments, "--home", str(account.home), environment=own, folder=PROJECT)
    assert done.stderr.splitlines()[0].startswith(
        f"No media server is configured: this is about the demo in {account.home}"
    )
    return done


def states(done: Finished) -> dict[str, str]:
    """Return what the doctor found, by what was examined."""
    return {one["what"]: one["state"] for one in json.loads(done.stdout)["findings"]}


@pytest.mark.nightly(
    reason="Commands as processes of their own.",
    instead="cli/test_demo.py::test_no_command_takes_a_home_for_that_of_a_demo",
)
def test_commands_about_the_media_server_start_the_stand_ins_of_a_demo_that_does_not_run(
    account: Account, clusters: Path, demo: str
):
    done = aperture(account, clusters, "publish")
    assert done.returncode == 0 and "its stand-ins are started" in done.stderr
    # It is the server of the demo: nothing is missing there.
    assert done.stdout.endswith(" 0 entries changed, 0 changes on the media server.\n")
    examined = states(aperture(account, clusters, "doctor", "--json"))
    assert {examined[what] for what in ("media server", "publishing", "TMDb", "Seerr")} == {"ok"}
    assert examined["aperture up"] == "warning"
    assert account.nobody_connected()


@pytest.mark.nightly(
    reason="Commands as processes of their own.",
    instead="cli/test_demo.py::test_no_command_takes_a_home_for_that_of_a_demo",
)
def test_commands_about_the_media_server_act_on_the_demo_that_runs(account: Account, clusters: Path, up: Up):
    served = json.loads((account.home / SERVED).read_text())
    examined = states(aperture(account, clusters, "doctor", "--json"))
    assert {examined[what] for what in ("media server", "publishing", "aperture up", "stand-ins")} == {"ok"}
    done = aperture(account, clusters, "publish")
    assert done.returncode == 0 and ", which runs.\n" in done.stderr
    assert done.stdout.endswith(" changes on the media server.\n")
    answer = httpx.get(
        f"{served['address']}/emby/Library/VirtualFolders", headers={"X-Emby-Token": "demo-emby-key"}, timeout=SECONDS
    )
    assert {"ada0's AI Picks - Movies", "Top Picks - Movies"} <= {one["Name"] for one in answer.json()}
    planned = aperture(account, clusters, "publish", "--dry-run")
    assert planned.returncode == 0 and planned.stdout.endswith(" 0 entries would change. Nothing was changed.\n")
    assert all(f'Library "{user}\'s AI Picks - Movies"' in planned.stdout for user in ("ada0", "bela1"))
    removed = aperture(account, clusters, "unpublish", "--dry-run")
    assert removed.returncode == 0 and 'Library "Top Picks - Movies": would be removed' in removed.stdout
    assert account.nobody_connected()


def test_the_lists_of_a_demo_are_in_the_ui(lists: Lists, up: Up):
    for user, ones in lists.items():
        (made,) = ask(up.port, LISTS % user)["assetOrError"]["assetMaterializations"]
        shown = " ".join(one.get("mdStr", "") for one in made["metadataEntries"])
        assert all(title in shown for _, _, titles in ones for title in titles[:3]), user


def test_the_media_server_still_has_the_libraries_of_the_demo(account: Account, demo: str, up: Up):
    """Otherwise each start would publish every list again."""
    stand_ins = next(
        one.cmdline() for one in processes_of(account.folder) if "aperture_dagster.simulator" in one.cmdline()
    )
    url = f"http://127.0.0.1:{stand_ins[stand_ins.index('--port') + 1]}{EMBY_PATH}/Library/VirtualFolders/Query"
    headers = {"X-Emby-Token": SimulatorSettings().emby_key}
    names = [one["Name"] for one in httpx.get(url, headers=headers).json()["Items"]]
    assert any(name.startswith("Top Picks") for name in names), names
    with DemoHome(account.home).databases() as (product, _):
        published = {name for (name,) in product.execute("SELECT name FROM published_libraries")}
    assert published and published <= set(names)


def test_every_check_of_a_demo_was_evaluated(up: Up):
    def statuses() -> dict[str, str | None]:
        return {
            f"{node['assetKey']['path'][0]}.{check['name']}": (check["executionForLatestMaterialization"] or {}).get(
                "status"
            )
            for node in ask(up.port, CHECKS)["assetNodes"]
            for check in node["assetChecksOrError"].get("checks", [])
        }

    # A run that follows the start may be about to look again.
    up.wait_for(lambda: set(statuses().values()) <= {"SUCCEEDED", "FAILED"})
    found = statuses()
    assert len(found) > 30
    assert {"database_backup.was_proven", "database_backup.is_recent_and_proven"} <= found.keys()


def test_the_ui_answers_its_own_pages_and_programs_and_no_other_website(account: Account, up: Up):
    runs, mutation = ask(up.port, RUNS % "sync_users"), quote(SYNC_USERS)
    socket_key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    socket_key += "Sec-WebSocket-Protocol: graphql-ws\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    own, proxied = f"Host: 127.0.0.1:{up.port}\r\n", f"Host: {PROXY}\r\nOrigin: https://{PROXY}\r\n"
    evil = "Origin: http://evil.example\r\n"
    # The rules have tests of their own, in front_door/test_guard.py.
    for request, head, status in [
        ("GET /operate/server_info", own, 200),
        ("GET /operate/server_info", proxied, 200),
        ("GET /operate/graphql", own + socket_key, 101),
        ("GET /operate/graphql", proxied + socket_key, 101),
        ("GET /operate/graphql", own + evil + socket_key, 403),
        ("GET /operate/server_info", "Host: evil.example\r\n", 421),
        (f"GET /operate/graphql?query={mutation}", own, 405),
        (f"POST /operate/graphql?query={mutation}", f"{own}Content-Length: 0\r\n", 415),
        ("POST /operate/report_asset_materialization/movies", f"{own}{evil}Content-Length: 0\r\n", 403),
    ]:
        with socket.create_connection(("127.0.0.1", up.port), timeout=SECONDS) as connection:
            connection.sendall(f"{request} HTTP/1.1\r\n{head}\r\n".encode())
            answer = connection.recv(100).decode("latin-1")
            assert answer.startswith(f"HTTP/1.1 {status} "), (request, head, answer)
    assert ask(up.port, RUNS % "sync_users") == runs
    assert account.nobody_connected() and "is ignored" in up.log.read_text()


def test_every_page_says_that_it_is_of_a_demo(up: Up):
    for path in ("/", "/taste", "/sign-in", "/nowhere", "/operate/", "/operate/assets/movies"):
        answer = httpx.get(f"http://127.0.0.1:{up.port}{path}", timeout=SECONDS)
        assert answer.text.count("This is a demo: an invented household") == 1, path
        assert answer.text.rstrip().endswith("</html>"), path


def test_every_icon_that_the_ui_asks_for_is_there(up: Up):
    scripts = (Path(dagster_webserver.__file__).parent / "webapp/build/_next/static/chunks").glob("*.js")
    icons = {icon for script in scripts for icon in re.findall(r'"(/favicon[^"]*)"', script.read_text())}
    assert {"/favicon.svg", "/favicon-run-failed.svg", "/favicon-run-success.svg"} <= icons
    for icon in icons:
        answer = httpx.get(f"http://127.0.0.1:{up.port}{icon}", follow_redirects=True, timeout=SECONDS)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml"), icon


@pytest.mark.nightly(
    reason="It starts everything once more.",
    instead="up/test_supervisor.py"
    "::test_a_part_that_dies_is_started_again_while_its_runs_and_others_go_on_and_a_kill_ends_all_of_them",
)
def test_a_second_start_on_the_same_home_is_refused_and_after_a_kill_it_takes_over(account: Account, up: Up):
    runs, before, parts = ask(up.port, RUNS % "sync_users"), up.log.read_text(), up.parts()
    second = up.start()
    assert second.wait(SECONDS) == 1
    said = " ".join(up.log.read_text().removeprefix(before).split())
    assert f"already running on {account.home} (its UI is at http://127.0.0.1:{up.port}, process" in said
    assert "stop it where it was started" in said and "set APERTURE_HOME to another folder" in said
    assert up.process.poll() is None and up.everything_runs()
    assert len(parts) > 1 and up.parts() == parts, "none of the parts was started again"
    up.process.kill()
    up.process.wait(SECONDS)
    # The parts end by themselves; until then, the home is theirs.
    wait_for(lambda: not up_is_running(account.home), up.log.read_text)
    up.process = up.start()
    up.wait_for(up.everything_runs)
    assert ask(up.port, RUNS % "sync_users") == runs
