"""The statements of a dump, read as psql reads them, and held against what a backup of this program contains.

A file that calls itself a backup is a program: psql runs whatever is in it. So nothing of it is run unless every
statement is one that a backup needs: tables, views, sequences and indexes in the schema ``public``, their comments and
constraints, and rows. The role that restores it has no rights beyond its own databases either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONGEST_SHOWN = 80
END_OF_ROWS = b"\\.\n"
_COLUMN = r'(?:\w+|"[^"]+")'
_NAME = rf"public\.{_COLUMN}"
# Forms of statements, with white space as single blanks, and with strings left out that are more than a word.
_ALLOWED = tuple(
    re.compile(form, re.DOTALL)
    for form in (
        r"SET (?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout) = 0",
        r"SET client_encoding = 'UTF8'",
        r"SET default_tablespace = ''",
        r"SET standard_conforming_strings = on",
        r"SET check_function_bodies = false",
        r"SET xmloption = content",
        r"SET client_min_messages = warning",
        r"SET row_security = off",
        r"SET default_table_access_method = heap",
        r"SELECT pg_catalog\.set_config\('search_path', '', false\)",
        r"SELECT pg_catalog\.setval\('\w*', \d+, (?:true|false)\)",
        rf"CREATE TABLE {_NAME} \(.*\)(?: WITH \([^()]*\))?",
        rf"CREATE VIEW {_NAME} AS (?:SELECT|WITH) .*",
        rf"(?:CREATE|ALTER) SEQUENCE {_NAME}(?: .*)?",
        rf"CREATE (?:UNIQUE )?INDEX {_COLUMN} ON {_NAME} USING .*",
        rf"ALTER TABLE (?:ONLY )?{_NAME} (?:ADD CONSTRAINT|ALTER COLUMN|CLUSTER ON|REPLICA IDENTITY) .*",
        rf"COMMENT ON (?:TABLE|COLUMN|VIEW|INDEX|SEQUENCE) {_NAME}(?:\.{_COLUMN})? IS (?:'\w*'|NULL)",
        rf"COMMENT ON CONSTRAINT {_COLUMN} ON {_NAME} IS (?:'\w*'|NULL)",
    )
)
_ROWS = re.compile(rf"COPY {_NAME} \([^()]*\) FROM stdin")
# What may stand before a parenthesis: words of SQL, types with a length, and the functions of our tables and views.
_WORDS = """
    all and any as btree by case check default distinct else except exists filter from gin having identity in intersect
    is join key lateral not numeric on or over partition select set then union unique using values varying when where
    with"""
_FUNCTIONS = """
    array_agg bool_or cardinality coalesce count extract gen_random_uuid greatest least lower max min nextval now nullif
    sum unnest upper"""
_BEFORE_PARENTHESIS = frozenset(f"{_WORDS} {_FUNCTIONS}".split())
_CALL = re.compile(r'((?:[\w$]+|"[^"]*")(?:\s*\.\s*(?:[\w$]+|"[^"]*"))*)\s*\(')
# The parts of a line: a comment, a string, a quoted name, or what ends or disguises a statement.
_PART = re.compile(r"--[^\n]*\n?|'|\"(?:[^\"\n]|\"\")*\"|;|\\|/\*|\$|\"")
_STRING_END = re.compile(r"(?:[^']|'')*?'(?!')")
_WORD = re.compile(r"\w*'")
_OWN_FUNCTIONS = ("pg_catalog.set_config", "pg_catalog.setval")


class UnexpectedStatement(Exception):
    """A dump holds what no backup of this program does; the message shows the line and its number."""


def harmless_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a dump, each once the statements that end on it are known to belong in a backup.

    Raises:
        UnexpectedStatement: a statement, or a command of psql, is not.
    """
    reader, number, began = _Reader(), 0, (0, b"")
    try:
        for line in lines:
            number += 1
            if reader.is_between_statements:
                began = number, line
            reader.take(line)
            yield line
        reader.finish()
    except _Unexpected:
        shown = " ".join(began[1].decode("utf-8", "replace").split())[:LONGEST_SHOWN]
        raise UnexpectedStatement(f"line {began[0]} ({shown!a})") from None


class _Unexpected(Exception):
    """What was read last is not part of a backup."""


class _Reader:
    """Splits lines into statements as psql does while ``standard_conforming_strings`` is on."""

    def __init__(self) -> None:
        self._statement: list[str] = []
        self._in_string = self._in_rows = False

    def take(self, line: bytes) -> None:
        """Read one line. Raises _Unexpected."""
        if self._in_rows:
            self._in_rows = line != END_OF_ROWS
            # Rows never begin like this, and some versions of psql also take other forms of the line for the end.
            if self._in_rows and line.startswith(b"\\."):
                raise _Unexpected
            return
        # psql reads bytes, and takes every byte of a non-ASCII character for a letter.
        text, place = line.decode("utf-8", "replace"), 0
        if "\0" in text:
            raise _Unexpected
        while place < len(text):
            place = self._skip_string(text, place) if self._in_string else self._next_part(text, place)

    @property
    def is_between_statements(self) -> bool:
        """Whether nothing of a statement was read yet."""
        return not (self._in_rows or self._in_string or "".join(self._statement).strip())

    def finish(self) -> None:
        """Refuse an unfinished statement after the last line: psql would run that, too. Raises _Unexpected."""
        if not self.is_between_statements:
            raise _Unexpected

    def _skip_string(self, text: str, place: int) -> int:
        """Go on behind the end of a string, if it is on this line."""
        end = _STRING_END.match(text, place)
        if end is None:
            return len(text)
        self._in_string = False
        self._statement.append(end[0] if _WORD.fullmatch(end[0]) else "'")
        return end.end()

    def _next_part(self, text: str, place: int) -> int:
        """Take what comes before the next string, comment or semicolon, and that."""
        part = _PART.search(text, place)
        if part is None:
            self._statement.append(text[place:])
            return len(text)
        self._statement.append(text[place : part.start()])
        found = part[0]
        if found.startswith("--"):
            self._statement.append(" ")
        elif found == "'":
            # E'…' and U&'…' have escapes of their own.
            if part.start() and (text[part.start() - 1].isalnum() or text[part.start() - 1] in "_&"):
                raise _Unexpected
            self._statement.append("'")
            self._in_string = True
        elif found.startswith('"') and len(found) > 1:
            self._statement.append(found)
        elif found == ";":
            self._end()
            if self._in_rows and text[part.end() :] != "\n":
                raise _Unexpected
        else:
            raise _Unexpected
        return part.end()

    def _end(self) -> None:
        """Look at a whole statement."""
        statement = " ".join("".join(self._statement).split())
        self._statement.clear()
        if _ROWS.fullmatch(statement):
            self._in_rows = True
            return
        # psql does not end a statement within parentheses.
        is_balanced = statement.count("(") == statement.count(")")
        if not is_balanced or not any(form.fullmatch(statement) for form in _ALLOWED):
            raise _Unexpected
        if not _calls_nothing_else(statement):
            raise _Unexpected


def _calls_nothing_else(statement: str) -> bool:
    """Tell whether every function that a statement calls is one that our own tables and views call."""
    for call in _CALL.finditer(statement):
        name = re.sub(r"\s", "", call[1]).replace('"', "").lower()
        if not (name in _BEFORE_PARENTHESIS or name in _OWN_FUNCTIONS or name.startswith("public.")):
            return False
    return True
