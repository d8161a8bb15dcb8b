"""Dumps: how they are made and read back, by which programs, and the fingerprints that prove them."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Connection

from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.statements import UnexpectedStatement, harmless_lines
from aperture_dagster.postgres.cluster import ENVIRONMENT, VERSION, embedded_tool, last_error
from aperture_dagster.postgres.queries import execute

# Errors of backups; each message is one sentence for the operator.


class BackupError(OperatorError):
    """A backup cannot be made, read or restored; the message says why, what was kept and what to do."""


class UnexpectedContent(BackupError):
    """A dump holds statements that no backup of this program has."""


# PostgreSQL's client programs, run without a password in the process list.


SERVICE = "aperture"
# Where Debian puts each version's programs. Those on PATH are a wrapper that chooses a version by itself.
SYSTEM_PROGRAMS = "/usr/lib/postgresql/{major}/bin"


def find_pg_dump(server_major: int) -> Path:
    """Return the pg_dump for a server: the one of this program, or one of the server's version if that is newer.

    Raises:
        BackupError: pg_dump refuses servers that are newer than it, and there is none of the server's version.
    """
    if server_major <= VERSION:
        return embedded_tool("pg_dump")
    folder = SYSTEM_PROGRAMS.format(major=server_major)
    if found := shutil.which("pg_dump", path=folder):
        return Path(found)
    raise BackupError(
        f"The database runs on PostgreSQL {server_major}, but this program brings the clients of version {VERSION}, "
        f"and there is no pg_dump in {folder}: install postgresql-client-{server_major}."
    )


@contextmanager
def running_tool(
    program: Path, *arguments: str, url: str, options: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program on a database during the block, with pipes to its input and from its output.

    The program is killed if the block raises. ``options`` are settings of its session on the server.

    Raises:
        BackupError: it ended with another exit code than 0, or was killed.
    """
    password, service = _connection_of(url, options or {})
    environment = {name: value for name, value in os.environ.items() if name in ENVIRONMENT or name.startswith("PG")}
    # Files, since a full pipe would block the program, and without names, so that a kill leaves no secret behind.
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as service_file:
        service_file.write(service.encode())
        service_file.flush()
        place = {"PGSERVICE": SERVICE, "PGSERVICEFILE": f"/dev/fd/{service_file.fileno()}", "PGPASSWORD": password}
        process = subprocess.Popen(
            [program, *arguments],
            # Messages are parsed.
            env=environment | {"LC_ALL": "C"} | place,
            pass_fds=(service_file.fileno(),),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            umask=0o077,
        )
        pipe_broke = False
        try:
            yield process
        except BrokenPipeError:
            # The program ended early; its exit code and messages say why.
            pipe_broke = True
        except BaseException:
            process.kill()
            raise
        finally:
            for stream in (process.stdin, process.stdout):
                try:
                    if stream is not None:
                        stream.close()
                except BrokenPipeError:
                    pipe_broke = True
            process.wait()
        if process.returncode or pipe_broke:
            errors.seek(0)
            raise BackupError(_describe(program.name, process.returncode, errors.read().decode("utf-8", "replace")))


def _describe(name: str, code: int, output: str) -> str:
    if code < 0:
        return f"{name} was killed ({signal.Signals(-code).name})."
    # psql reports errors of the server in capitals, with the line of its input before them.
    errors = [line.partition("ERROR:")[2].strip() for line in output.splitlines() if "ERROR:" in line]
    reason = next(iter(errors), "") or last_error(output) or f"it ended with exit code {code}"
    return f"{name} failed: {reason.rstrip('.')}."


def _connection_of(url: str, options: Mapping[str, str]) -> tuple[str, str]:
    """Return the password of a URL, and everything else as a service file, which nobody else can read either."""
    from psycopg.conninfo import conninfo_to_dict

    scheme, _, rest = url.partition("://")
    parameters = conninfo_to_dict(f"{scheme.partition('+')[0]}://{rest}")
    password = str(parameters.pop("password", ""))
    settings = [parameters.get("options"), *(f"-c {name}={value}" for name, value in options.items())]
    parameters["options"] = " ".join(str(one) for one in settings if one)
    lines = [f"[{SERVICE}]", *(f"{name}={value}" for name, value in parameters.items() if value not in (None, ""))]
    return password, "\n".join([*lines, ""])


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
_OPTIONS = {
    # Building an index in the default 64 MB takes much longer.
    "maintenance_work_mem": "256MB",
    # Workers that share memory need more of it than a container grants.
    "max_parallel_maintenance_workers": "0",
    "statement_timeout": "0",
}


