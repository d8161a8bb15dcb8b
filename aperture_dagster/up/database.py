"""The program that stops the embedded database: ``python -m aperture_dagster.up.database FOLDER``.

The supervisor starts it when all parts have ended and the database still runs, since its last user was killed. It is a
program of its own because the supervisor imports the standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aperture_dagster.postgres.embedded import stop_unused_server

if __name__ == "__main__":
    try:
        stop_unused_server(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"The embedded database could not be stopped: {error}")
