"""Which backups of a folder count, which may be deleted, and when the newest is too old."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.cli.doctor.installation import examine_backups
from aperture_dagster.defs.maintenance import is_recent_and_proven
from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup import folder as module
from aperture_dagster.postgres.backup.errors import BackupError
from aperture_dagster.postgres.backup.folder import (
    backup_folder,
    expired,
    is_in_container,
    new_path,
    read_backups,
    why_overdue,
)
from aperture_dagster.settings import load_settings

NOW = datetime(2026, 5, 17, 1, 0, tzinfo=UTC)


def name(of: str) -> str:
    return f"aperture-backup-{of}.sql.gz"


def folder_of(tmp_path: Path, *names: str) -> Path:
    for one in names:
        (tmp_path / name(one)).write_bytes(b"dump")
    return tmp_path


def test_a_name_says_what_a_backup_is_and_all_other_files_are_foreign(tmp_path: Path):
    names = (
        "2026-05-16-235959", "2026-05-17", "2026-05-17-010203", "2026-05-17-020304-schema-v1", "2026-05-18.unproven",
    )  # fmt: skip
    folder = folder_of(tmp_path, *reversed(names))
    for foreign in ("notes.txt", ".aperture-backup-2026-05-17.sql.gz.partial", name("x"), name("2026-02-31")):
        (folder / foreign).touch()
    (folder / name("2026-01-01")).symlink_to(folder / name("2026-05-17"))
    found = read_backups(folder)
    assert [one.path.name for one in found] == [name(one) for one in names]
    assert [one.is_proven for one in found] == [True] * 4 + [False]
    assert [one.schema for one in found] == [None, None, None, "v1", None]
    assert read_backups(tmp_path / "nowhere") == []


def test_a_second_backup_of_a_day_does_not_replace_the_first(tmp_path: Path):
    assert new_path(tmp_path, NOW, None).name == name("2026-05-17")
    folder_of(tmp_path, "2026-05-17")
    assert new_path(tmp_path, NOW, None).name == name("2026-05-17-010000")
    assert new_path(tmp_path, NOW, "v1").name == name("2026-05-17-schema-v1")


@pytest.mark.parametrize(
    ("others", "keep", "gone"),
    [
        (["2026-05-15", "2026-05-16"], 3, []),
        (["2026-05-14", "2026-05-15", "2026-05-16"], 3, ["2026-05-14"]),
        (["2026-05-16"], 1, ["2026-05-16"]),
        # Only proven ones count, and unproven ones go with what is older than those.
        (["2026-05-14", "2026-05-15.unproven", "2026-05-16.unproven"], 2, []),
        (["2026-05-13", "2026-05-14.unproven", "2026-05-15", "2026-05-16"], 3, ["2026-05-13", "2026-05-14.unproven"]),
        # The clock was wrong when these were made, or it is now.
        (["2026-05-16", "2027-05-16", "2027-05-17"], 2, []),
        (["2026-05-15", "2026-05-16", "2027-05-16"], 2, ["2026-05-15"]),
    ],
)
def test_as_many_proven_backups_are_kept_as_the_setting_says(
    tmp_path: Path, others: list[str], keep: int, gone: list[str]
):
    folder = folder_of(tmp_path, *others, "2026-05-17")
    found = expired(read_backups(folder), newest=folder / name("2026-05-17"), keep=keep)
    assert [one.path.name for one in found] == [name(one) for one in gone]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "There is no proven backup"),
        (["2026-05-17.unproven"], "There is no proven backup"),
        (["2026-05-15"], None),
        (["2026-05-14"], f"{name('2026-05-14')}, is 3 days old"),
        (["2026-05-18"], None),
        (["2026-05-14", "2026-05-19"], f"{name('2026-05-14')}, is 3 days old"),
        (["2026-05-19"], f"{name('2026-05-19')}, is dated in the future"),
        (["2026-05-15", "2027-05-19"], None),
    ],
)
def test_a_proven_backup_is_overdue_after_two_days(tmp_path: Path, names: list[str], why: str | None):
    settings = load_settings(home=tmp_path, timezone="UTC")
    found = why_overdue(settings, read_backups(folder_of(tmp_path, *names)), NOW)
    assert found is None if why is None else why in (found or "")


def test_a_folder_in_a_container_is_on_a_volume_or_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CONTAINER_FILES", (tmp_path / "none",))
    assert not is_in_container(Path("/"))
    monkeypatch.setattr(module, "CONTAINER_FILES", (tmp_path,))
    assert is_in_container(Path("/")) and not is_in_container(Path("/proc")) and not is_in_container(tmp_path / "none")


@pytest.mark.parametrize(
    ("home", "database", "folder", "lost"),
    [
        # `VOLUME` is a disk of its own, as a volume is; "/" is what a container keeps until it is updated.
        ("VOLUME", None, "/nowhere/backups", True),
        ("VOLUME", None, None, False),
        ("VOLUME", None, "VOLUME", False),
        ("/nowhere", "postgresql://me@postgres.lan/db", None, True),
        ("/nowhere", "postgresql://me@postgres.lan/db", "VOLUME", False),
        ("VOLUME", "postgresql://me@postgres.lan/db", "/nowhere/backups", True),
        # The database is in the container as well.
        ("/nowhere", None, None, False),
        ("/nowhere", "postgresql://me@127.0.0.1/db", None, False),
        ("/nowhere", "postgresql:///db?host=/run/postgresql", None, False),
    ],
)
def test_a_backup_that_the_container_takes_along_while_the_database_stays_is_not_made(
    home: str, database: str | None, folder: str | None, lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as volume:
        settings = load_settings(
            home=Path(home.replace("VOLUME", volume)),
            database_url=database,
            backup_folder=folder and Path(folder.replace("VOLUME", volume)),
            timezone="UTC",
        )
        monkeypatch.setattr(module, "CONTAINER_FILES", ())
        assert module.why_lost(settings) is None
        monkeypatch.setattr(module, "CONTAINER_FILES", (tmp_path,))
        why = module.why_lost(settings)
        assert (why is not None) is lost
        for accept in (False, True):
            if why is not None:
                where = backup_folder(settings)
                assert f"{where} is inside the container" in why and f"`backups:{where}`" in why
                with pytest.raises(BackupError, match=r"inside the container.* Nothing was written"):
                    module.open_folder(settings, lambda: "me", accept=accept)
                assert not Path("/nowhere").exists()
                (found,) = examine_backups(settings, Clock())
                assert (found.state, found.message) == ("failed", why)
                check = is_recent_and_proven(settings, Clock())
                assert isinstance(check, dg.AssetCheckResult) and (check.passed, check.description) == (False, why)
