"""Files in the home folder: private to their owner, and written atomically."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import re
import secrets
import stat
import tempfile
from pathlib import Path

from aperture_dagster.model.errors import OperatorError

# Entries that a person may have made readable by others; new files are private through the umask.
LOG_OF_PLAYS = "log-of-plays.json"
HOME_ENTRIES = (
    "dagster", "logos", "models", "crowd", "postgres", "backups", "failures.log", LOG_OF_PLAYS, "demo", "demo-emby",
    ".env", ".env.lock", ".aperture-home", "front-door",
)  # fmt: skip
_SECRET = re.compile(rb"[A-Za-z0-9_-]{32,}")
_LOG = logging.getLogger(__name__)
WORKING_FILES = (".postgres", "postgres.", "..env-")


class FileError(OperatorError):
    """A file or folder cannot be used; the message names it, the setting and the remedy."""


def keep_private() -> None:
    """Set the umask of this process and its children so that only the owner can read new files."""
    os.umask(0o077)


def prepare_home(home: Path) -> None:
    """Create the home if it is missing, and make it and its entries private to the owner.

    Raises:
        FileError: this process is root and the home belongs to another user, or the folder is not writable.
    """
    try:
        owner = _owner_of(home)
        if os.geteuid() == 0 and owner not in (None, 0):
            name = account_name(owner)
            raise FileError(
                f"{home} belongs to user {name}, and root would lock them out of it: run this as that user "
                f"(sudo -u {name} …), or set APERTURE_HOME to another folder."
            )
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = [home / name for name in HOME_ENTRIES]
        # A folder with other contents, such as /opt, may have to stay accessible.
        if all(path in entries or path.name.startswith(WORKING_FILES) for path in home.iterdir()):
            entries.append(home)
        for path in entries:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                status = path.lstat()
                open_to_others = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
                shared = status.st_mode & stat.S_ISVTX or stat.S_ISLNK(status.st_mode)
                if open_to_others and not shared and status.st_uid == os.geteuid():
                    path.chmod(status.st_mode & stat.S_IRWXU)
    except OSError as error:
        raise FileError(describe_unwritable(home, error)) from None


def describe_unwritable(home: Path, error: OSError) -> str:
    """Say that a home cannot be written, and what to do: one of another machine may belong to a user of that."""
    remedy = "set APERTURE_HOME to a folder that can"
    with contextlib.suppress(OSError):
        owner, user = home.stat().st_uid, os.geteuid()
        if owner != user and 0 not in (owner, user):
            remedy = (
                f"it belongs to user {account_name(owner)}. Run this as that user; if there is no such user any more, "
                f"make it yours (chown -R {user} {home}); or set APERTURE_HOME to another folder"
            )
    return f"{home} cannot be written ({error.strerror}): {remedy}."


def _owner_of(home: Path) -> int | None:
    """Return the user id of the home's owner; None if it has not been used yet.

    The folder itself may belong to another user, as one that is mounted into a container.
    """
    for path in (home / ".postgres.lock", home / "dagster"):
        with contextlib.suppress(FileNotFoundError):
            return path.lstat().st_uid
    try:
        return home.stat().st_uid if any(home.iterdir()) else None
    except FileNotFoundError:
        return None


def account_name(uid: int) -> str:
    """Return the name of a user, or ``#uid``, which ``sudo`` accepts, if the user has no name on this machine."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def write_file(path: Path, content: bytes, *, owner: tuple[int, int] | None = None) -> None:
    """Write ``content`` to ``path`` atomically: readers see the old file or the new one, even after a power failure.

    The folder is created if it is missing. ``owner`` is a user and group other than this process's.

    Raises:
        FileError: the file cannot be written; the old file is unchanged and no temporary file is left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(number, "wb") as file:
            if owner is not None:
                os.fchown(number, *owner)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise FileError(
            f"{path} cannot be written ({error.strerror}): make room, or set APERTURE_HOME to a folder that can."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new, renamed and deleted files of a folder survive a power failure, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_secret_file(path: Path) -> str:
    """Read a secret of 256 bits, in characters for addresses; it is made at first use, in a folder of its own.

    A file that holds none, because it is empty or was cut off, gets a new one: anybody could guess what it holds.

    Raises:
        FileError: it cannot be stored.
        OSError: it cannot be read.
    """
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes().strip()
        if _SECRET.fullmatch(content):
            return content.decode()
        _LOG.warning("%s holds no secret (it is empty or cut off), so a new one is made.", path)
        path.unlink(missing_ok=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}-{os.getpid()}")
    write_file(made, secrets.token_urlsafe(32).encode())
    # Two processes may both be the first.
    with contextlib.suppress(FileExistsError):
        os.link(made, path)
    made.unlink()
    return path.read_text(encoding="ascii").strip()


def clear_unfinished(folder: Path) -> None:
    """Remove temporary files of interrupted :func:`write_file` calls. Only if no other process writes to ``folder``."""
    for path in folder.glob(".*-*"):
        if path.is_file():
            path.unlink(missing_ok=True)
