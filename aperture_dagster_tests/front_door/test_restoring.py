"""Administrators restore a backup in the browser: who may, what is asked, and what happens to the databases."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest
from sqlalchemy import make_url
from starlette.testclient import TestClient

from aperture_dagster.front_door import gate as gates
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.restore_order import MOST_ATTEMPTS, RestoreOrder, read_order, write_order
from aperture_dagster.front_door.restoring import restore_as_asked, restoring_page
from aperture_dagster.instance.run_lock import TAG, tag_of
from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.connection import product_database_url
from aperture_dagster.postgres.databases import replaced_databases
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.texts import texts_of
from aperture_dagster.up import restart
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.front_door.browsing import hidden_fields
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.front_door.test_jobs_page import Jobs, jobs
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.postgres.test_restore import HOUSEHOLD, which
from aperture_dagster_tests.programs import Program
from aperture_dagster_tests.shelf import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import SECONDS
from aperture_dagster_tests.webserver import free_port, serving

__all__ = ["jobs"]


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The reading end of the pipe by which a part asks `aperture up` to start everything anew."""
    reading, asking = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(restart._Asking, "descriptor", asking)
    yield reading
    os.close(reading)
    os.close(asking)


def was_asked(reading: int) -> bool:
    with suppress(BlockingIOError):
        return bool(os.read(reading, 10))
    return False


def form_of(browser: TestClient, address: str) -> dict[str, str]:
    page = browser.get(address)
    assert page.status_code == 200, page.text
    return hidden_fields(next(form for form in re.findall(r"<form.*?</form>", page.text, re.DOTALL) if "sure" in form))


def test_a_restore_is_asked_twice_and_leads_to_one_order_and_a_start_of_everything(jobs: Jobs, supervised: int):
    settings, browser = jobs.door.settings, jobs.door.signed_in("Anna")
    name = create_backup(settings, NOW).path.name
    address = f"/jobs/restore?backup={name}"
    assert f'href="{address}"' in browser.get("/jobs").text
    form = form_of(browser, address)
    unsure = browser.post("/jobs/restore", data=form)
    assert unsure.status_code == 422 and "tick the box" in unsure.text
    # A file that is no backup of the list, wherever it is.
    for other in ("../../.env", "/etc/passwd", "aperture-backup-2020-01-01.sql.gz", ""):
        assert browser.post("/jobs/restore", data={**form, "sure": "1", "backup": other}).status_code == 404
    run = jobs.instance.create_run_for_job(jobs.code["database_backup"], status=dg.DagsterRunStatus.STARTED)
    busy = browser.post("/jobs/restore", data={**form, "sure": "1"})
    assert busy.status_code == 409 and "database_backup" in busy.text and 'name="sure"' not in busy.text
    looked_at = browser.get(address).text
    assert "database_backup" in looked_at and 'name="sure"' not in looked_at
    # One reason at a time: there is no box to tick meanwhile.
    busy = browser.post("/jobs/restore", data=form)
    assert busy.status_code == 409 and "database_backup" in busy.text and "tick the box" not in busy.text
    assert read_order(settings) is None and not was_asked(supervised)
    # Its process took the lock, and is gone: nothing is in progress, although nobody has ended the run yet.
    jobs.instance.add_run_tags(run.run_id, {TAG: tag_of(run.run_id)})
    assert jobs.page.board.runs_in_progress() == []
    jobs.instance.report_run_failed(run)
    begun = browser.post("/jobs/restore", data={**form, "sure": "1"})
    assert begun.status_code == 200 and begun.headers["refresh"] == "3;url=/jobs"
    order = read_order(settings)
    assert order is not None and (order.backup, order.author, order.state) == (name, "Anna", "asked")
    assert was_asked(supervised)
    write_order(settings, replace(order, state="failed", said=["psql failed: it is damaged."]))
    page = browser.get("/jobs").text
    assert "which Anna wanted to restore" in page and "psql failed: it is damaged." in page


def test_only_an_administrator_who_has_just_entered_the_password_restores_or_drops(
    jobs: Jobs, supervised: int, monkeypatch: pytest.MonkeyPatch
):
    settings, administrator = jobs.door.settings, jobs.door.signed_in("Anna")
    address = f"/jobs/restore?backup={create_backup(settings, NOW).path.name}"
    form = {**form_of(administrator, address), "sure": "1"}
    member, stranger = jobs.door.signed_in("Ben"), jobs.door.browser()
    dropped = {"csrf": form["csrf"], "database": "postgres"}
    assert administrator.post("/jobs/replaced", data=dropped).status_code == 404
    for path, fields in (("/jobs/restore", form), ("/jobs/replaced", dropped)):
        assert member.get(path if path == "/jobs/replaced" else address).status_code == 403
        assert member.post(path, data=fields).status_code == 403
        assert stranger.post(path, data=fields).status_code == 403
        assert administrator.post(path, data={**fields, "csrf": "wrong"}).status_code == 403
    monkeypatch.setattr(gates, "RECENT", timedelta())
    for answer in (administrator.get(address), administrator.post("/jobs/restore", data=form)):
        assert answer.headers["location"].startswith("/sign-in?next=%2Fjobs%2Frestore%3Fbackup%3D")
    assert administrator.post("/jobs/replaced", data=dropped).headers["location"].startswith("/sign-in?next=")
    assert read_order(settings) is None and not was_asked(supervised)


