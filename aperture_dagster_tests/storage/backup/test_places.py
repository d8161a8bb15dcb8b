"""Where backups are kept: what lasts, and which ones may be deleted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from aperture_dagster.storage.backup.fingerprint import Fingerprint, Rows, differences
from aperture_dagster.storage.backup.manifest import Backup, Manifest
from aperture_dagster.storage.backup.places import in_container, read_mounts, why_not_lasting
from aperture_dagster.storage.backup.retention import expired, why_overdue

ROOT = "22 1 254:0 / / rw,relatime shared:1 - {} /dev/vda rw\n"
DATA = "30 22 0:40 {} /data rw - {} //nas/share rw\n"
ANONYMOUS = f"/var/lib/docker/volumes/{'0a' * 32}/_data"


@pytest.mark.parametrize(
    ("mounts", "folder", "why"),
    [
        (ROOT.format("ext4"), "/data/backups", None),
        (ROOT.format("overlay"), "/data/backups", "inside the container"),
        (ROOT.format("overlay") + DATA.format("/", "cifs"), "/data/backups", None),
        (ROOT.format("overlay") + DATA.format("/", "cifs"), "/database/backups", "inside the container"),
        (ROOT.format("overlay") + DATA.format("/", "tmpfs"), "/data/backups", "in memory"),
        (ROOT.format("overlay") + DATA.format(ANONYMOUS, "ext4"), "/data/backups", "without a name"),
        (ROOT.format("overlay") + DATA.format("/srv", "ext4").replace("/data", "/my\\040data"), "/my data/x", None),
        # The later of two on one folder is visible.
        (ROOT.format("ext4") + DATA.format("/", "ext4") + DATA.format("/", "tmpfs"), "/data", "in memory"),
        ("", "/data", None),
    ],
)
def test_a_folder_that_does_not_outlive_its_container_is_recognised(
    tmp_path: Path, mounts: str, folder: str, why: str | None
):
    path = tmp_path / "mountinfo"
    path.write_text(mounts)
    found = read_mounts(path)
    reason = why_not_lasting(Path(folder), found, in_container=in_container(found, files=()))
    assert (why in (reason or "")) if why else reason is None


def test_the_root_of_a_container_does_not_last_whatever_its_file_system(tmp_path: Path):
    path = tmp_path / "mountinfo"
    path.write_text(ROOT.format("btrfs"))
    assert why_not_lasting(Path("/data"), read_mounts(path), in_container=True)
    assert not why_not_lasting(Path("/data"), read_mounts(path), in_container=False)


def test_an_engine_that_hides_its_root_is_recognised_by_its_file(tmp_path: Path):
    path = tmp_path / "mountinfo"
    path.write_text(ROOT.format("btrfs"))
    mounts, file = read_mounts(path), tmp_path / ".dockerenv"
    assert not in_container(mounts, files=(file,))
    file.touch()
    assert in_container(mounts, files=(file,))


def backup(number: int, day: date, *, proven: bool = True, owner: str = "us", size: int = 9) -> Backup:
    made_at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    manifest = Manifest(
        owner, number, "", 9, 9, made_at, day, "schedule", 18, 18, None, "here" if proven else None, None, (),
        Fingerprint(18, "v3"),
    )  # fmt: skip
    return Backup(Path(f"aperture-backup-{day}.sql.gz"), manifest, size)


def test_the_newest_proven_backups_are_kept_by_number():
    today = date(2026, 5, 17)
    days = [today - timedelta(days=back) for back in range(20)]

    def deleted(*backups: Backup, keep: int = 2) -> list[int]:
        found = expired(backups, owner="us", keep=keep, today=today)
        return sorted(one.manifest.number for one in found)

    nightly = [backup(number, days[9 - number]) for number in range(1, 10)]
    assert deleted(*nightly, keep=7) == [1, 2]
    assert deleted(*nightly, keep=9) == []
    # Those that are not proven do not count, and go with the proven ones around them.
    assert deleted(backup(1, days[3]), backup(2, days[2], proven=False), backup(3, days[1], proven=False)) == []
    mixed = [backup(1, days[5], proven=False), backup(2, days[4]), backup(3, days[3]), backup(4, days[2], proven=False)]
    assert deleted(*mixed, backup(5, days[1])) == [1, 2]
    # One whose file has changed does not count.
    assert deleted(backup(1, days[3]), backup(2, days[2], size=5), backup(3, days[1])) == []
    # Nor do those of another installation, and those of the future; neither is deleted.
    others = [backup(1, days[9], owner="they"), backup(2, today + timedelta(days=1))]
    assert deleted(*others, backup(3, days[2]), backup(4, days[1])) == []
    # The order is that of the numbers, whatever the clock said.
    assert deleted(backup(1, days[0]), backup(2, days[2]), backup(3, days[1])) == [1]


def test_a_backup_that_is_dated_in_the_future_is_not_recent():
    now = datetime(2026, 5, 17, 1, tzinfo=UTC)
    assert why_overdue([backup(1, date(2026, 5, 17))], now) is None
    assert "3 days old" in (why_overdue([backup(1, date(2026, 5, 14))], now) or "")
    assert "dated in the future" in (why_overdue([backup(1, date(2027, 5, 17))], now) or "")


def test_differences_are_named():
    whole = Fingerprint(
        18, "v3", {"a": Rows(2, "5"), "b": Rows(1, "7")}, {"a.x": "text"}, {"a.pk": "PRIMARY KEY (x)"},
        {"a_x": "CREATE INDEX"}, {"v": "SELECT 1"}, {"s": (5, True)}, {"vector": "0.8"},
    )  # fmt: skip
    assert differences(whole, whole) == []
    lost = Fingerprint(18, None, {"a": Rows(1, "2"), "b": Rows(1, "8")}, sequences={"s": (1, False)})
    assert differences(whole, lost) == [
        "the schema has revision None instead of v3",
        "table a has 1 rows instead of 2",
        "table b has other contents",
        "extension vector is missing",
        "column a.x is missing",
        "constraint a.pk is missing",
        "index a_x is missing",
        "view v is missing",
        "sequence s has another value",
    ]
    assert differences(lost, whole)[3] == "extension vector was not in the dumped database"
