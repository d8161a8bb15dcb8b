"""Commands reject wrong options with a sentence that names the option; `aperture alert test` names each address."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.inbox import TOKEN, Inbox, open_inbox
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.programs import Program


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("dmeo", "No such command 'dmeo'. Did you mean 'demo'?"),
        ("statsu", "Did you mean 'status'?"),
        ("status --jsno", "Did you mean '--json'?"),
        ("demo --wrld odd", "--wrld"),
        ("demo --users 0", "--users"),
        ("demo --server plex", "'plex' is not one of 'jellyfin', 'jellyfin@10.9'"),
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


@pytest.mark.parametrize("command", ["demo", "up", "doctor", "status", "show", "simulate"])
def test_every_command_and_option_has_a_help_text(command: str):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    for parameter in main.commands[command].params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), f"{command} {parameter.name}"


def test_the_help_begins_with_what_a_newcomer_needs_and_lists_every_command():
    result = CliRunner().invoke(main, ["--help"])
    listed = [line.split()[0] for line in result.output.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    places = [result.output.index(f"\n  {name} ") for name in ("demo", "up", "doctor", "status", "show", "backup")]
    assert places == sorted(places)
    assert set(main.commands) <= set(listed)
    assert "..." not in result.output.partition("\n")[2], "a cut-off sentence"


@pytest.mark.parametrize(
    ("server", "version"), [pytest.param("emby", "4.8.11.0", marks=ANOTHER_CASE), ("jellyfin@10.10", "10.10.7")]
)
def test_the_stand_ins_alone_play_any_media_server(server: str, version: str):
    program = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
    simulator = Program(program, "simulate", "--server", server, "--world", "odd", "--port", "0", folder=PROJECT)
    root = simulator.readline().removeprefix("simulator: ").strip()
    info = httpx.get(f"{root}/{server.partition('@')[0]}/System/Info/Public").json()
    simulator.send_signal(signal.SIGTERM)
    simulator.communicate()
    assert info["Version"] == version


# Whether messages reach each address


def run(monkeypatch: pytest.MonkeyPatch, urls: str) -> Result:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("APERTURE_ALERT_URLS", urls)
    return CliRunner().invoke(main, ["alert", "test"])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_each_address_gets_a_message_and_its_line(monkeypatch: pytest.MonkeyPatch, inbox: Inbox):
    with open_inbox() as second:
        done = run(monkeypatch, f"{inbox.url} {second.url}")
        assert done.exit_code == 0, done.output
        assert lines(done) == ["✓ json://127.0.0.1/… sent"] * 2
        assert inbox.titles == second.titles == ["Aperture: a test"]


def test_one_that_fails_is_named_without_its_secrets_and_is_an_error(monkeypatch: pytest.MonkeyPatch, inbox: Inbox):
    with open_inbox() as second:
        second.status = 401
        done = run(monkeypatch, f"{inbox.url} {second.url} jsonn://example.org/{TOKEN}")
    assert done.exit_code == 1
    good, refused, wrong = lines(done)
    assert "✓" in good and "sent" in good
    assert "✗ json://127.0.0.1/… not sent: " in refused and "error=401" in refused
    assert "✗ jsonn://example.org/… not sent: it is not an address that apprise understands" in wrong
    assert TOKEN not in done.output
    assert inbox.titles == ["Aperture: a test"]


def test_without_an_address_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    done = run(monkeypatch, "")
    assert done.exit_code == 1
    assert "APERTURE_ALERT_URLS is not set" in done.output
