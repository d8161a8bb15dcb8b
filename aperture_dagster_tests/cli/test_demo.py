"""Demos clean up after themselves and never touch the operator's services, keys or home."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from aperture_dagster.cli.demo import demo_home, point_at
from aperture_dagster.cli.stand_ins import StandIns
from aperture_dagster.errors import OperatorError
from aperture_dagster.settings import environment_names, secret_names
from aperture_dagster.simulator.environment import VOLUME
from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone

KEEP = """
import sys
from aperture_dagster.cli.stand_ins import StandIns
with StandIns(users=1).running() as (_, environment):
    print(environment["APERTURE_MEDIA_SERVER_URL"], flush=True)
    sys.stdin.readline()
"""


def test_the_stand_ins_of_a_killed_demo_stop_and_leave_no_file(tmp_path: Path):
    environment = os.environ | {"APERTURE_CONFIG": os.devnull, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", KEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        env=environment,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        url = demo.stdout.readline().strip()
        assert httpx.get(f"{url}/System/Info/Public").is_success
        demo.send_signal(signal.SIGKILL)
        demo.communicate()
    assert all_gone(tmp_path)
    with pytest.raises(httpx.ConnectError):
        # The system may still be closing the port, and reset one connection.
        with contextlib.suppress(httpx.ReadError):
            httpx.get(f"{url}/System/Info/Public")
        httpx.get(f"{url}/System/Info/Public")
    assert list(tmp_path.iterdir()) == []


def test_the_stand_ins_stop_at_the_end_of_the_block():
    with StandIns("odd").running() as (_, environment):
        url = environment["APERTURE_MEDIA_SERVER_URL"]
        assert httpx.get(f"{url}/System/Info/Public").is_success
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/System/Info/Public")


@pytest.mark.parametrize(("server", "version"), [("jellyfin@10.10", "10.10.7"), ("emby", "4.8.11.0")])
def test_the_media_server_has_a_version_and_sees_the_published_folder(tmp_path: Path, server: Any, version: str):
    with StandIns("odd", server=server).running(lists=tmp_path) as (_, environment):
        url = environment["APERTURE_MEDIA_SERVER_URL"]
        assert httpx.get(f"{url}/System/Info/Public").json()["Version"] == version
        assert environment["APERTURE_MEDIA_SERVER_TYPE"] == server.partition("@")[0]
        headers = {"X-Emby-Token": environment["APERTURE_MEDIA_SERVER_API_KEY"]}
        statuses = []
        for folder in (VOLUME, str(tmp_path)):
            body = {"Name": "Lists", "LibraryOptions": {"PathInfos": [{"Path": folder}]}}
            sent = body if server == "emby" else {"LibraryOptions": body["LibraryOptions"]}
            query = {} if server == "emby" else {"name": "Lists"}
            answer = httpx.post(f"{url}/Library/VirtualFolders", params=query, json=sent, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [204, 400]


@pytest.mark.e2e
@pytest.mark.nightly(
    reason="Two whole demos, in processes of their own.",
    instead="e2e/test_demo_and_up.py::test_a_demo_publishes_every_list_and_sums_up_what_it_made",
)
@pytest.mark.parametrize("server", ["emby"])
def test_a_demo_publishes_every_list_and_a_second_one_changes_nothing(tmp_path: Path, server: str):
    home, summary = tmp_path / "home", tmp_path / "summary.json"
    world = "generated:movies=30,series=4,episodes=16,users=2,plays=60"
    command = [sys.executable, "-m", "aperture_dagster.cli.main", "demo", "--home", str(home), "--world", world]
    command += ["--server", server, "--summary", str(summary)]
    for run in (1, 2):
        done = subprocess.run(
            command, env=environment(home), cwd=PROJECT, capture_output=True, text=True, timeout=300
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(summary.read_text(encoding="utf-8"))
        published = result["published"]
        for user, entries in result["recommendations"].items():
            for media_type, name in (("movie", "Movies"), ("series", "TV Series")):
                expected = sum(one["media_type"] == media_type for one in entries)
                library = published.get(f"{user}'s AI Picks - {name}", {"type": "library", "users": [user]})
                assert (library["type"], library["users"]) == ("library", [user])
                assert library.get("entries", 0) == expected
        assert published["Top Picks - Movies"]["users"] == sorted(result["recommendations"])
        assert published["Top Picks - Movies"]["entries"] == len(result["top_picks"]["movie"])
        changed = {one["changed"] for one in published.values()}
        assert changed == {0} if run == 2 else 0 not in changed
        assert f"{len(published)} libraries on the media server" in " ".join(done.stdout.split())
        assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stdout, "control sequences in a pipe"
    assert all_gone(tmp_path)


def test_stand_ins_that_cannot_start_raise_an_error_with_the_reason():
    with pytest.raises(OperatorError, match="unknown world 'nowhere'"), StandIns("nowhere").running():
        pass


def test_a_demo_has_its_own_folder_in_the_operators_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
    assert demo_home(None) == tmp_path / "demo"
    assert demo_home(None, "emby") == tmp_path / "demo-emby"
    assert demo_home(None, "jellyfin@10.11") == tmp_path / "demo-jellyfin-10.11"
    assert demo_home(str(tmp_path / "named")) == tmp_path / "named"


@pytest.mark.parametrize("name", ["APERTURE_DATABASE_URL", "aperture_database_url", "Aperture_Database_Url"])
def test_a_demo_ignores_a_configured_database_whatever_the_case_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    for variable in ("APERTURE_HOME", "APERTURE_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv(name, "postgresql://ann@films.example/films")
    monkeypatch.setenv("APERTURE_EMBEDDER", "openai")
    settings = point_at({}, tmp_path / "demo")
    assert settings.database_url is None
    assert settings.embedder == "static", "a demo must not cost the operator money"
    assert settings.home_path == tmp_path / "demo"


def test_a_demo_ignores_every_key_and_address_of_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("APERTURE_HOME", "APERTURE_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in secret_names():
        monkeypatch.setenv(environment_names(name)[-1], '{"X-Key": "hush"}')
    for service in ("MEDIA_SERVER", "TMDB", "OMDB", "MDBLIST", "EMBEDDER"):
        monkeypatch.setenv(f"APERTURE_{service}_URL", "http://films.example")
    monkeypatch.setenv("APERTURE_DAGSTER_DATABASE_URL_FILE", "/run/secrets/database")
    monkeypatch.delenv("APERTURE_DAGSTER_DATABASE_URL")
    monkeypatch.setenv("APERTURE_INCLUDE_USERS", "ann")
    monkeypatch.setenv("APERTURE_TOP_PICKS_PER_LIST", "3")
    settings = point_at({}, tmp_path / "demo")
    assert settings.secret_values() == []
    assert "films.example" not in repr(settings)
    assert settings.include_users == ()
    assert settings.top_picks_per_list == 3, "settings without access to real services are kept"
