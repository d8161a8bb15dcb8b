"""Commands reject wrong options with one sentence that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from aperture_dagster.cli.main import main


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APERTURE_HOME", "APERTURE_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("dmeo", "No such command 'dmeo'"),
        ("demo --wrld odd", "--wrld"),
        ("demo --users 0", "--users"),
        ("demo --server plex", "'plex' is not one of 'jellyfin', 'jellyfin@10.9'"),
        ("demo --summary /nowhere/summary.json", "the folder of /nowhere/summary.json does not exist"),
        ("up --port 65536", "65536 is not in the range"),
        ("up --world odd", "need --demo"),
        ("up --users 3", "need --demo"),
        ("up --server emby", "need --demo"),
        ("up --port none", "'none' is not a valid integer"),
        ("simulate --world nowhere --port 0", "unknown world 'nowhere'"),
        ("doctor now", "unexpected extra argument"),
    ],
)
def test_a_wrong_option_is_named_in_one_sentence(command: str, words: str, tmp_path: Path):
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 2
    message = result.output.strip().splitlines()[-1]
    assert words in message
    assert "Traceback" not in result.output
    assert not (tmp_path / "home").exists(), "a refused command leaves nothing behind"


@pytest.mark.parametrize("command", ["demo", "up", "doctor", "simulate"])
def test_every_command_and_option_has_a_help_text(command: str):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    for parameter in main.commands[command].params:
        assert getattr(parameter, "help", None), f"{command} {parameter.name}"
