"""The folder that all hosts see: a host that does not see it would work with other files than the others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

from aperture_dagster.files.private import FileError, write_file
from aperture_dagster.postgres.schema_lock import schema_lock
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster_postgres import PostgresRunStorage

MARKER = ".aperture-hosts"
# Among the values that Dagster's run storage keeps by name.
NAME = "aperture/shared_folder"


def require_shared_folder(runs: PostgresRunStorage, settings: Settings) -> None:
    """Make sure that this host sees the same ``APERTURE_SHARED_FOLDER`` as the others, if there is one.

    A marker in the folder proves it, since a share that is not mounted leaves an empty folder. The first host makes it.

    Raises:
        FileError: the folder is missing, has another marker or none, or cannot be written.
    """
    if settings.shared_folder is None or _is_marked(runs, settings):
        return
    folder, marker = settings.shared_path, settings.shared_path / MARKER
    if not folder.is_dir():
        raise FileError(f"APERTURE_SHARED_FOLDER: {folder} is not there: create it, or mount it on this host.")
    # Two hosts may start for the first time at once.
    with runs._engine.connect() as connection, schema_lock(connection):
        if _is_marked(runs, settings):
            return
        known = runs.get_cursor_values({NAME}).get(NAME)
        if known is not None:
            raise FileError(
                f"APERTURE_SHARED_FOLDER: {folder} is not the folder that the other hosts see: mount that here. If it "
                f"was replaced on purpose, write {known} into {marker}."
            )
        if marker.exists():
            raise FileError(
                f"APERTURE_SHARED_FOLDER: {folder} belongs to another installation: choose another folder. If "
                f"Dagster's database is new on purpose, delete {marker}."
            )
        mark = uuid4().hex
        write_file(marker, mark.encode())
        runs.set_cursor_values({NAME: mark})


def _is_marked(runs: PostgresRunStorage, settings: Settings) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        mark = (settings.shared_path / MARKER).read_text(encoding="ascii").strip()
        return bool(mark) and runs.get_cursor_values({NAME}).get(NAME) == mark
    return False
