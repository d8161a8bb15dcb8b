"""PostgreSQL's client programs: which pg_dump to use, and how to run them without a password in the process list."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aperture_dagster.storage.backup.errors import BackupError, ToolFailed
from aperture_dagster.storage.cluster import ENVIRONMENT, VERSION, embedded_tool, last_error

# Parameters of a connection that must not appear in the list of processes. libpq reads the first one from a variable,
# and the others only from a service file.
PASSWORD, OTHER_SECRETS = "password", ("sslpassword", "oauth_client_secret")
SERVICE = "aperture"


# Where Debian puts each version's programs. Those on PATH are a wrapper that chooses a version by itself.
SYSTEM_PROGRAMS = "/usr/lib/postgresql/{major}/bin"
# The first versions that can leave out an extension and that protect a dump against commands of psql in its data.
OLDEST = (17, 6)
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PgDump:
    """A program that makes dumps, and its version: major and minor."""

    path: Path
    version: Version

    def suits(self, server: Version) -> bool:
        """Return whether it knows everything that a server of a version may store."""
        return self.version[0] == server[0] and self.version >= server


def find_pg_dump(server: Version) -> PgDump:
    """Return the pg_dump for a server of a version.

    That is one of the server's own major version that is at least as new as the server, and otherwise the one of this
    program. A minor release can store what older programs know nothing of, whatever their major version.

    Raises:
        BackupError: the server is newer than all of them: pg_dump refuses such a server.
    """
    folder, usable = SYSTEM_PROGRAMS.format(major=server[0]), []
    for path in (embedded_tool("pg_dump"), shutil.which("pg_dump", path=folder), shutil.which("pg_dump")):
        one = PgDump(Path(path), _version(path)) if path else None
        if one is None or one.version < OLDEST or one.version[0] < server[0]:
            continue
        if one.suits(server):
            return one
        usable.append(one)
    if usable:
        return usable[0]
    raise BackupError(
        f"The database runs on PostgreSQL {server[0]}, but this program brings the clients of version {VERSION}, and "
        f"neither PATH nor {folder} has a pg_dump of version {server[0]}: install postgresql-client-{server[0]}."
    )


def run_tool(program: Path, *arguments: str, url: str, options: Mapping[str, str] | None = None) -> str:
    """Run a client program on the database of a URL to its end; return what it printed. Raises ToolFailed."""
    with running_tool(program, *arguments, url=url, options=options) as process:
        printed, _ = process.communicate()
    return printed.decode("utf-8", "replace")


@contextmanager
def running_tool(
    program: Path, *arguments: str, url: str, options: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program during the block, with pipes to its input and from its output.

    The program is killed if the block raises. ``options`` are settings of its session on the server.

    Raises:
        ToolFailed: it ended with another exit code than 0, or was killed.
    """
    conninfo, secrets, service = _connection_of(url, options or {})
    environment = {name: value for name, value in os.environ.items() if name in ENVIRONMENT or name.startswith("PG")}
    # Files, since a full pipe would block the program, and without names, so that a kill leaves no secret behind.
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as service_file:
        if service:
            service_file.write(service.encode())
            service_file.flush()
            secrets["PGSERVICEFILE"] = f"/dev/fd/{service_file.fileno()}"
        process = subprocess.Popen(
            [program, *arguments, "--dbname", conninfo],
            # Messages are parsed.
            env=environment | {"LC_ALL": "C"} | secrets,
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
            raise ToolFailed(_describe(program.name, process.returncode, errors.read().decode("utf-8", "replace")))


def major_and_minor(number: int) -> Version:
    """Split ``server_version_num``."""
    return number // 10_000, number % 10_000


def version_in_words(version: Version) -> str:
    """Write a version as PostgreSQL does."""
    return f"{version[0]}.{version[1]}"


def plain_url(url: str) -> str:
    """Return a URL without SQLAlchemy's driver, as PostgreSQL's own programs read it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


def _describe(name: str, code: int, output: str) -> str:
    if code < 0:
        return f"{name} was killed ({signal.Signals(-code).name})."
    # psql reports errors of the server in capitals, with the line of its input before them.
    errors = [line.partition("ERROR:")[2].strip() for line in output.splitlines() if "ERROR:" in line]
    reason = next(iter(errors), "") or last_error(output) or f"it ended with exit code {code}"
    return f"{name} failed: {reason.rstrip('.')}."


def _connection_of(url: str, options: Mapping[str, str]) -> tuple[str, dict[str, str], str]:
    """Return the parameters of a connection as an argument, as environment variables, and as a service file."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parameters = {name: str(value) for name, value in conninfo_to_dict(plain_url(url)).items()}
    secrets = {"PGPASSWORD": parameters.pop(PASSWORD)} if parameters.get(PASSWORD) else {}
    others = [f"{name}={parameters.pop(name)}" for name in OTHER_SECRETS if name in parameters]
    if others:
        parameters["service"] = SERVICE
    settings = [parameters.pop("options", ""), *(f"-c {name}={value}" for name, value in options.items())]
    if any(settings):
        parameters["options"] = " ".join(filter(None, settings))
    return make_conninfo("", **parameters), secrets, "\n".join([f"[{SERVICE}]", *others, ""]) if others else ""


def _version(program: str | Path) -> Version:
    """Return the version of a program; 0.0 if it cannot be read. A beta counts as the first release."""
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        # Built for another machine, for example.
        return 0, 0
    found = re.search(r"\b(\d+)(?:\.(\d+)|devel|beta|rc|\s|$)", shown)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