def write_dump(url: str, file: Path, *arguments: str, server_major: int) -> None:
    """Dump a database into a new file that only its owner can read, and bring it to the disk.

    ``arguments`` are further ones of pg_dump.

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
            for line in pg_dump.stdout:
                compressed.write(portable(line))
        output.flush()
        os.fsync(descriptor)


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


def restore_dump(url: str, file: Path) -> None:
    """Restore a compressed dump into an empty database, in one transaction.

    psql commits whatever it has read, so a dump that was cut off must not come to its end; and it would run programs
    that a dump names, so its commands are forbidden, in addition to :func:`inspect_dump`.

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
        for line in _lines_of(file):
            psql.stdin.write(line)


def portable(line: bytes) -> bytes:
    """Return a line of a dump without what psql or servers of other versions refuse; no content changes."""
    if line == _NEWER_SETTING or _GUARD.fullmatch(line):
        return b""
    if _COLUMN_VERSION in line and (found := _COLUMN_OPTIONS.fullmatch(line)):
        others = [option for option in found[2].split(b", ") if not option.startswith(_COLUMN_VERSION)]
        return found[1] + b", ".join(others) + b");\n" if others else b""
    return line


# What a database contains, in a form that can be compared: rows and hashes of tables, and the parts of the schema.


SHOWN = 5
# Rows are hashed as text, which these settings must not change; a large table takes its time.
_FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    # Definitions then name every table with its schema.
    "search_path": "",
    "statement_timeout": "0",
}
# Objects of the database itself, without temporary ones and those that belong to an extension.
_OWN = """
    n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')"""
_RELATIONS = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
_NAME = "format('%I.%I', n.nspname, c.relname)"
_DEFINITIONS = f"""
    SELECT 'column ' || {_NAME} || '.' || quote_ident(a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(e.adbin, e.adrelid))
    FROM {_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef e ON e.adrelid = c.oid AND e.adnum = a.attnum WHERE c.relkind IN ('r', 'p') AND {_OWN}
    UNION ALL SELECT 'constraint ' || {_NAME} || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    FROM {_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid WHERE {_OWN}
    UNION ALL SELECT 'index ' || {_NAME}, pg_get_indexdef(c.oid)
    FROM {_RELATIONS} WHERE c.relkind IN ('i', 'I') AND {_OWN}
    UNION ALL SELECT 'view ' || {_NAME}, pg_get_viewdef(c.oid)
    FROM {_RELATIONS} WHERE c.relkind IN ('v', 'm') AND {_OWN}"""


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows of a table, and a hash of them that does not depend on their order."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The contents of a database: rows by table, and definitions of everything else as PostgreSQL writes them."""

    tables: Mapping[str, Rows]
    definitions: Mapping[str, str]

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(one.count for one in self.tables.values())


def read_fingerprint(connection: Connection) -> Fingerprint:
    """Count and hash everything in the database of a connection, in its current transaction."""
    # Its end takes the settings back.
    with connection.begin_nested() as settings:
        for name, value in _FORMATS.items():
            execute(connection, "SELECT set_config(:name, :value, true)", name=name, value=value)
        tables = {name: _read_table(connection, name) for name in _names(connection, "r")}
        definitions = {name: str(definition) for name, definition in execute(connection, _DEFINITIONS)}
        settings.rollback()
    return Fingerprint(tables, definitions)


def read_sequences(connection: Connection) -> dict[str, int]:
    """Read which number each sequence gives next. Sequences belong to no transaction, and may go on at any time."""
    next_number = "SELECT last_value + is_called::int FROM "
    return {name: execute(connection, next_number + name).scalar_one() for name in _names(connection, "S")}


def differences(expected: Fingerprint, found: Fingerprint) -> list[str]:
    """Describe everything in which a restored database differs from the one that was dumped; empty if nothing does."""
    problems: list[str] = []
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        before, now = expected.tables.get(name), found.tables.get(name)
        if before is None or now is None:
            problems.append(f"table {name} {'is missing' if now is None else 'was not in the dumped database'}")
        elif before.count != now.count:
            problems.append(f"table {name} has {now.count:,} rows instead of {before.count:,}")
        elif before != now:
            problems.append(f"table {name} has other contents")
    changed = sorted(name for name, _ in expected.definitions.items() ^ found.definitions.items())
    return problems + [f"{name} is another" for name in dict.fromkeys(changed)]


def _read_table(connection: Connection, name: str) -> Rows:
    # A sum, unlike an exclusive or, also notices a pair of rows that is missing. MD5 gives the same value on every
    # version and platform.
    digest = "sum(('x' || left(md5(t::text), 16))::bit(64)::bigint)"
    count, digested = execute(connection, f"SELECT count(*), coalesce({digest}, 0)::text FROM ONLY {name} t").one()
    return Rows(count, digested)


def _names(connection: Connection, kind: str) -> list[str]:
    """Return the names of our lasting tables ("r") or sequences ("S"), with their schemas."""
    statement = f"SELECT {_NAME} FROM {_RELATIONS} WHERE c.relkind = '{kind}' AND c.relpersistence <> 't' AND {_OWN}"
    return sorted(name for (name,) in execute(connection, statement))
