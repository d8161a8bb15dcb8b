"""Restore a dump into an existing, empty database, completely or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aperture_dagster.storage.backup.dump_file import DumpCheck, DumpContents, DumpFile
from aperture_dagster.storage.backup.tools import find_tools, plain_url, running_tool

# Building an index in the default 64 MB takes much longer.
MEMORY = "256MB"
# Written by newer clients for any server; older servers do not know it.
NEWER_SETTING, SINCE = b"\nSET transaction_timeout = 0;\n", 17


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
    version = _server_version(url)
    dump, check, total = DumpFile(file), DumpCheck(file), file.stat().st_size
    arguments = ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--single-transaction", "--output", "/dev/null"]
    options = {
        "maintenance_work_mem": MEMORY,
        # Workers that share memory need more of it than a container grants.
        "max_parallel_maintenance_workers": "0",
        "statement_timeout": "0",
    }
    tools = find_tools(version)
    with running_tool(tools.psql, *arguments, "--file", "-", url=plain_url(url), options=options) as psql:
        assert psql.stdin is not None
        first = True
        for chunk in dump:
            check.feed(chunk)
            if first and version < SINCE:
                chunk = chunk.replace(NEWER_SETTING, b"\n", 1)
            first = False
            psql.stdin.write(chunk)
            progress(dump.bytes, total)
        # The end of the input commits: until here, an exception kills psql, and nothing is restored.
        check.finish()
    return DumpContents(dump.bytes, dump.sha256, check.bytes, check.sequences)


def _server_version(url: str) -> int:
    import psycopg

    with psycopg.connect(plain_url(url)) as connection:
        return connection.info.server_version // 10_000
