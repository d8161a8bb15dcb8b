"""Private homes and atomic writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aperture_dagster.files.private import FileError, clear_unfinished, prepare_home, read_secret_file, write_file
from aperture_dagster_tests.clusters import copy_clusters
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.programs import run_program


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_private(tmp_path: Path):
    """All users could read a home with its logs."""
    prepare_home(tmp_path / "a" / "home")
    assert mode(tmp_path / "a" / "home") == 0o700


def test_a_home_that_a_person_made_is_made_private(tmp_path: Path):
    """Existing entries become private, and keep the permissions of their owner."""
    home = tmp_path / "home"
    (home / "dagster" / "logs").mkdir(parents=True)
    (home / "models").mkdir()
    (home / "failures.log").write_text("a title and an address")
    (home / "failures.log").chmod(0o664)
    for folder in (home, home / "dagster"):
        folder.chmod(0o755)
    prepare_home(home)
    assert [mode(path) for path in (home, home / "dagster", home / "failures.log")] == [0o700, 0o700, 0o600]


def test_a_folder_with_other_contents_stays_accessible_but_our_files_do_not(tmp_path: Path):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "somebody's program").mkdir()
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    prepare_home(tmp_path)
    assert mode(tmp_path) == mode(tmp_path / "somebody's program") == 0o755
    assert mode(tmp_path / "dagster") == 0o700


def test_the_folder_for_temporary_files_keeps_its_mode(tmp_path: Path):
    tmp_path.chmod(0o1777)
    prepare_home(tmp_path)
    assert mode(tmp_path) == 0o1777


APERTURE = "from aperture_dagster.cli.main import main; main(sys.argv[1:])"


def test_files_of_all_commands_are_private(tmp_path: Path, clusters: Path, monkeypatch: pytest.MonkeyPatch):
    """Even in a folder that others may enter."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "something else").touch(mode=0o600)
    copy_clusters(monkeypatch, clusters)
    environment = os.environ | {"APERTURE_HOME": str(home), "DAGSTER_HOME": str(PROJECT)}
    done = run_program(f"import os, sys; os.umask(0o022); {APERTURE}", "doctor", environment=environment)
    assert "Traceback" not in done.stderr
    written = [path for path in home.rglob("*") if not path.is_socket()]
    assert len(written) >= 3
    assert not [path for path in written if mode(path) & 0o077]


def test_a_file_is_replaced_without_leftovers(tmp_path: Path):
    path = tmp_path / "new folder" / "logo.png"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "logo.png"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"No space left on device.*APERTURE_HOME"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_at_the_path_of_a_file_is_reported(tmp_path: Path):
    (tmp_path / "logos").write_bytes(b"a file")
    with pytest.raises(FileError, match="APERTURE_HOME"):
        write_file(tmp_path / "logos" / "one.png", b"x")


def test_only_leftovers_of_killed_writes_are_removed(tmp_path: Path):
    write_file(tmp_path / "kept-1.png", b"x")
    (tmp_path / ".kept-1.png-abcd").write_bytes(b"half")
    clear_unfinished(tmp_path)
    clear_unfinished(tmp_path / "not there")
    assert [path.name for path in tmp_path.iterdir()] == ["kept-1.png"]


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"x" * 31, b"\0" * 43, b"\xff" * 43])
def test_a_secret_that_is_empty_or_cut_off_is_made_anew(tmp_path: Path, content: bytes):
    path = tmp_path / "front-door" / "operator.secret"
    secret = read_secret_file(path)
    assert len(secret) >= 43 and read_secret_file(path) == secret
    path.write_bytes(content)
    made = read_secret_file(path)
    assert len(made) >= 43 and made not in (secret, content.decode("latin-1")) and read_secret_file(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and [one.name for one in path.parent.iterdir()] == [path.name]
