"""Tests that need root: to act as several users of one machine, and in process namespaces, as containers do."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster.storage.cluster import embedded_tool

NOBODY = pwd.getpwnam("nobody")


def _ordinary_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(1000)
    except KeyError:
        return pwd.getpwnam("daemon")


ALICE = _ordinary_user()


def acting_as(user: pwd.struct_passwd, command: list[str | Path]) -> list[str]:
    """A command as a user runs it.

    It may read what the user may not, since Python itself may be installed in a root's own folder, but not write.
    """
    read_only = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    identity = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return ["setpriv", *identity, *read_only, *map(str, command)]


@functools.cache
def _acts_as_others() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    if subprocess.run(acting_as(NOBODY, [sys.executable, "-c", ""]), capture_output=True).returncode:
        return False
    tool = [embedded_tool("psql"), "--version"]
    try:
        return subprocess.run(tool, capture_output=True, user=NOBODY.pw_uid, group=NOBODY.pw_gid).returncode == 0
    except PermissionError:
        return False


@functools.cache
def _makes_namespaces() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run(contained(["true"]), capture_output=True).returncode == 0
    )


def needs_root(test):
    """Mark a test that acts as several users."""
    reason = "needs root, setpriv, and PostgreSQL's programs where every user may read them"
    return pytest.mark.root(pytest.mark.skipif(not _acts_as_others(), reason=reason)(test))


def in_namespaces() -> list[pytest.MarkDecorator]:
    """The marks of a test that runs programs in process namespaces of their own."""
    reason = "needs unshare, and the right to make process namespaces"
    return [pytest.mark.namespaces, pytest.mark.skipif(not _makes_namespaces(), reason=reason)]


def needs_namespaces(test):
    """Mark a test that runs programs in process namespaces of their own."""
    for mark in in_namespaces():
        test = mark(test)
    return test


def contained(command: list[str | Path]) -> list[str]:
    """A command as it runs in a container: it sees no process of the machine, and all it started ends with it."""
    return ["unshare", "--pid", "--ipc", "--mount-proc", "--fork", "--kill-child", *map(str, command)]


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Owner, mode, size and time of change of everything in a folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, status.st_size, status.st_mtime_ns)
    return found
