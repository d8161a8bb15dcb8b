"""`aperture up` says at once what is wrong, and starts unless it cannot work at all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from aperture_dagster.cli import up as up_module
from aperture_dagster.cli.main import main
from aperture_dagster.cli.requirements import family_of, require_free_port
from aperture_dagster.cli.up import _check_the_rest, _lock_home
from aperture_dagster.files import locks
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup import folder as folder_module
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.simulator.world import World
from aperture_dagster.up.files import UpFiles
from aperture_dagster.up.plan import Ui

CHECKED = ["home", "media server"]


def test_a_refused_key_is_one_warning_with_its_remedy(serve: Callable[..., Any]) -> None:
    with serve(World("a library", [])) as (_, settings):
        assert {one.what for one in _check_the_rest(settings, CHECKED)} == {"settings", "dagster", *CHECKED}
        wrong = settings.model_copy(update={"media_server_api_key": SecretStr("wrong-key")})
        *_, home, server = _check_the_rest(wrong, CHECKED)
    assert home.state == "ok"
    assert server.state == "failed" and "APERTURE_MEDIA_SERVER_API_KEY" in server.message
    assert "wrong-key" not in server.message


def test_a_server_that_does_not_answer_holds_the_start_up_for_seconds_only(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_module, "CHECK_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = make_settings(media_server_url=address, media_server_api_key="key")
        found = _check_the_rest(settings, CHECKED)
    assert found[-1].state == "warning" and address in found[-1].message


def test_the_settings_say_where_the_ui_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.2", 0)) as used:
        port = used.getsockname()[1]
        monkeypatch.setenv("APERTURE_UI_HOST", "127.0.0.2")
        monkeypatch.setenv("APERTURE_UI_PORT", str(port))
        result = CliRunner().invoke(main, ["up", "--demo"])
    assert result.exit_code == 1
    assert f"Port {port} on 127.0.0.2 is in use" in result.output
    assert not (tmp_path / "home").exists()


def test_an_env_file_of_another_home_has_no_effect_on_the_parts(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster lets the one in its working folder win over the environment."""
    home, elsewhere = make_settings().home_path, tmp_path / "elsewhere"
    for folder, name in ((home, "Ours"), (elsewhere, "Theirs")):
        UpFiles.of_home(folder).folder.mkdir(parents=True, exist_ok=True)
        (folder / ".env").write_text(f"APERTURE_BACKUP_KEEP={len(name)}\n")
    monkeypatch.setenv("APERTURE_HOME", str(home))
    monkeypatch.setenv("APERTURE_BACKUP_KEEP", "4")

    def working_folder(started_in: Path) -> str | None:
        monkeypatch.chdir(started_in)
        return up_module._plan(load_settings(), Ui("127.0.0.1", 3000), 0, None, []).folder

    assert working_folder(elsewhere) == str(UpFiles.of_home(home).folder)
    assert working_folder(home) is None and working_folder(tmp_path) is None


def test_a_demo_without_a_sign_in_is_not_open_to_the_network(
    make_settings: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.10"):
        assert up_module._host_of_demo(None, make_settings(ui_host=host)) == "127.0.0.1"
        assert f"APERTURE_UI_HOST={host} is ignored" in capsys.readouterr().out
        with pytest.raises(click.UsageError, match="no sign-in"):
            up_module._host_of_demo(host, make_settings())
    for host in ("127.0.0.1", "::1", "127.0.0.2", "localhost"):
        assert up_module._host_of_demo(host, make_settings(ui_host="0.0.0.0")) == host
        assert up_module._host_of_demo(None, make_settings(ui_host=host)) == host


@pytest.mark.parametrize(("options", "said"), [("--demo", "leave --host 0.0.0.0 out"), ("--world odd", "need --demo")])
def test_a_demo_for_other_machines_is_refused_before_anything_starts(
    options: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(main, ["up", *options.split(), "--host", "0.0.0.0", "--port", "0"])
    assert result.exit_code == 2 and said in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:3000"), ("0.0.0.0", "http://127.0.0.1:3000"), ("::", "http://[::1]:3000")],
)
def test_the_address_of_the_ui_is_one_that_a_browser_can_open(host: str, address: str) -> None:
    assert Ui(host, 3000).address == address
    # What is open to other machines is said, with its danger.
    assert ("unencrypted" in up_module._ready(Ui(host, 3000))) == (host != "127.0.0.1")


def test_in_a_container_it_is_the_address_that_the_settings_give_to_its_host(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(ui_host="192.168.1.5", ui_port=3100)
    monkeypatch.setattr(folder_module, "CONTAINER_FILES", ())
    assert up_module._ui("0.0.0.0", 3000, settings).address == "http://127.0.0.1:3000"
    monkeypatch.setattr(folder_module, "CONTAINER_FILES", (tmp_path,))
    published = up_module._ui("0.0.0.0", 3000, settings)
    assert published.address == "http://192.168.1.5:3100"
    assert "publishes port 3000 of this container" in up_module._ready(published)
    assert up_module._ui("127.0.0.1", 3000, settings).address == "http://127.0.0.1:3000"


def test_a_home_that_is_in_use_is_noticed_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    lock = UpFiles.of_home(tmp_path / "home" / "demo").lock
    lock.parent.mkdir(parents=True)
    with locks.exclusive(lock):
        # A world that the stand-ins would refuse.
        result = CliRunner().invoke(main, ["up", "--demo", "--world", "nowhere", "--port", "0"])
    assert result.exit_code == 1
    assert f"already running on {tmp_path / 'home' / 'demo'}" in " ".join(result.output.split())
    assert list((tmp_path / "home" / "demo").iterdir()) == [lock.parent]


def test_a_home_that_is_in_use_is_named_rather_than_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://127.0.0.1:1")
    files = UpFiles.of_home(tmp_path)
    files.folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as used, locks.exclusive(files.lock):
        port = used.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        state = {"pid": 4321, "address": address, "stopping": False}
        for known, told in (({}, "starting or stopping"), (state, f"its UI is at {address}, process 4321")):
            files.state.write_text(json.dumps(known))
            result = CliRunner().invoke(main, ["up", "--port", str(port)])
            said = " ".join(result.output.split())
            assert result.exit_code == 1 and f"already running on {tmp_path} ({told}" in said and "Ctrl-C" in said
    # A state that was left behind proves nothing.
    result = CliRunner().invoke(main, ["up", "--port", str(port), "--host", "203.0.113.1"])
    assert "already running" not in result.output and "Cannot listen on 203.0.113.1" in result.output


@pytest.mark.parametrize("command", ["demo", "up --demo --port 0"])
def test_a_world_that_does_not_exist_leaves_no_home_behind(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"APERTURE_HOME": str(tmp_path / "home")})
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--world", "nowhere"])
    assert ended.value.code == 1 and "unknown world 'nowhere'" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_in_use_is_noticed_on_either_kind_of_address(host: str) -> None:
    with socket.create_server((host, 0), family=family_of(host)) as used:
        port = used.getsockname()[1]
        with pytest.raises(OperatorError, match=f"Port {port} on {host} is in use"):
            require_free_port(host, port, "aperture up")
    require_free_port(host, port, "aperture up")


def test_of_two_commands_that_start_at_once_on_a_home_one_is_refused(tmp_path: Path):
    """Both have looked at the lock before either took it."""
    lock = _lock_home(tmp_path)
    try:
        with pytest.raises(OperatorError, match="already running"):
            _lock_home(tmp_path)
    finally:
        locks.release(lock)
    locks.release(_lock_home(tmp_path))
