"""Dagster's home: the folder with the ``dagster.yaml`` of this package."""

from __future__ import annotations

import os
from pathlib import Path

from aperture_dagster.files.private import prepare_home, write_file
from aperture_dagster.settings import Settings
from aperture_dagster.settings.home import checkout

LOCATION = "aperture"
"""Name of the code location, as in ``workspace.yaml``: Dagster keeps the state of sensors and schedules by it."""
FILES = ("dagster.yaml", "workspace.yaml")
HEADER = (
    "# Written by aperture whenever it starts. To change it, copy it to a folder and name that in DAGSTER_HOME.\n\n"
)
STORAGE = "module: aperture_dagster.instance.storage"


def use_dagster_home(settings: Settings, *, unless_set: bool = False, create: bool = True) -> Path:
    """Point Dagster, in this process and its children, at the configuration of this package; return the folder.

    A folder that ``DAGSTER_HOME`` names is used as it is if its ``dagster.yaml`` names the storage of this package: it
    was made from ours, with another launcher, for example. That of another project would hold other runs.

    In a checkout, it is otherwise the checkout, or with ``unless_set`` whatever ``DAGSTER_HOME`` names. An installed
    package has the folder ``dagster`` in its home, and writes the files there when they differ. Without ``create``, a
    home that does not exist is not created: there are no runs to read.

    Raises:
        FileError: the home cannot be written, or belongs to somebody else.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given and _was_prepared(Path(given)):
        return Path(given)
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


def _was_prepared(folder: Path) -> bool:
    """Return whether an operator made the ``dagster.yaml`` of a folder from ours."""
    try:
        content = (folder / FILES[0]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    # A link to ours, or the one that is written, is ours.
    return (
        STORAGE in content
        and not content.startswith(HEADER)
        and content != Path(__file__).with_name(FILES[0]).read_text()
    )
