"""PostgreSQL's client programs, run without a password in the list of processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aperture_dagster.postgres.backup.errors import BackupError
from aperture_dagster.postgres.cluster import ENVIRONMENT, VERSION, embedded_tool, last_error

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
    parameters["options"] = " ".join(str(setting) for setting in settings if setting)
    lines = [f"[{SERVICE}]", *(f"{name}={value}" for name, value in parameters.items() if value not in (None, ""))]
    return password, "\n".join([*lines, ""])
