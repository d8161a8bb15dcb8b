"""The page of jobs, with Dagster's own web application and real runs: what it shows, what it starts, and for whom."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient

from aperture_dagster.front_door import gate as gates
from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.dagster_queries import DagsterQueries
from aperture_dagster.front_door.examination import Examination, Trouble, troubles_of
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.jobs_board import bar_of
from aperture_dagster.front_door.jobs_page import JobsPage, routes_of
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.database import Database
from aperture_dagster.progress import StepKeeper, StepProgress
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.front_door.browsing import hidden_fields
from aperture_dagster_tests.front_door.door import PASSWORD, Door
from aperture_dagster_tests.shelf import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port, serving

CODE = """
import dagster as dg
from aperture_dagster.instance.executor import executor

class Refetch(dg.Config):
    refetch: list[str] = []

@dg.op
def movies():
    raise dg.Failure("The media server refuses the key: set another one, then start sync_movies.", allow_retries=False)

@dg.op
def make_backup():
    ...

@dg.asset
def tmdb_metadata(config: Refetch):
    ...

@dg.asset
def omdb_ratings(config: Refetch):
    ...

@dg.job(description="Read the films.")
def sync_movies():
    movies()

@dg.job(description="Back up the database.")
def database_backup():
    make_backup()

enrich = dg.define_asset_job("enrich_metadata", [tmdb_metadata, omdb_ratings])
nightly = dg.ScheduleDefinition(
    name="sync_movies_schedule", job=sync_movies, cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
defs = dg.Definitions(
    [tmdb_metadata, omdb_ratings], jobs=[sync_movies, database_backup, enrich], schedules=[nightly]
)
"""


@dataclass
class Jobs:
    """The page of jobs of a household."""

    door: Door
    page: JobsPage
    instance: dg.DagsterInstance
    code: dict[str, Any]

    def execute(self, job: str) -> dg.ExecuteInProcessResult:
        """Execute a job, as a run of Dagster does."""
        return self.code[job].execute_in_process(instance=self.instance, raise_on_error=False)

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """Return the runs of a job, the newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job)))


@pytest.fixture
def examined() -> None:
    """Let the page of :func:`jobs` run `aperture status` and `aperture doctor`, which are two processes."""


@pytest.fixture
def jobs(
    request: pytest.FixtureRequest,
    open_door: Callable[..., Any],
    make_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Jobs]:
    if "examined" not in request.fixturenames:
        monkeypatch.setattr(Examination, "begin", lambda self: None)
    code = tmp_path / "code.py"
    code.write_text(CODE)
    url = make_settings().database_url
    assert url is not None
    monkeypatch.setenv("APERTURE_DATABASE_URL", url.get_secret_value())
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT))
    target = LoadableTargetOrigin(python_file=str(code), attribute="defs")
    origin = InProcessCodeLocationOrigin(target, location_name="aperture")
    with ExitStack() as stack:
        door: Door = stack.enter_context(open_door())
        instance = stack.enter_context(dg.DagsterInstance.get())
        workspace = stack.enter_context(WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)))
        operate = create_app_from_workspace_process_context(workspace, "/operate")
        page = JobsPage(door.house, DagsterQueries(operate, "/operate/graphql"))
        door.app = FrontDoor(operate, members_pages(door.house, *routes_of(page)), door.house.gate)
        yield Jobs(door, page, instance, runpy.run_path(str(code)))
        wait_for(lambda: not page.examination.is_looking, lambda: "the examination does not end")
        page.board.instance.dispose()


def card(page: str, name: str) -> str:
    """Return the text of a job's card."""
    found = re.search(rf'<li id="{name}".*?</li>', page, re.DOTALL)
    assert found is not None, page
    return unescape(found[0])


def press(browser: TestClient, button: str, name: str, **changes: str) -> httpx.Response:
    """Press a button on a job's card."""
    form = next(
        one
        for one in re.findall(r"<form.*?</form>", card(browser.get("/jobs").text, name), re.DOTALL)
        if f'aria-label="{button}: {name}"' in one
    )
    path = re.search(r'action="([^"]+)"', form)
    assert path is not None
    return browser.post(path[1], data={**hidden_fields(form), **changes})