@pytest.mark.nightly(
    reason="Chromium.",
    instead="front_door/test_restoring.py::test_only_an_administrator_who_has_just_entered_the_password_restores_or_drops",
)
@pytest.mark.ui
@needs_chromium
@pytest.mark.parametrize(("size", "language"), [((390, 844), "de"), ((1440, 900), "en")], ids=["phone", "desktop"])
def test_who_signed_in_a_while_ago_enters_the_password_before_the_page_of_a_restore(
    jobs: Jobs, supervised: int, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], language: str
):
    name, port, _ = create_backup(jobs.door.settings, NOW).path.name, free_port(), texts_of(language)
    address = f"http://127.0.0.1:{port}"
    with serving(Guard(jobs.door.app, AllowedHosts("127.0.0.1")), port), open_page(address) as opened:
        screen = {"viewport": {"width": size[0], "height": size[1]}}
        page = opened.context.browser.new_context(base_url=address, locale=language, **screen).new_page()

        def enter_password() -> None:
            page.fill("input[name=name]", "Anna")
            page.fill("input[name=password]", PASSWORD)
            page.get_by_role("button", name=_("Sign in"), exact=True).click()

        page.goto("/sign-in?next=/jobs")
        enter_password()
        page.wait_for_url(f"{address}/jobs")
        monkeypatch.setattr(gates, "RECENT", timedelta())
        page.get_by_role("link", name=f"{_('Restore')}: {name}", exact=True).click()
        page.wait_for_url(f"{address}/sign-in?**")
        monkeypatch.setattr(gates, "RECENT", timedelta(minutes=10))
        enter_password()
        page.wait_for_url(f"{address}/jobs/restore?**")
        assert page.locator("h1").inner_text() == _("Restore this backup?")
        page.get_by_role("checkbox").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=_("A backup is being restored"), exact=True).wait_for()
        assert was_asked(supervised)


def test_where_each_part_is_a_service_of_its_own_the_page_shows_the_command(jobs: Jobs):
    browser, name = jobs.door.signed_in("Anna"), create_backup(jobs.door.settings, NOW).path.name
    page = browser.get(f"/jobs/restore?backup={name}").text
    assert f"{name}</code>" in page and "aperture restore " in page and 'name="sure"' not in page
    csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
    assert browser.post("/jobs/restore", data={"csrf": csrf, "backup": name, "sure": "1"}).status_code == 404
    assert read_order(jobs.door.settings) is None


# The restore itself


