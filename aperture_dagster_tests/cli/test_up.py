"""`aperture up` says at once what is wrong, and starts unless it cannot work at all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from aperture_dagster.cli import up as up_module
from aperture_dagster.cli.main import main
from aperture_dagster.cli.parts import Ui
from aperture_dagster.cli.up import _check_the_rest
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.world import World

CHECKED = ["home", "media server"]


def test_a_refused_key_is_one_warning_with_its_remedy(serve: Callable[..., Any]) -> None:
    with serve(World("a library", [])) as (_, settings):
        assert [one.what for one in _check_the_rest(settings, CHECKED)] == CHECKED
        wrong = settings.model_copy(update={"media_server_api_key": SecretStr("wrong-key")})
        home, server = _check_the_rest(wrong, CHECKED)
    assert home.state == "ok"
    assert server.state == "failed" and "APERTURE_MEDIA_SERVER_API_KEY" in server.message
    assert "wrong-key" not in server.message


def test_a_server_that_does_not_answer_holds_the_start_up_for_seconds_only(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_module, "CHECK_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = make_settings(media_server_url=address, media_server_api_key="key")
        found = _check_the_rest(settings, CHECKED)
    assert found[-1].state == "warning" and address in found[-1].message


def test_the_settings_say_where_the_ui_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_CONFIG", "/dev/null")
    with socket.create_server(("127.0.0.2", 0)) as used:
        port = used.getsockname()[1]
        monkeypatch.setenv("APERTURE_UI_HOST", "127.0.0.2")
        monkeypatch.setenv("APERTURE_UI_PORT", str(port))
        result = CliRunner().invoke(main, ["up", "--demo"])
    assert result.exit_code == 1
    assert f"Port {port} on 127.0.0.2 is in use" in result.output
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:3000"), ("0.0.0.0", "http://127.0.0.1:3000"), ("::", "http://[::1]:3000")],
)
def test_the_address_of_the_ui_is_one_that_a_browser_can_open(host: str, address: str) -> None:
    assert Ui(host, 3000, "aperture").address == address
