"""Where a checkout and an installed package keep things, and where each of them reads its settings from.

A checkout keeps everything in its own folder. An installed package keeps everything in its home, by default the user's
data folder, and never looks at the working folder: a service must not depend on where it is started.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from aperture_dagster.model.errors import OperatorError

PREFIX = "APERTURE_"
NAME = "aperture"


def checkout() -> Path | None:
    """Return the folder of the checkout that this package is part of; None if it is installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if all((folder / name).exists() for name in ("pyproject.toml", "dagster.yaml")) else None


def project_root() -> Path:
    """Return the folder of the checkout.

    Raises:
        OperatorError: the package is installed, and there is none.
    """
    folder = checkout()
    if folder is None:
        raise OperatorError("This needs a checkout of the project; the package is installed without one.")
    return folder


def default_home() -> Path:
    """Return the home when ``APERTURE_HOME`` is not set; a demo has a folder in it."""
    folder = checkout()
    return folder / ".aperture" if folder else user_data_path(NAME, appauthor=False)


def config_file() -> Path:
    """Return the path of ``aperture.toml``: in the checkout, else in the home, or as ``APERTURE_CONFIG`` says."""
    named = os.environ.get(PREFIX + "CONFIG")
    if named:
        return Path(named).expanduser()
    folder = checkout() or Path(os.environ.get(PREFIX + "HOME") or default_home()).expanduser()
    return folder.absolute() / f"{NAME}.toml"


def env_file() -> Path:
    """Return the path of ``.env``: beside ``aperture.toml``."""
    return config_file().with_name(".env")


def describe_configuration() -> str:
    """Say which files settings are read from, which of them exist, and which one is not read."""
    files = [env_file(), config_file()]
    said = ", ".join(f"{path} ({'read' if path.is_file() else 'not there'})" for path in files)
    ignored = Path.cwd() / ".env"
    # Somebody who knows other programs may have put it there.
    return f"{said}; {ignored} is not read" if ignored.is_file() and ignored != files[0] else said


def start_command() -> str:
    """Return the command that starts the UI and the daemon here."""
    return "make up" if checkout() else "aperture up"
