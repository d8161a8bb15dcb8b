"""Helpers to run commands as other users or in process namespaces, like containers. They need root."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster.postgres.cluster import embedded_tool
from aperture_dagster_tests.waiting import SECONDS

NOBODY = pwd.getpwnam("nobody")


def _ordinary_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(1000)
    except KeyError:
        return pwd.getpwnam("daemon")


ALICE = _ordinary_user()


def acting_as(user: pwd.struct_passwd, command: list[str | Path]) -> list[str]:
    """Return a command line that runs ``command`` as a user.

    It may read all files, since Python may be installed in a private folder of root, but not write them.
    """
    read_only = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    identity = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return ["setpriv", *identity, *read_only, *map(str, command)]


@functools.cache
def _acts_as_others() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    if subprocess.run(acting_as(NOBODY, [sys.executable, "-c", ""]), capture_output=True, timeout=SECONDS).returncode:
        return False
    tool = [embedded_tool("psql"), "--version"]
    try:
        return (
            subprocess.run(
                tool, capture_output=True, user=NOBODY.pw_uid, group=NOBODY.pw_gid, timeout=SECONDS
            ).returncode
            == 0
        )
    except PermissionError:
        return False


@functools.cache
def _makes_namespaces() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(contained(["true"]), capture_output=True, timeout=SECONDS).returncode == 0
    )


def needs_root(test):
    """Mark a test that runs commands as several users."""
    reason = "needs root, setpriv, and PostgreSQL's programs where every user may read them"
    return pytest.mark.root(pytest.mark.skipif(not _acts_as_others(), reason=reason)(test))


def in_namespaces() -> list[pytest.MarkDecorator]:
    """Return the marks of a test that runs programs in separate process namespaces."""
    reason = "needs unshare, and permission to create process namespaces"
    return [pytest.mark.namespaces, pytest.mark.skipif(not _makes_namespaces(), reason=reason)]


def needs_namespaces(test):
    """Mark a test that runs programs in separate process namespaces."""
    for mark in in_namespaces():
        test = mark(test)
    return test


def contained(command: list[str | Path]) -> list[str]:
    """Return a command line that runs ``command`` like a container: isolated, and its child processes end with it."""
    return ["unshare", "--pid", "--ipc", "--mount-proc", "--fork", "--kill-child", *map(str, command)]


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return owner, group, mode, size and modification time of a folder and everything in it."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, status.st_size, status.st_mtime_ns)
    return found
