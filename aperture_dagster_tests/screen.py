"""A terminal for tests: what a person sees of a program's output, and in which width."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from aperture_dagster_tests.waiting import SECONDS

TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\x1b.?)|(.)", re.DOTALL)


@dataclass
class Screen:
    """The lines that a terminal of ``width`` columns shows.

    Knows the control sequences that our commands send; any other is an error.
    """

    width: int
    raw: str = ""
    rows: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    wrapped: list[int] = field(default_factory=list)
    """Rows that the terminal itself broke, without regard to words."""

    def feed(self, text: str) -> None:
        """Show more output."""
        from rich.cells import cell_len

        self.raw += text
        for match in TOKEN.finditer(text):
            parameters, command, other, character = match.groups()
            assert other is None, f"unknown control sequence {other!r}"
            if command == "A":
                self.row = max(0, self.row - int(parameters or 1))
            elif command == "K":
                self.rows[self.row] = [] if parameters == "2" else self.rows[self.row][: self.column]
            elif command is not None:
                # Colours, and the cursor that is hidden or shown.
                assert command == "m" or parameters == "?25", f"unknown control sequence {match[0]!r}"
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._next_row()
            else:
                cells = cell_len(character)
                if self.column + cells > self.width:
                    self.wrapped.append(self.row)
                    self._next_row()
                    self.column = 0
                line = self.rows[self.row]
                line.extend(" " * (self.column - len(line)))
                # A wide character takes two cells; the second is empty text.
                line[self.column : self.column + cells] = [character, *[""] * (cells - 1)]
                self.column += cells

    def _next_row(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without spaces at the ends."""
        return ["".join(row).rstrip() for row in self.rows]


@contextmanager
def terminal(width: int) -> Iterator[tuple[TextIO, Screen]]:
    """Open a pseudo-terminal; what is written to the file is on the screen when the block has ended."""
    screen = Screen(width)
    reading, writing = os.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    received: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(reading, received))
    reader.start()
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as file:
            yield file, screen
    finally:
        reader.join(SECONDS)
        os.close(reading)
    screen.feed(b"".join(received).decode("utf-8"))


def _read_all(descriptor: int, received: list[bytes]) -> None:
    while True:
        try:
            block = os.read(descriptor, 65_536)
        except OSError:
            # The last process that had the terminal open has closed it.
            return
        if not block:
            return
        received.append(block)


def run_in_terminal(command: Sequence[str], width: int, *, cwd: Path, env: dict[str, str]) -> tuple[int, Screen]:
    """Run a command whose input, output and errors are a terminal; return its exit code and the screen."""
    with terminal(width) as (file, screen):
        done = subprocess.run(
            command,
            stdin=file,
            stdout=file,
            stderr=file,
            cwd=cwd,
            env=env | {"TERM": "xterm-256color"},
            timeout=SECONDS,
        )
    return done.returncode, screen