@pytest.mark.usefixtures("examined")
def test_the_page_shows_what_failed_and_why_what_runs_and_how_far_it_is(jobs: Jobs):
    assert not jobs.execute("sync_movies").success
    backup = jobs.execute("database_backup")
    database = Database(jobs.door.settings)
    StepKeeper(database, backup.run_id, "make_backup", "database_backup").end("2,501 rows.")
    browser = jobs.door.signed_in("Anna")
    page = browser.get("/jobs").text
    failed = card(page, "sync_movies")
    # Failed jobs come first.
    assert page.index('id="sync_movies"') < page.index('id="database_backup"')
    assert "The media server refuses the key: set another one, then start sync_movies." in failed
    assert "Traceback" not in page and "dagster._core" not in page
    assert "Starts next: " in failed and ", 02:00 (UTC)" in failed
    assert "Runs of the last 14 days: 0 done, 1 failed" in failed
    done = card(page, "database_backup")
    assert "make_backup: 2,501 rows." in done and f"/operate/runs/{backup.run_id}" in done
    assert 'href="/operate/assets/tmdb_metadata"' in card(page, "enrich_metadata")
    assert "/operate/assets/" not in done, "it makes no asset"
    # It waits for a daemon, of which there is none; then it is made to look as if it had begun.
    press(browser, "Run now", "database_backup")
    assert "Waiting for its turn" in card(browser.get("/jobs").text, "database_backup")
    (run, _) = jobs.runs("database_backup")
    jobs.instance.report_engine_event("begins", run)
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO step_progress (run_id, step, job, what, done, total, seconds)"
            f" VALUES ('{run.run_id}', 'make_backup', 'database_backup', 'rows dumped', 1000, 4000, 60)"
        )
    text = browser.get("/jobs").text
    bar = card(text, "database_backup")
    assert '<progress max="4000" value="1000"' in bar and "1,000 of 4,000" in bar and "about 3 min left" in bar
    assert 'http-equiv="refresh"' in text
    # A run that was killed leaves its progress behind, and is no longer there.
    jobs.instance.report_run_failed(run, "The process of this run is gone.")
    gone = card(browser.get("/jobs").text, "database_backup")
    assert "<progress" not in gone and "The process of this run is gone." in gone
    wait_for(lambda: not jobs.page.examination.is_looking, lambda: "the examination does not end")
    idle = browser.get("/jobs").text
    assert 'http-equiv="refresh"' not in idle and "Last looked: " in idle and ' style="' not in idle
    assert "<b>lists</b>" in idle or "<b>aperture up</b>" in idle


def test_a_double_click_starts_one_run_which_can_be_stopped_and_schedules_are_switched(jobs: Jobs):
    browser = jobs.door.signed_in("Anna")
    started = press(browser, "Run now", "enrich_metadata")
    assert started.headers["location"] == "/jobs?said=started&job=enrich_metadata#enrich_metadata"
    form = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', browser.get("/jobs").text)[0], "job": "enrich_metadata"}
    second = browser.post("/jobs/run", data=form)
    assert "said=already" in second.headers["location"]
    (run,) = jobs.runs("enrich_metadata")
    assert run.status == dg.DagsterRunStatus.QUEUED and not run.run_config
    assert "A run of this job is already waiting" in browser.get(second.headers["location"]).text
    # Not one that is over, or of another job.
    assert "said=over" in press(browser, "Stop", "enrich_metadata", run="another").headers["location"]
    assert "said=stopped" in press(browser, "Stop", "enrich_metadata").headers["location"]
    assert [one.status for one in jobs.runs("enrich_metadata")] == [dg.DagsterRunStatus.CANCELED]
    press(browser, "Run now and ask again for everything", "enrich_metadata")
    again, _ = jobs.runs("enrich_metadata")
    assert {name: step["config"] for name, step in again.run_config["ops"].items()} == {
        "tmdb_metadata": {"refetch": ["all"]}, "omdb_ratings": {"refetch": ["all"]},
    }  # fmt: skip
    for button, is_on in (("Switch the schedule off", False), ("Switch the schedule on", True)):
        press(browser, button, "sync_movies")
        (state,) = jobs.instance.all_instigator_state()
        assert state.is_running is is_on
        assert ("Starts next: " in card(browser.get("/jobs").text, "sync_movies")) is is_on


def test_of_two_runs_that_wait_the_one_on_the_page_is_stopped(jobs: Jobs):
    browser, page = jobs.door.signed_in("Anna"), jobs.page

    async def launch() -> None:
        declared = {job.name: job for job in await page._dagster.jobs()}
        await page._dagster.launch(declared["database_backup"], {})

    press(browser, "Run now", "database_backup")
    shown = re.search(r'name="run" value="([^"]+)"', card(browser.get("/jobs").text, "database_backup"))
    assert shown is not None
    # As by Dagster's UI, where nothing keeps a second run from waiting.
    asyncio.run(launch())
    assert "said=stopped" in press(browser, "Stop", "database_backup", run=shown[1]).headers["location"]
    states = {run.run_id: run.status for run in jobs.runs("database_backup")}
    assert states.pop(shown[1]) == dg.DagsterRunStatus.CANCELED
    assert list(states.values()) == [dg.DagsterRunStatus.QUEUED]


