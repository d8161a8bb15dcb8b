"""``aperture status`` and ``aperture show`` say what is stored, and change nothing."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat
from pydantic import SecretStr
from sqlalchemy.exc import InternalError

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.main import main
from aperture_dagster.cli.show import read_names, read_page
from aperture_dagster.cli.status.document import as_document
from aperture_dagster.cli.status.page import print_status
from aperture_dagster.cli.status.reading import read_status
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.maintenance.status import find_wrong
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database, read_only
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser
from aperture_dagster_tests.clocks import redate
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.instance.conftest import external
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.waiting import SECONDS

__all__ = ["external"]

pytestmark = pytest.mark.usefixtures("isolated_dagster_instance")

NOW = datetime.now(UTC)
FILMS = [
    WorldTitle(
        f"movie:{number}", "movie", f"Film {number}", 1990 + number, tmdb_id=100 + number,
        overview=f"Story {number} of a war.", genres=("Drama", "War")[: number % 2 + 1],
    )
    for number in range(12)
]  # fmt: skip
PEOPLE = [WorldUser("Ann", is_administrator=True), WorldUser("Bob"), WorldUser("Cy", is_disabled=True)]
PLAYS = [Play("Ann", f"movie:{number}", NOW - timedelta(days=5 + number)) for number in (3, 2, 1, 0)]


def _wrong(settings: Settings) -> dict[str, str]:
    found = read_status(settings, now=datetime.now(UTC))
    return {one.subject: one.sentence for one in find_wrong(found)}


def _key_paths(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in _key_paths(one)}
    return {key for one in value for key in _key_paths(one)} if isinstance(value, list) else set()


@pytest.mark.usefixtures("external")
def test_the_status_follows_what_happens(serve: Callable[..., Any], tmp_path: Path) -> None:
    with serve(World("a home", FILMS, PEOPLE, PLAYS)) as (_, settings), dg.DagsterInstance.get() as instance:
        assert _wrong(settings).keys() == {"aperture up", "titles"}
        home = Household(settings, instance)
        home.must("sync_users")
        assert (
            not Household(settings.model_copy(update={"media_server_api_key": SecretStr("not-the-key")}), instance)
            .run("sync_movies")
            .success
        )
        wrong = _wrong(settings)
        assert wrong.keys() == {"aperture up", "media server", "titles", "sync_movies"}
        assert all("APERTURE_MEDIA_SERVER_API_KEY" in wrong[one] for one in ("media server", "sync_movies"))
        home.must("sync_movies")
        with home.database.transaction() as connection:
            execute(
                connection,
                "INSERT INTO published_libraries (list_key, media_type, name, folder, missing, changed, root, "
                "root_on_server, created_at, unverified_since) "
                "VALUES ('top_picks/movie', 'movie', 'Top Picks', 'top-picks', 0, 0, '/', '/', now(), now())",
            )
        found = read_status(settings, now=datetime.now(UTC))
        subjects = {one.subject for one in find_wrong(found)}
        assert subjects == {"aperture up"}, "newcomers have an hour, and a slow server reads for hours"
        later = find_wrong(read_status(settings, now=datetime.now(UTC) + timedelta(hours=7)))
        sentences = {one.subject: one.sentence for one in later}
        assert sentences["lists"] == "No list has been made for Ann and Bob."
        unread = "The media server has not shown what was placed in Top Picks for hours: publish again"
        assert sentences["publishing"].startswith(unread)
        # Every key that a program may rely on is documented.
        document = as_document(settings, found, find_wrong(found))
        assert json.loads(json.dumps(document))["jobs"][0]["reasons"] == []
        assert document["users"] == {"on_server": 3, "taking_part": 2, "with_list": 0, "without_list": ["Ann", "Bob"]}
        assert document["titles"]["movies"] == 12 and not document["ok"]
        described = set(re.findall(r"`(\w+)`", (PROJECT / "docs" / "status.md").read_text(encoding="utf-8")))
        assert _key_paths(document) <= described
        # What has happened, and what comes next.
        assert document["last_day"] == {"titles_added": 12, "plays": 0, "viewers": 0, "lists_changed": 0}
        assert {job["next_at"] for job in document["jobs"]} == {None}, "nobody evaluates schedules"
        for loop in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), loop, "a service", []))
        off = settings.model_copy(update={"schedules_enabled": False})
        document = as_document(off, read_status(off, now=datetime.now(UTC)), [])
        assert {job["next_at"] for job in document["jobs"]} == {None}, "all schedules are off"
        found = read_status(settings, now=datetime.now(UTC))
        # In containers nothing runs `aperture up`, and that is not wrong.
        assert "aperture up" not in {one.subject for one in find_wrong(found)}
        document = as_document(settings, found, [])
        upcoming = {job["name"]: job["next_at"] for job in document["jobs"]}
        assert upcoming["sync_movies"] > document["at"] and upcoming["send_requests"] is None
        (first, *others) = found.picks_watched
        assert [one["user"] for one in document["picks_watched"]] == ["Ann", "Ann", "Bob", "Bob", "Cy", "Cy"]
        watched = [replace(first, titles=3, picks=("Film 1", "Film 2")), *others]
        out = io.StringIO()
        print_status(settings, replace(found, picks_watched=watched), [], Terminal(out))
        assert "last 24 h   12 titles added\n" in out.getvalue()
        assert "picks, 7 d  watched: Ann 2 of 3 titles (Film 1 and Film 2)\n" in out.getvalue()
        assert "picks, 30 d" not in out.getvalue()
        assert re.search(r"✓ sync_movies +\S+ \S+, next \d{4}-\d\d-\d\d \d\d:\d\d\n", out.getvalue())
        assert re.search(r"- generate_recommendations +never ran, next", out.getvalue())
        instance.report_runless_asset_event(dg.AssetMaterialization("recommendations"))
        print_status(settings, read_status(settings, now=datetime.now(UTC)), [], Terminal(out))
        assert re.search(r"- generate_recommendations +made \S+ \S+ by other runs, next", out.getvalue())


def test_a_page_shows_the_list_or_why_there_is_none(serve: Callable[..., Any]) -> None:
    known = SimulatorSettings(omdb_unknown_share=0.0, mdblist_unknown_share=0.0)
    with serve(World("a home", FILMS, PEOPLE, PLAYS), stand_ins=known) as (_, settings):
        with instance_in_memory() as instance:
            home = Household(settings, instance)
            home.must("sync_users")
            assert read_names(settings) == ["Ann", "Bob", "Cy"]
            assert "No film or series has been read" in read_page(settings, "ann")["no_list_because"]
            home.must("sync_movies")
            home.must("sync_watch_history", users=home.everyone())
            page = read_page(settings, "Bob")
            # On a database of its own, who makes it may run elsewhere.
            why = "No list has been made for Bob yet. It comes within minutes"
            assert page["films"] == [] and page["no_list_because"].startswith(why)
            home.must("enrich_metadata")
            home.must("generate_embeddings")
            home.must("generate_recommendations", users=home.everyone())
        page = read_page(settings, "ANN", count=3)
        assert [row["rank"] for row in page["films"]] == [1, 2, 3]
        assert page["no_list_because"] is None and all(row["reason"] for row in page["films"])
        described = set(re.findall(r"`(\w+)`", (PROJECT / "docs" / "status.md").read_text(encoding="utf-8")))
        assert _key_paths(page) <= described
        assert "disabled" in read_page(settings, "Cy")["no_list_because"]
        excluded = settings.model_copy(update={"exclude_users": ("bob",)})
        assert read_page(excluded, "Bob")["takes_part"] is False
        with pytest.raises(OperatorError, match=r"No user is called 'Anm'\. Did you mean Ann"):
            read_page(settings, "Anm")


@pytest.mark.parametrize("command", [["status"], ["show", "ann"], ["show"]])
def test_looking_into_an_empty_home_creates_nothing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("APERTURE_HOME", "DAGSTER_HOME"):
        # Restored afterwards: the command changes them.
        monkeypatch.setenv(name, str(tmp_path / "home"))
    result = CliRunner().invoke(main, [*command, "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "There is nothing in" in said and "Run `aperture demo`" in said
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_uses_a_home_can_be_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            yield path, command
            return
        for name, one in command.commands.items():
            yield from leaves(one, f"{path} {name}".strip())

    without = {path for path, one in leaves(main, "") if all(param.name != "home" for param in one.params)}
    assert without == {"simulate", "crowd build"}
    # So that it is as before afterwards.
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "another"))
    listed = CliRunner().invoke(main, ["backup", "list", "--json", "--home", str(tmp_path / "home")])
    assert listed.exit_code == 1 and json.loads(listed.stdout) == []
    assert f"There is no proven backup in {tmp_path / 'home' / 'backups'}" in listed.stderr


def test_an_installed_package_looks_where_it_is_told_with_the_settings_from_there(tmp_path: Path):
    shutil.copytree(
        PROJECT / "aperture_dagster", tmp_path / "package" / "aperture_dagster",
        ignore=shutil.ignore_patterns("*.pyc", "*.npz", "*.gz"),
    )  # fmt: skip
    account, home = tmp_path / "account", tmp_path / "home"
    account.mkdir()
    home.mkdir()
    (home / ".env").write_text("APERTURE_MEDIA_SERVER_URL=http://films.example\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("APERTURE_", "DAGSTER_"))}
    # No terminal needs to know all characters.
    clean |= {"PYTHONPATH": str(tmp_path / "package"), "HOME": str(account), "PYTHONIOENCODING": "ascii"}
    clean["XDG_DATA_HOME"] = str(account)
    command = [sys.executable, "-P", "-m", "aperture_dagster.cli.main", "status", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=account, env=clean, check=False, timeout=SECONDS)
    assert done.returncode == 1 and "http://films.example" in done.stdout and "the demo" not in done.stdout
    assert "Traceback" not in done.stderr
    assert list(account.iterdir()) == []


def test_reading_neither_writes_nor_migrates(settings: Settings, database: Database):
    with database.transaction() as connection:
        execute(connection, "UPDATE alembic_version SET version_num = 'v99'")
    with pytest.raises(DatabaseError, match="has the schema v99"), read_only(settings):
        pass
    with database.transaction() as connection:
        assert read_value(connection, "SELECT version_num FROM alembic_version") == "v99"
        execute(connection, f"UPDATE alembic_version SET version_num = '{HEAD_REVISION}'")
    with read_only(settings) as connection, pytest.raises(InternalError, match="read-only"):
        execute(connection, "DELETE FROM users")


@pytest.mark.nightly(
    reason="A household whose clock was ahead.",
    instead="cli/test_clock.py",
)
@pytest.mark.usefixtures("external")
def test_status_and_doctor_say_in_one_sentence_what_a_clock_that_was_ahead_has_written(
    serve: Callable[..., Any],
) -> None:
    with serve(World("a home", FILMS, PEOPLE, PLAYS)) as (_, settings), dg.DagsterInstance.get() as instance:
        home = Household(settings, instance)
        read_server(home)
        now = datetime.now(UTC)

        def status() -> tuple[list[str], str]:
            found = read_status(settings, now=now)
            print_status(settings, found, find_wrong(found), Terminal(file := io.StringIO()))
            return [one.what for one in found.dated_in_future], file.getvalue()

        assert status()[0] == [] and "in the future" not in status()[1]
        before = _wrong(settings)
        redate(home.database, timedelta(days=365), "users", "titles")
        tables, text = status()
        assert tables == ["titles", "users"]
        words = " ".join(text.split())
        assert "! clock: Dated up to 365 days in the future: titles (12) and users (3). The clock was ahead" in words
        assert "run `aperture clock`" in words
        # A newcomer who has such a date does not remain one for a year.
        assert _wrong(settings).keys() - before.keys() == {"lists", "backups"}
        (finding,) = examine(settings, ["clock"])
        assert finding.state == "warning" and finding.message.startswith("Dated up to 365 days in the future")
        redate(home.database, timedelta(days=-365), "users", "titles")
        (finding,) = examine(settings, ["clock"])
        assert (finding.state, finding.message) == ("ok", "nothing is dated in the future")


def test_the_doctor_compares_the_clock_with_that_of_the_database(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "now", lambda _: datetime.now(UTC) - timedelta(hours=4))
    findings = list(examine(settings, ["clock"]))
    assert findings[0].state == "failed" and "are 4 h apart" in findings[0].message
