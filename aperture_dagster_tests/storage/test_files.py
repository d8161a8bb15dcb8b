"""Files are written whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from aperture_dagster.storage.files import FileError, clear_unfinished, write_file


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path):
    path = tmp_path / "new folder" / "logo.png"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "logo.png"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"No space left on device.*APERTURE_HOME"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_told(tmp_path: Path):
    (tmp_path / "logos").write_bytes(b"a file")
    with pytest.raises(FileError, match="APERTURE_HOME"):
        write_file(tmp_path / "logos" / "one.png", b"x")


def test_what_a_kill_left_is_cleared_and_nothing_else(tmp_path: Path):
    write_file(tmp_path / "kept-1.png", b"x")
    (tmp_path / ".kept-1.png-abcd").write_bytes(b"half")
    clear_unfinished(tmp_path)
    clear_unfinished(tmp_path / "not there")
    assert [path.name for path in tmp_path.iterdir()] == ["kept-1.png"]
