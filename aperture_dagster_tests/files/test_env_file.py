"""`.env` is changed without losing what a person wrote, and what is written is what the settings read."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from aperture_dagster.files import locks
from aperture_dagster.files.env_file import LOCK, change_env_file, read_env_file
from aperture_dagster.files.private import FileError, prepare_home
from aperture_dagster.settings import (
    environment_outside,
    load_settings,
    settings_set_outside,
)
from aperture_dagster.settings.given import Given, given_settings
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS

WRITTEN = """# Our household
APERTURE_TIMEZONE=Europe/Berlin   # where we live

export APERTURE_HTTP_ATTEMPTS=3
UNKNOWN='kept "as" it is'  # who knows
# APERTURE_UI_PORT=3100
APERTURE_HTTP_ATTEMPTS = "4" # twice, it's "so"
LAST=1"""
VALUES = [
    "", "plain", "a b", " lead and trail ", "#first", "a #b", "it's", 'say "x"', "'", '"', "\\", "ends\\", "'\\",
    "\"'\\ #", "$HOME", "${HOME}", "${HOME:-x}${", "$${", '{"Authorization": "Basic x\'y="}', "\\n", "a\nb\r\n",
    "\t", "ü€", "=", "a=b",
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home whose `.env` is read; what loading it adds to the environment is undone."""
    monkeypatch.setattr("aperture_dagster.settings.env_file", lambda: tmp_path / ".env")
    monkeypatch.setattr(os, "environ", os.environ | {"APERTURE_HOME": str(tmp_path)})
    return tmp_path