def test_only_an_administrator_who_has_just_signed_in_gets_there(jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
    create_backup(jobs.door.settings, NOW)
    member, stranger = jobs.door.signed_in("Ben"), jobs.door.browser()
    administrator = jobs.door.signed_in("Anna")
    token = re.findall(r'name="csrf" value="([^"]+)"', administrator.get("/jobs").text)[0]
    (name,) = re.findall(r'href="(/jobs/backups/[^"]+)"', administrator.get("/jobs").text)
    for path in ("/jobs", name):
        assert member.get(path).status_code == 403
        assert stranger.get(path).headers["location"].startswith("/sign-in?next=")
    forms = {"run": {}, "stop": {"run": "one"}, "schedule": {"on": "0"}, "look": {}}
    for path, fields in forms.items():
        form = {"job": "sync_movies", "csrf": token, **fields}
        assert member.post(f"/jobs/{path}", data=form).status_code == 403
        assert stranger.post(f"/jobs/{path}", data=form).headers["location"].startswith("/sign-in")
        assert administrator.post(f"/jobs/{path}", data={**form, "csrf": "wrong"}).status_code == 403
    assert jobs.runs("sync_movies") == [] and jobs.instance.all_instigator_state() == []
    assert administrator.get(name).content[:2] == b"\x1f\x8b"
    assert administrator.get("/jobs/backups/..%2f.env").status_code == 404
    # Minutes later, the password is asked for again; half a day later, for the page as well.
    monkeypatch.setattr(gates, "RECENT", timedelta())
    assert administrator.get(name).headers["location"].startswith("/sign-in?next=%2Fjobs%2Fbackups%2F")
    assert administrator.get("/jobs").status_code == 200
    monkeypatch.setattr(gates, "OPERATOR_LIFE", timedelta())
    assert administrator.get("/jobs").headers["location"].startswith("/sign-in?next=%2Fjobs&again=1")
    assert administrator.post("/jobs/run", data={"job": "sync_movies", "csrf": token}).status_code == 303
    assert jobs.runs("sync_movies") == []


def test_what_is_wrong_comes_once_the_worst_first_with_the_settings_that_it_speaks_of():
    wrong = {"subject": "disk", "sentence": "Make room, or set APERTURE_HOME elsewhere."}
    status = {"wrong": [wrong], "checks": {"not_passed": [{"name": "users.any", "sentence": "Nobody."}]}}
    findings = [
        {"what": "OMDb", "state": "off", "message": "No key."},
        {"what": "clock", "state": "warning", "message": "It is behind."},
        {"what": "disk", "state": "failed", "message": wrong["sentence"]},
        {"what": "TMDb", "state": "failed", "message": "The key was refused: set APERTURE_TMDB_API_KEY."},
    ]
    found = troubles_of(status, {"findings": findings})
    assert [(one.subject, one.state) for one in found] == [
        ("disk", "failed"), ("TMDb", "failed"), ("clock", "warning"), ("users.any", "warning"),
    ]  # fmt: skip
    assert found[1] == Trouble("TMDb", "The key was refused: set APERTURE_TMDB_API_KEY.", "failed")
    assert [one.settings for one in found] == [["home"], ["tmdb_api_key"], [], []]


@pytest.mark.parametrize(
    ("done", "total", "share", "left"), [(25, 100, 0.25, 30.0), (120, 100, 1.0, None), (0, 100, 0.0, None)]
)
def test_a_bar_is_never_more_than_full(done: int, total: int, share: float, left: float | None):
    bar = bar_of(StepProgress("run", "step", "job", "titles", done, total, 10.0, None, NOW))
    assert bar is not None and (bar.share, bar.left) == (share, left) and (bar.total or 0) >= bar.done


@pytest.mark.usefixtures("examined")
@pytest.mark.nightly(
    reason="Chromium.",
    instead="front_door/test_jobs_page.py::test_a_double_click_starts_one_run_which_can_be_stopped_and_schedules_are_switched",
)
@pytest.mark.ui
@needs_chromium
def test_a_phone_and_a_desktop_show_the_page_and_the_keyboard_starts_a_job(jobs: Jobs):
    jobs.execute("sync_movies")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    guard = Guard(jobs.door.app, AllowedHosts("127.0.0.1"))
    with serving(guard, port), open_page("about:blank") as opened:
        for size in ((390, 844), (1440, 900)):
            context = opened.context.browser.new_context(viewport={"width": size[0], "height": size[1]})
            page = context.new_page()
            page.goto(f"{address}/sign-in?next=/jobs")
            page.fill("input[name=name]", "Anna")
            page.fill("input[name=password]", PASSWORD)
            page.click("main button >> nth=0")
            page.wait_for_url(f"{address}/jobs")
            wait_for(lambda: not jobs.page.examination.is_looking, lambda: "the examination does not end")
            page.goto(f"{address}/jobs")
            page.evaluate(Axe().axe_script)
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [one["id"] for one in found["violations"]] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
            stop = page.get_by_role("button", name="Stop: database_backup", exact=True)
            if not jobs.runs("database_backup"):
                page.get_by_role("button", name="Run now: database_backup", exact=True).focus()
                page.keyboard.press("Enter")
                page.wait_for_url(f"{address}/jobs?said=*")
                assert page.get_by_role("status").first.inner_text().startswith("database_backup: ")
                # It renews itself in place while the run waits, and keeps the focus.
                stop.focus()
                page.wait_for_selector("main > p[role=status]", state="detached", timeout=60_000)
                assert stop.evaluate("one => one === document.activeElement")
            stop.wait_for()
            context.close()
    assert len(jobs.runs("database_backup")) == 1
