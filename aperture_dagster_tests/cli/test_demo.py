"""Demos clean up after themselves and never touch the operator's services, keys or home."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import dagster as dg
import httpx
import pytest
from click.testing import CliRunner
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from aperture_dagster.cli import up
from aperture_dagster.cli.cycle import run_one
from aperture_dagster.cli.homes import SERVED, demo_home, point_at, settings_to_act_with
from aperture_dagster.cli.main import main
from aperture_dagster.cli.stand_ins import StandIns
from aperture_dagster.jobs import Job
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings, environment_names, secret_names
from aperture_dagster.settings.home import env_file
from aperture_dagster.simulator.settings import VOLUME
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.processes import all_gone
from aperture_dagster_tests.programs import Program

KEEP = """
import sys
from aperture_dagster.cli.stand_ins import StandIns
with StandIns(users=1).running() as (_, environment):
    print(environment["APERTURE_MEDIA_SERVER_URL"], flush=True)
    sys.stdin.readline()
"""


def test_the_stand_ins_of_a_killed_demo_stop_and_leave_no_file(tmp_path: Path):
    demo = Program(KEEP, environment=os.environ | {"TMPDIR": str(tmp_path)}, folder=PROJECT)
    url = demo.readline().strip()
    assert httpx.get(f"{url}/System/Info/Public").is_success
    demo.kill()
    demo.communicate()
    assert all_gone(tmp_path)
    with pytest.raises(httpx.ConnectError):
        # The system may still be closing the port, and reset one connection.
        with contextlib.suppress(httpx.ReadError):
            httpx.get(f"{url}/System/Info/Public")
        httpx.get(f"{url}/System/Info/Public")
    assert list(tmp_path.iterdir()) == []


def test_the_media_server_sees_the_published_folder_and_keeps_a_library_for_the_next_time(tmp_path: Path):
    state = tmp_path / "stand-ins.json"
    with StandIns("odd", server="emby").running(lists=tmp_path, state=state) as (_, environment):
        url = environment["APERTURE_MEDIA_SERVER_URL"]
        assert environment["APERTURE_MEDIA_SERVER_TYPE"] == "emby"
        headers = {"X-Emby-Token": environment["APERTURE_MEDIA_SERVER_API_KEY"]}
        statuses = []
        for folder in (VOLUME, str(tmp_path)):
            sent = {"Name": "Lists", "LibraryOptions": {"PathInfos": [{"Path": folder}]}}
            statuses.append(httpx.post(f"{url}/Library/VirtualFolders", json=sent, headers=headers).status_code)
        assert statuses == [204, 400]
    assert state.stat().st_mode & 0o777 == 0o600
    with StandIns("odd", server="emby").running(lists=tmp_path, state=state) as (_, environment):
        url = environment["APERTURE_MEDIA_SERVER_URL"]
        libraries = httpx.get(f"{url}/Library/VirtualFolders/Query", headers=headers).json()["Items"]
        assert "Lists" in [one["Name"] for one in libraries]


def test_stand_ins_that_cannot_start_raise_an_error_with_the_reason():
    with pytest.raises(OperatorError, match="unknown world 'nowhere'"), StandIns("nowhere").running():
        pass


def test_a_demo_has_its_own_folder_in_the_operators_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
    assert demo_home(None) == tmp_path / "demo"
    assert demo_home(None, "emby") == tmp_path / "demo-emby"
    assert demo_home(None, "jellyfin@10.11") == tmp_path / "demo-jellyfin-10.11"
    assert demo_home(str(tmp_path / "named")) == tmp_path / "named"


@pytest.mark.parametrize(
    ("configured", "served"),
    [
        # A demo once ran there. The missing address is a mistake, which must not be hidden.
        (
            {"APERTURE_MEDIA_SERVER_API_KEY": "hush"},
            '{"world": "demo", "users": null, "server": "emby", "address": "x"}',
        ),
        # The operator's home, seen without the file `.env` that names the media server.
        ({}, None),
        ({}, "{"),
    ],
)
def test_no_command_takes_a_home_for_that_of_a_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: dict[str, str], served: str | None
):
    """What was published for real would be compared with the stand-ins, and removed."""
    for name, value in {"APERTURE_HOME": str(tmp_path), "DAGSTER_HOME": str(PROJECT), **configured}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "postgres").mkdir()
    if served is not None:
        (tmp_path / SERVED).write_text(served)
    for home in (None, str(tmp_path)):
        with settings_to_act_with(home) as settings:
            assert settings.home_path == tmp_path
            assert settings.media_server_url is None and not settings.publish
    said = CliRunner().invoke(main, ["unpublish", "--yes"])
    assert said.exit_code == 1 and said.output.startswith("Error: APERTURE_MEDIA_SERVER_URL is not set")
    monkeypatch.setattr("aperture_dagster.cli.doctor.command.examine", lambda _: [])
    assert f"Examined {tmp_path}" in CliRunner().invoke(main, ["doctor"]).output.replace("\n", "")


@pytest.mark.parametrize("name", ["APERTURE_DATABASE_URL", "aperture_database_url", "Aperture_Database_Url"])
def test_a_demo_ignores_a_configured_database_whatever_the_case_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    for variable in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv(name, "postgresql://ann@films.example/films")
    monkeypatch.setenv("APERTURE_EMBEDDER", "openai")
    settings = point_at({}, tmp_path / "demo")
    assert settings.database_url is None
    assert settings.embedder == "static", "a demo must not cost the operator money"
    assert settings.home_path == tmp_path / "demo"


def test_a_demo_ignores_every_key_and_address_of_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in secret_names():
        monkeypatch.setenv(environment_names(name)[-1], '{"X-Key": "hush"}')
    for service in ("MEDIA_SERVER", "TMDB", "OMDB", "MDBLIST", "EMBEDDER"):
        monkeypatch.setenv(f"APERTURE_{service}_URL", "http://films.example")
    monkeypatch.setenv("APERTURE_INCLUDE_USERS", "ann")
    monkeypatch.setenv("APERTURE_DISCOVERY_PER_LIST", "3")
    # Also those in a file that is read later.
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / ".env").write_text("TMDB_API_KEY=hush\nAPERTURE_DATABASE_URL=postgresql://films.example/x\n")
    monkeypatch.setattr("aperture_dagster.settings.env_file", env_file)
    settings = point_at({}, tmp_path / "demo")
    assert settings.secret_values() == []
    assert "films.example" not in repr(settings)
    assert settings.include_users == ()
    assert settings.discovery_per_list == 3, "settings without access to real services are kept"


def test_a_run_of_the_demo_belongs_to_its_job_in_the_ui(settings: Settings):
    """The UI looks for the runs of a job by the name of the repository that holds it."""

    @dg.asset
    def films() -> None: ...

    job = Job("sync_films", "Read films.", ("films",))
    built = job.build(description=job.description)
    definitions = dg.Definitions([films], jobs=[built], executor=dg.in_process_executor)
    label = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(up.LOCATION), "__repository__").get_label()
    with instance_in_memory() as instance:
        run_one(definitions, instance, job, settings)
        (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_films", tags={".dagster/repository": label}))
        assert run.is_success
