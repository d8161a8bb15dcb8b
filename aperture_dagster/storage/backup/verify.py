"""Verify a backup: its checksum, its contents, and a restore of it that equals what was dumped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.dump_file import DumpContents, check_dump
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.lock import backup_lock
from aperture_dagster.storage.backup.manifest import Manifest, read_manifest
from aperture_dagster.storage.backup.proof import Proof, prove, prove_elsewhere
from aperture_dagster.storage.connection import product_database_url
from aperture_dagster.storage.errors import DatabaseError, describe_connection_error
from aperture_dagster.storage.queries import read_value


def check_file(path: Path) -> tuple[DumpContents, Manifest | None]:
    """Read a backup to its end and compare it with its manifest, if there is one.

    Raises:
        BadDump: the file is damaged, incomplete or unsafe.
        BackupError: it cannot be read, or is not the file that its manifest describes.
    """
    try:
        manifest = read_manifest(path)
        contents = check_dump(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be read ({error.strerror or error}).") from None
    if manifest is not None and contents.sha256 != manifest.sha256:
        raise BackupError(f"{path} is not the file that its manifest describes: its checksum is another.")
    return contents, manifest


def verify_backup(
    settings: Settings, path: Path, *, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Proof:
    """Check a backup and restore it into a scratch database, which is compared with the manifest.

    The database itself need not work: a temporary server is then used. Returns where it was proven, or why it could
    not be.

    Raises:
        BackupError: the backup is bad, or has no manifest.
    """
    progress("check", 0, 0)
    contents, manifest = check_file(path)
    if manifest is None:
        raise BackupError(
            f"{path} is a complete dump, but has no manifest ({path.name}.json) to compare a restored database with: "
            "keep the two files together."
        )

    def report(done: int, total: int) -> None:
        progress("proof", done, total)

    report(0, contents.bytes)
    with ExitStack() as stack:
        try:
            url = product_database_url(settings)
            connection = stack.enter_context(backup_lock(url))
            size = read_value(connection, "SELECT pg_database_size(current_database())")
        except (DatabaseError, SQLAlchemyError):
            return prove_elsewhere(path, manifest.fingerprint, settings.home_path, 2 * contents.text_bytes, report)
        try:
            return prove(
                url,
                path,
                manifest.fingerprint,
                home=settings.home_path,
                is_embedded=settings.database_url is None,
                database_bytes=max(size, contents.text_bytes),
                progress=report,
            )
        except SQLAlchemyError as error:
            # The server stopped meanwhile, which says nothing about the file.
            return Proof(None, describe_connection_error(error))
