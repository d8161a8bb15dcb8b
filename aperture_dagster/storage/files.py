"""Files that this machine keeps: written whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class FileError(RuntimeError):
    """A file cannot be written; the message names it, the setting and the remedy."""


def write_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: whoever reads it sees the old file or the new one, also after a power cut.

    Raises:
        FileError: it cannot be written; nothing of it is left, and the old file is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise FileError(
            f"{path} cannot be written ({error.strerror}): make room, or set APERTURE_HOME to a folder that can."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Remove what :func:`write_file` began in ``folder`` and could not finish, being killed. For whoever is alone."""
    for path in folder.glob(".*-*"):
        if path.is_file():
            path.unlink(missing_ok=True)