@pytest.fixture
def damaged(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home whose database was backed up, and has been damaged since; nothing of it runs."""
    for name, value in {
        "APERTURE_DATABASE_URL": database_url, "APERTURE_HOME": str(tmp_path / "home"), "DAGSTER_HOME": str(PROJECT),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    run_statements(database_url, *HOUSEHOLD)
    settings = load_settings()
    create_backup(settings, Clock().now())
    run_statements(database_url, "UPDATE facts SET value = '\"damaged\"' WHERE name = 'which'")
    yield settings
    for old in replaced_databases(product_database_url(settings)):
        run_statements(database_url, f"DROP DATABASE {old.name} WITH (FORCE)")


def ordered(settings: Settings) -> RestoreOrder:
    """Note an order to restore the backup."""
    (path,) = (settings.home_path / "backups").glob("*.sql.gz")
    order = RestoreOrder(path.name, "Anna", "2026-05-17T20:00:00+00:00")
    write_order(settings, order)
    return order


def test_the_restore_says_at_every_address_what_it_does_and_keeps_the_replaced_database(
    damaged: Settings, database_url: str
):
    ordered(damaged)
    port, pages, is_over = free_port(), [], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            with suppress(httpx.TransportError):
                pages.append(httpx.get(f"http://127.0.0.1:{port}/jobs?x=1", headers={"accept-language": "de"}))
            time.sleep(0.02)

    looking = threading.Thread(target=look)
    looking.start()
    lines: list[str] = []
    listening = restore_as_asked(damaged, "127.0.0.1", port, None, lines.append)
    is_over.set()
    assert listening is not None
    # Whoever comes between two programs waits, and is not refused.
    assert os.get_inheritable(listening)
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        os.close(listening)
    looking.join(SECONDS)
    assert which(database_url) == "backed up"
    (old,) = replaced_databases(product_database_url(damaged))
    order = read_order(damaged)
    assert order is not None and (order.state, order.attempts) == ("done", 1)
    assert any(old.name in sentence for sentence in order.said)
    assert any("Putting it in the place" in line for line in lines)
    shown = {page.status_code for page in pages}, "\n".join(page.text for page in pages)
    assert shown[0] == {503} and "Eine Sicherung wird wiederhergestellt" in shown[1]
    assert "in eine neue Datenbank geschrieben" in shown[1]
    assert str(damaged.home_path) not in shown[1] and order.backup not in shown[1]
    assert all(page.headers["refresh"] == "3" for page in pages)
    # It is done once.
    run_statements(database_url, "UPDATE facts SET value = '\"new\"' WHERE name = 'which'")
    assert restore_as_asked(damaged, "127.0.0.1", port, None, lines.append) is None
    assert which(database_url) == "new"


@pytest.mark.nightly(
    reason="It restores in a process of its own.",
    instead="postgres/backup/test_dump.py::test_only_a_whole_and_harmless_dump_is_restored",
)
def test_a_damaged_backup_leaves_the_database_and_the_page_says_why(damaged: Settings, database_url: str):
    (path,) = (damaged.home_path / "backups").glob("*.sql.gz")
    path.write_bytes(path.read_bytes()[:-40])
    ordered(damaged)
    os.close(restore_as_asked(damaged, "127.0.0.1", free_port(), None, lambda _: None) or 0)
    order = read_order(damaged)
    assert order is not None and order.state == "failed" and order.said and path.name in " ".join(order.said)
    assert which(database_url) == "damaged" and not replaced_databases(product_database_url(damaged))


PROGRAM = """
import sys
from aperture_dagster.front_door.restoring import restore_as_asked
from aperture_dagster.settings import load_settings
restore_as_asked(load_settings(), "127.0.0.1", int(sys.argv[1]), None, lambda line: print(line, flush=True))
"""


@pytest.mark.nightly(
    reason="It restores twice, in processes of their own.",
    instead="postgres/test_restore.py"
    "::test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one_and_can_be_repeated",
)
@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("Putting", signal.SIGKILL),
        pytest.param("Putting", signal.SIGTERM, marks=ANOTHER_CASE),
        pytest.param("Restoring", signal.SIGKILL, marks=ANOTHER_CASE),
        pytest.param("Restoring", signal.SIGTERM, marks=ANOTHER_CASE),
    ],
)
def test_a_restore_that_is_killed_is_tried_again_and_loses_no_database(
    damaged: Settings, database_url: str, step: str, number: signal.Signals
):
    ordered(damaged)
    killed = Program(PROGRAM, str(free_port()), inside=lambda command: ["setsid", *map(str, command)])
    next(line for line in killed.lines() if line.startswith(step))
    # A container that is killed takes everything with it; a signal that ends it may reach this process alone.
    os.killpg(killed.pid, number) if number == signal.SIGKILL else killed.send_signal(number)
    killed.communicate()
    order = read_order(damaged)
    assert order is not None and order.attempts == 1
    # The last step is so short that it may have ended before the signal came.
    if order.state == "asked" or step == "Restoring":
        os.close(restore_as_asked(damaged, "127.0.0.1", free_port(), None, lambda _: None) or 0)
        order = read_order(damaged)
        assert order is not None and order.attempts == 2
    assert order.state == "done" and which(database_url) == "backed up"
    url = product_database_url(damaged)
    kept = [make_url(url).set(database=old.name, drivername="postgresql") for old in replaced_databases(url)]
    assert "damaged" in [which(old.render_as_string(hide_password=False)) for old in kept]


def test_a_restore_that_never_ends_does_not_keep_the_program_from_starting(damaged: Settings, database_url: str):
    write_order(damaged, replace(ordered(damaged), attempts=MOST_ATTEMPTS))
    assert restore_as_asked(damaged, "127.0.0.1", free_port(), 77, lambda _: None) == 77
    order = read_order(damaged)
    assert order is not None and order.state == "failed" and "cut off each time" in order.said[0]
    assert which(database_url) == "damaged"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"backup": "a"}', '{"backup": "../x", "author": "A", "asked_at": "2026-01-01T00:00:00+00:00"}',
             '{"backup": "a", "author": "A", "asked_at": "yesterday"}']
)  # fmt: skip
def test_a_file_that_is_no_order_is_none(make_settings: Callable[..., Settings], text: str):
    settings = make_settings()
    write_order(settings, RestoreOrder("a", "A", "2026-01-01T00:00:00+00:00"))
    (settings.home_path / "front-door" / "restore.json").write_text(text)
    assert read_order(settings) is None


def test_health_checks_restart_nothing_meanwhile():
    from aperture_dagster.up.health import RESTORING

    assert RESTORING == "restoring\n"
    with TestClient(restoring_page([])) as browser:
        assert browser.get("/health").text == RESTORING
        assert browser.post("/jobs/run").status_code == 503
        assert browser.get("/static/aperture.css").status_code == 200
