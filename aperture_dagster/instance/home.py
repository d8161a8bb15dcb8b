"""Dagster's home: the folder with the ``dagster.yaml`` of this package."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from aperture_dagster.files.private import FileError, prepare_home, write_file
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.settings import Settings
from aperture_dagster.settings.home import checkout

if TYPE_CHECKING:
    from dagster_postgres import PostgresRunStorage


LOCATION = "aperture"
"""Name of the code location, as in ``workspace.yaml``: Dagster keeps the state of sensors and schedules by it."""
FILES = ("dagster.yaml", "workspace.yaml")
HEADER = "# Written by aperture whenever it starts: changes here are lost.\n\n"


def use_dagster_home(settings: Settings, *, unless_set: bool = False, create: bool = True) -> Path:
    """Point Dagster, in this process and its children, at the configuration of this package; return the folder.

    In a checkout that is the checkout, or with ``unless_set`` the folder that ``DAGSTER_HOME`` names. An installed
    package has the folder ``dagster`` in its home, and writes the files there when they differ: that of another project
    would hold other runs. Without ``create``, a home that does not exist is not created: there are no runs to read.

    Raises:
        FileError: the home cannot be written, or belongs to somebody else.
    """
    root = checkout()
    if root is not None:
        if unless_set:
            os.environ.setdefault("DAGSTER_HOME", str(root))
        else:
            os.environ["DAGSTER_HOME"] = str(root)
        return Path(os.environ["DAGSTER_HOME"])
    folder = settings.home_path / "dagster"
    # First, so that Dagster names this folder if it cannot be written.
    os.environ["DAGSTER_HOME"] = str(folder)
    if not create and settings.database_url is None and not settings.home_path.exists():
        return folder
    prepare_home(settings.home_path)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in FILES:
        content = HEADER.encode() + Path(__file__).with_name(name).read_bytes()
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            write_file(target, content)
    return folder


# The folder that all hosts see: a host that does not see it would work with other files than the others.


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
