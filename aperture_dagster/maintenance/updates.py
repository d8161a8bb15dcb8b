"""Whether a newer version of this program is out: only from a file that the operator names, and nothing is sent."""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from packaging.version import InvalidVersion, Version

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.messages import Request
from aperture_dagster.maintenance.status import State
from aperture_dagster.model import shortened
from aperture_dagster.settings import Settings

LABEL = "The file of APERTURE_UPDATE_FILE"
LARGEST_BYTES = 4_096
SHOWN = 40


def is_address(source: str) -> bool:
    """Return whether the file is fetched from a server."""
    return source.startswith(("http://", "https://"))


def find_update(settings: Settings) -> tuple[State, str]:
    """Return whether the file names a newer version, in a sentence; a bad file is a warning, and never raises."""
    source, current = settings.update_file, version("aperture-dagster")
    if source is None:
        return "off", f"version {current}; APERTURE_UPDATE_FILE names no file that says which is the newest"
    try:
        content = _fetch(source, settings) if is_address(source) else _read(Path(source))
    except (ServiceError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return "warning", f"{LABEL} could not be read: {why}"
    # A BOM is none of the version.
    line = content.decode("utf-8-sig", errors="replace").strip().partition("\n")[0].strip()
    try:
        newest = Version(line)
    except InvalidVersion:
        return "warning", f"{LABEL} does not begin with a version: {shortened(line, SHOWN)!r}"
    if newest > Version(current):
        return "warning", f"version {newest} is out, this is {current}: the changelog says what is new"
    return "ok", f"{current} is the newest version"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES)


def _fetch(url: str, settings: Settings) -> bytes:
    folder, _, name = url.rpartition("/")
    options = {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds}
    with closing(ServiceClient(LABEL, folder, address_setting="APERTURE_UPDATE_FILE", **options)) as client:
        return client.transport.send(Request("GET", f"/{name}", max_bytes=LARGEST_BYTES)).body