def test_comments_order_and_unknown_lines_stay(tmp_path: Path):
    path = tmp_path / ".env"
    path.write_text(WRITTEN)
    path.chmod(0o644)
    changes = {"APERTURE_TIMEZONE": "UTC", "APERTURE_HTTP_ATTEMPTS": "5", "TMDB_API_KEY": "new", "LAST": None}
    change_env_file(path, changes)
    assert (
        path.read_text()
        == """# Our household
APERTURE_TIMEZONE=UTC   # where we live

UNKNOWN='kept "as" it is'  # who knows
# APERTURE_UI_PORT=3100
APERTURE_HTTP_ATTEMPTS = 5 # twice, it's "so"
TMDB_API_KEY=new
"""
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    change_env_file(path, {"aperture_timezone": None, "TMDB_API_KEY": "it's # 1"})
    assert read_env_file(path) == {
        "UNKNOWN": 'kept "as" it is',
        "APERTURE_HTTP_ATTEMPTS": "5",
        "TMDB_API_KEY": "it's # 1",
    }


def test_line_ends_of_another_system_stay(tmp_path: Path):
    (tmp_path / ".env").write_bytes(b"A=1\r\nB=2 # two\r\n")
    change_env_file(tmp_path / ".env", {"B": "3"})
    assert (tmp_path / ".env").read_bytes() == b"A=1\r\nB=3 # two\r\n"


def test_whatever_is_written_comes_back_through_the_settings(home: Path, monkeypatch: pytest.MonkeyPatch):
    for value in VALUES:
        change_env_file(home / ".env", {"TMDB_API_KEY": value, "AFTER": "'\""})
        change_env_file(home / ".env", {"OMDB_API_KEY": value})
        assert read_env_file(home / ".env") == {"TMDB_API_KEY": value, "AFTER": "'\"", "OMDB_API_KEY": value}
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", dict(os.environ))
            settings = load_settings()
            for key in (settings.tmdb_api_key, settings.omdb_api_key):
                assert (key.get_secret_value() if key else "") == value.strip()
    with pytest.raises(ValueError, match="no line"):
        change_env_file(home / ".env", {"A": "a\0b"})
    with pytest.raises(ValueError, match="no line"):
        change_env_file(home / ".env", {"A B": "x"})


def test_what_is_not_ours_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, elsewhere = tmp_path / ".env", tmp_path / "elsewhere"
    elsewhere.write_text("A=1\n")
    path.symlink_to(elsewhere)
    with pytest.raises(FileError, match="is a link"):
        change_env_file(path, {"A": "2"})
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match="not a file"):
        change_env_file(path, {"A": "2"})
    path.rmdir()
    for content, words in ((b"A=1\nwhat is this\n", "line 2"), (b"A=\xff\n", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(FileError, match=words):
            change_env_file(path, {"A": "2"})
        assert path.read_bytes() == content
    path.write_text("A=1\n")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(FileError, match="user that this program runs as"):
        change_env_file(path, {"A": "2"})
    assert elsewhere.read_text() == path.read_text() == "A=1\n"


def test_one_process_writes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / ".env"
    threads = [
        threading.Thread(target=lambda n=n: [change_env_file(path, {f"A{n}": str(i)}) for i in range(10)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert read_env_file(path) == {f"A{n}": "9" for n in range(4)}
    monkeypatch.setattr("aperture_dagster.files.env_file.LOCK_SECONDS", 0.1)
    with locks.exclusive(tmp_path / LOCK), pytest.raises(FileError, match="another process"):
        change_env_file(path, {"A0": "10"})
    assert read_env_file(path)["A0"] == "9"


KILLED = """
import sys
from pathlib import Path
from aperture_dagster.files import env_file
from aperture_dagster_tests.killing import die_at
die_at(*{"fsync": ("os", "fsync"), "replace": (Path, "replace")}[sys.argv[2]], when=sys.argv[3])
env_file.change_env_file(Path(sys.argv[1]), {"A": "2"})
"""


@pytest.mark.parametrize(
    ("step", "when", "value"), [("fsync", "before", "1"), ("replace", "before", "1"), ("replace", "after", "2")]
)
def test_killed_anywhere_it_leaves_the_old_file_or_the_new_one(tmp_path: Path, step: str, when: str, value: str):
    path = tmp_path / ".env"
    path.write_text("# ours\nA=1\n")
    program = KILLED.replace('("os", "fsync")', '(__import__("os"), "fsync")')
    assert run_program(program, str(path), step, when).returncode == -signal.SIGKILL
    assert path.read_text() == f"# ours\nA={value}\n"
    change_env_file(path, {"A": "3"})
    assert sorted(one.name for one in tmp_path.iterdir()) == [".env", LOCK], "what was begun is cleared"
    # Whose name does not make a home look like somebody's folder.
    tmp_path.chmod(0o755)
    (tmp_path / "..env-left").touch()
    prepare_home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_environment_wins_unless_it_is_empty_and_is_told_apart(home: Path):
    change_env_file(
        home / ".env", {"APERTURE_HTTP_ATTEMPTS": "3", "TMDB_API_KEY": "of the file", "OMDB_API_KEY": "file"}
    )
    os.environ |= {"APERTURE_HTTP_ATTEMPTS": "4", "OMDB_API_KEY": "", "mdblist_api_key": "outside"}
    before = dict(os.environ)
    settings = load_settings()
    assert settings.http_attempts == 4
    assert settings.omdb_api_key is not None and settings.omdb_api_key.get_secret_value() == "file"
    outside = {"home": "APERTURE_HOME", "http_attempts": "APERTURE_HTTP_ATTEMPTS", "mdblist_api_key": "mdblist_api_key"}
    assert settings_set_outside() == outside
    # A child has all of it in its environment, and can still tell.
    child = run_program(CHILD)
    assert child.stdout.split() == sorted(outside), child.stderr
    assert environment_outside() == {name: value for name, value in before.items() if name != "OMDB_API_KEY"}


CHILD = """
from aperture_dagster.settings import load_settings, settings_set_outside
load_settings()
print(*sorted(settings_set_outside()))
"""


@pytest.mark.parametrize(
    ("file", "outside"),
    [("TMDB_API_KEY", "APERTURE_TMDB_API_KEY"), ("APERTURE_TMDB_API_KEY", "TMDB_API_KEY"),
     ("TMDB_API_KEY", "aperture_tmdb_api_key")],
)  # fmt: skip
def test_the_environment_wins_by_whichever_name_it_and_the_file_call_a_setting(home: Path, file: str, outside: str):
    change_env_file(home / ".env", {file: "of the file"})
    os.environ[outside] = "of the environment"
    settings = load_settings()
    assert settings.tmdb_api_key is not None and settings.tmdb_api_key.get_secret_value() == "of the environment"
    # The pages say the same.
    given = given_settings(read_env_file(home / ".env"), environment_outside())["tmdb_api_key"]
    assert given == Given("of the environment", "outside", outside)
    assert settings_set_outside()["tmdb_api_key"] == outside
    assert "of the file" not in os.environ.values()
