"""The marker by which a run knows that it reaches the home, in which logos, crowd, log of plays and backups are files.

With an external database, a run on another machine, or in a container without the volume, would work in an empty
folder: what it makes would be lost with the container, and what it needs would look deleted. The identity is in
Dagster's database, and each home that an operator starts something in has it in a file.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from uuid import uuid4

from aperture_dagster.files.open_folder import Marker, OpenFolder
from aperture_dagster.files.private import prepare_home, write_file
from aperture_dagster.instance.run_storage import LockedRunStorage
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.settings import Settings

IDENTITY = "aperture/home"
MARKER = Marker(".aperture-home", "Marks the home of an installation of aperture-dagster. Do not delete.")


def mark_home(storage: LockedRunStorage, settings: Settings) -> None:
    """Mark the home of this process as one of the installation, which whoever starts it there says it is.

    Raises:
        FileError: the home cannot be written.
    """
    if storage.is_embedded:
        # The database is in the home itself.
        return
    with storage.connect() as connection, schema_lock(connection):
        # Of two that are the first, one makes it.
        identity = _identity(storage) or uuid4().hex
        storage.set_cursor_values({IDENTITY: identity})
    if _marked(settings) != identity:
        prepare_home(settings.home_path)
        write_file(settings.home_path / MARKER.name, MARKER.content(identity))


def require_home(storage: LockedRunStorage, settings: Settings) -> None:
    """Check that a run works in the home of the installation; of a new one, the first run marks it.

    Raises:
        MissingPrerequisite: it doesn't; says what to do.
    """
    if storage.is_embedded:
        return
    identity = _identity(storage)
    if identity is None:
        mark_home(storage, settings)
    elif _marked(settings) != identity:
        raise MissingPrerequisite(
            f"This run works on {socket.gethostname()} in {settings.home_path}, which is not the home of this "
            "installation: logos, the crowd and backups would be missing there, or get lost. Nothing was changed. "
            "Mount the folder that the web server and the daemon have as APERTURE_HOME at this path. If you moved the "
            "home on purpose, run `aperture migrate` there once."
        )


def _identity(storage: LockedRunStorage) -> str | None:
    return storage.get_cursor_values({IDENTITY}).get(IDENTITY)


def _marked(settings: Settings) -> str | None:
    with suppress(OSError), OpenFolder.at(settings.home_path) as folder:
        return MARKER.read(folder)
    return None
