"""The file ``.env`` of a home: read, and changed by programs without losing what a person wrote in it.

Comments, the order and unknown lines stay. What is written comes back through the reader that
:func:`aperture_dagster.settings.load_settings` uses, whatever is in it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from aperture_dagster.files import locks
from aperture_dagster.files.private import FileError, sync_folder, write_file

LOCK = ".env.lock"
LOCK_SECONDS = 10.0
LARGEST = 1_000_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What other programs, such as a shell or Docker Compose, read in the same way without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_BEFORE_VALUE = re.compile(r"\s*(?:export[^\S\r\n]+)?[^=]*=[^\S\r\n]*")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_COMMENT = re.compile(r"[^\S\r\n]+#[^\r\n]*(?=[\r\n]*\Z)")
_LINE_END = re.compile(r"(?:\r\n|\n|\r)\Z")


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables that a file sets, as settings are read from it; empty if there is no file.

    Raises:
        FileError: it cannot be read, or a line of it cannot be understood.
    """
    return _values(path, _read(path))


def change_env_file(path: Path, changes: Mapping[str, str | None]) -> None:
    """Set variables in a file, or remove those with None; everything else in it stays as it is.

    A variable that is set twice is set once afterwards. The file is replaced as a whole: killed at any point, this
    leaves the old one or the new one. One process writes at a time.

    Raises:
        FileError: the file is a link, belongs to another user, cannot be understood or cannot be written, or another
            process is changing it. It is as it was.
        ValueError: no line could hold a value or a name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        # Of a process that was killed while it wrote.
        for left in path.parent.glob(f".{path.name}-*"):
            left.unlink(missing_ok=True)
        before = _read(path)
        after = _changed(path, before, changes)
        if after != before:
            write_file(path, after.encode())
            sync_folder(path.parent)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        while (lock := locks.acquire(path.with_name(LOCK), wait=False)) is None:
            if time.monotonic() > deadline:
                raise FileError(f"{path} is being changed by another process; nothing was changed. Try again.")
            time.sleep(0.02)
    except OSError as error:
        raise FileError(
            f"{path} cannot be changed, since {path.parent} cannot be written: {error.strerror or error}."
        ) from None
    try:
        yield
    finally:
        locks.release(lock)


def _read(path: Path) -> str:
    """Return the text of a file that belongs to this user; empty if there is none. A link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if path.is_symlink():
            raise FileError(f"{path} is a link. It is changed by hand only: edit the file that it leads to.") from None
        raise FileError(f"{path} cannot be read: {error.strerror}.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise FileError(f"{path} is not a file of the user that this program runs as, so it is changed by hand only.")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise FileError(f"{path} is too large for settings.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path} is not in UTF-8: save it in that encoding.") from None


def _bindings(path: Path, text: str) -> list[Binding]:
    bindings = list(parse_stream(io.StringIO(text)))
    if wrong := next((line for line in bindings if line.error), None):
        raise FileError(f"{path}, line {wrong.original.line}: expected NAME=value. Nothing of it is shown.")
    return bindings


def _values(path: Path, text: str) -> dict[str, str]:
    _bindings(path, text)
    values = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if value is not None}


def _changed(path: Path, before: str, changes: Mapping[str, str | None]) -> str:
    """Return a text with other values. Settings are read from names in lower case, too."""
    for name, value in changes.items():
        if not _NAME.fullmatch(name) or (value is not None and "\0" in value):
            raise ValueError(f"{name}: no line of a file can hold this")
    wanted = {name.upper(): (name, value) for name, value in changes.items()}
    bindings = _bindings(path, before)
    last = {binding.key.upper(): number for number, binding in enumerate(bindings) if binding.key is not None}
    lines: list[str] = []
    for number, binding in enumerate(bindings):
        key = (binding.key or "").upper()
        if key not in wanted:
            lines.append(binding.original.string)
            continue
        _, value = wanted[key]
        # Blank lines before it belong to the same piece of text.
        indent = re.match(r"\s*", binding.original.string)
        above = indent[0] if indent is not None else ""
        if value is None or number != last[key]:
            lines.append(above[: above.rfind("\n") + 1])
        else:
            lines.append(_replaced(binding, value))
    text = "".join(lines)
    for key, (name, value) in wanted.items():
        if value is not None and key not in last:
            text += "\n" if text and not text.endswith(("\n", "\r")) else ""
            text += f"{name}={_quoted(value)}\n"
    # Whatever else a file holds, what was to be set is what will be read.
    found = {name.upper(): read for name, read in _values(path, text).items()}
    if any(found.get(key) != value for key, (_, value) in wanted.items()):
        raise FileError(f"{path} holds something that keeps a value from being set: it is changed by hand only.")
    return text


def _replaced(binding: Binding, value: str) -> str:
    """Return the text of a variable with another value; a comment behind the old one stays."""
    text = binding.original.string
    start, end = _BEFORE_VALUE.match(text), _LINE_END.search(text)
    before = start[0] if start is not None else f"{text.rstrip()}="
    after = text[len(before) :]
    quoted = _QUOTED.match(after)
    comment = _COMMENT.search(after, quoted.end() if quoted is not None else 0)
    return f"{before}{_quoted(value)}{comment[0] if comment else ''}{end[0] if end else ''}"


def _quoted(value: str) -> str:
    """Return a value as it is written in a file.

    Raises:
        ValueError: there is no way to write it.
    """
    # The reader replaces ${…}, in quotes as well, and takes the default of what has no name.
    text = value.replace("${", "${:-$}{")
    single = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    double = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    for written in ([text] if _PLAIN.fullmatch(text) else []) + [single, double, text]:
        # Other lines follow, with quotes in them.
        lines = io.StringIO(f"A={written} # it's \"\nB='b'\nC=\"c\"\n")
        if not {"\n", "\r"} & set(written) and dict(dotenv_values(stream=lines)) == {"A": value, "B": "b", "C": "c"}:
            return written
    raise ValueError("no line of a file can hold this value")
