"""Restore a dump into an existing, empty database, completely or not at all."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

from aperture_dagster.storage.backup.dump_file import DumpCheck, DumpContents, DumpFile
from aperture_dagster.storage.backup.tools import plain_url, running_tool
from aperture_dagster.storage.cluster import embedded_tool

# Building an index in the default 64 MB takes much longer.
MEMORY = "256MB"
# Written by newer clients for any server; older servers do not know it.
NEWER_SETTING, SINCE = b"SET transaction_timeout = 0;", 17
# Releases of PostgreSQL since November 2026 keep a version of each column among its options, and their own pg_dump
# leaves it out. An older pg_dump writes it; servers that know it ignore the value, and all others refuse it.
COLUMN_VERSION = b"pg_attver="
_COLUMN_OPTIONS = re.compile(rb"(ALTER (?:[A-Z]+ )+ONLY .* ALTER COLUMN .* SET \()(.*)\);")


def restore_into(
    url: str, file: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> DumpContents:
    """Restore a compressed dump into the database of a URL, in one transaction; return what the file holds.

    The database must have the extensions that the dump needs, and no tables. ``progress`` is called with the bytes of
    the file read so far, and all of them.

    Raises:
        BadDump: the file is damaged, incomplete or unsafe; nothing was restored.
        ToolFailed: psql failed or was killed; nothing was restored.
        OSError: the file cannot be read; nothing was restored.
    """
    total = file.stat().st_size
    dump, check = DumpFile(file), DumpCheck(file, rewrite=functools.partial(as_understood, _server_major(url)))
    arguments = ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--single-transaction", "--output", "/dev/null"]
    options = {
        "maintenance_work_mem": MEMORY,
        # Workers that share memory need more of it than a container grants.
        "max_parallel_maintenance_workers": "0",
        "statement_timeout": "0",
    }
    psql = embedded_tool("psql")
    with running_tool(psql, *arguments, "--file", "-", url=plain_url(url), options=options) as process:
        assert process.stdin is not None
        for chunk in dump:
            process.stdin.write(check.feed(chunk))
            progress(dump.bytes, total)
        # The end of the input commits: until here, an exception kills psql, and nothing is restored.
        check.finish()
    return DumpContents(dump.bytes, dump.sha256, check.bytes, check.sequences)


def as_understood(server_major: int, line: bytes) -> bytes:
    """Return a line of a dump, outside its data, without what this server would refuse; no content changes."""
    if line == NEWER_SETTING:
        return line if server_major >= SINCE else b""
    if COLUMN_VERSION in line and (found := _COLUMN_OPTIONS.fullmatch(line)):
        others = [option for option in found[2].split(b", ") if not option.startswith(COLUMN_VERSION)]
        return found[1] + b", ".join(others) + b");" if others else b""
    return line


def _server_major(url: str) -> int:
    import psycopg

    with psycopg.connect(plain_url(url)) as connection:
        return connection.info.server_version // 10_000
