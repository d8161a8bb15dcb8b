"""Dumps: written by pg_dump, read line by line, and restored by psql."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex

from aperture_dagster.model import Progress
from aperture_dagster.postgres.backup.errors import BackupError, UnexpectedContent
from aperture_dagster.postgres.backup.programs import find_pg_dump, running_tool
from aperture_dagster.postgres.backup.statements import END_OF_ROWS, UnexpectedStatement, harmless_lines
from aperture_dagster.postgres.cluster import embedded_tool

# Higher levels take several times as long for a file that is a little smaller.
COMPRESSION = 1
END_MARK = b"-- PostgreSQL database dump complete\n"
# Commands of psql that protect a restore, which only recent versions know: `restore_dump` protects itself.
_GUARD = re.compile(rb"\\(?:un)?restrict [0-9A-Za-z]+\n")
# Written by newer clients for any server; older servers do not know it.
_NEWER_SETTING = b"SET transaction_timeout = 0;\n"
# Releases of PostgreSQL since November 2026 keep a version of each column among its options, and their own pg_dump
# leaves it out. An older pg_dump writes it; servers that know it ignore the value, and all others refuse it.
_COLUMN_VERSION = b"pg_attver="
_COLUMN_OPTIONS = re.compile(rb"(ALTER (?:[A-Z]+ )+ONLY .* ALTER COLUMN .* SET \()(.*)\);\n")
_ROWS_AT_ONCE = 1_000
_OPTIONS = {
    # Building an index in the default 64 MB takes much longer.
    "maintenance_work_mem": "256MB",
    # Workers that share memory need more of it than a container grants.
    "max_parallel_maintenance_workers": "0",
    "statement_timeout": "0",
}


def write_dump(url: str, file: Path, *arguments: str, server_major: int, progress: Progress | None = None) -> None:
    """Dump a database into a new file that only its owner can read, and bring it to the disk.

    ``arguments`` are further ones of pg_dump. ``progress`` counts rows.

    Raises:
        BackupError: pg_dump failed or was killed, or is too old for the server.
        OSError: the file cannot be written.
    """
    format_ = ("--format=plain", "--no-owner", "--no-privileges")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        with (
            gzip.GzipFile(fileobj=output, mode="wb", compresslevel=COMPRESSION) as compressed,
            running_tool(find_pg_dump(server_major), *format_, *arguments, url=url) as pg_dump,
        ):
            assert pg_dump.stdout is not None
            for line in _counted(pg_dump.stdout, progress):
                compressed.write(portable(line))
        output.flush()
        os.fsync(descriptor)


def _counted(lines: Iterable[bytes], progress: Progress | None) -> Iterator[bytes]:
    """Pass the lines of a dump on, and count the rows among them: what lies between a COPY and its end."""
    is_row, rows = False, 0
    for line in lines:
        yield line
        if is_row and line != END_OF_ROWS:
            rows += 1
            if progress is not None and rows == _ROWS_AT_ONCE:
                progress.add(rows)
                rows = 0
        else:
            is_row = line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n")
    if progress is not None:
        progress.add(rows)


def inspect_dump(file: Path) -> None:
    """Read a compressed dump to its end, and run nothing of it.

    Raises:
        BackupError: the file is damaged, incomplete, or holds what no backup does.
        OSError: the file cannot be read.
    """
    for _ in _lines_of(file):
        pass


def _lines_of(file: Path) -> Iterator[bytes]:
    """Yield the lines of a compressed dump; raises as :func:`inspect_dump`, if it is cut off, after the last one."""
    is_complete = False
    try:
        with gzip.open(file) as dump:
            for line in harmless_lines(dump):
                is_complete = line == END_MARK or (is_complete and not line.strip(b"-\n"))
                yield line
    except UnexpectedStatement as error:
        raise UnexpectedContent(
            f"{file} holds something that no backup of this program does, in {error}: it is not used, and nothing of "
            "it was run."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise BackupError(f"{file} is damaged, cut off, or not compressed with gzip: it is not used.") from None
    if not is_complete:
        raise BackupError(f"{file} is cut off: the mark at the end of a dump is missing. It is not used.")


def restore_dump(url: str, file: Path, progress: Progress | None = None) -> None:
    """Restore a compressed dump into an empty database, in one transaction.

    psql commits whatever it has read, so a dump that was cut off must not come to its end; and it would run programs
    that a dump names, so its commands are forbidden, in addition to :func:`inspect_dump`. ``progress`` counts rows.

    Raises:
        BackupError: the file is damaged, incomplete or unsafe, or psql refused it; nothing was restored.
        OSError: the file cannot be read; nothing was restored.
    """
    arguments = ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--single-transaction", "--output", "/dev/null"]
    with running_tool(embedded_tool("psql"), *arguments, "--file", "-", url=url, options=_OPTIONS) as psql:
        assert psql.stdin is not None
        # Until the one command that knows the key, psql obeys no other.
        psql.stdin.write(f"\\restrict {token_hex(16)}\n".encode())
        # The end of the input commits: until here, an exception kills psql, and nothing is restored.
        for line in _counted(_lines_of(file), progress):
            psql.stdin.write(line)


def portable(line: bytes) -> bytes:
    """Return a line of a dump without what psql or servers of other versions refuse; no content changes."""
    if line == _NEWER_SETTING or _GUARD.fullmatch(line):
        return b""
    if _COLUMN_VERSION in line and (found := _COLUMN_OPTIONS.fullmatch(line)):
        others = [option for option in found[2].split(b", ") if not option.startswith(_COLUMN_VERSION)]
        return found[1] + b", ".join(others) + b");\n" if others else b""
    return line
