"""The terminal: its width, and text that breaks between words only."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 100
WIDEST = 140
"""Longer lines are hard to read, however wide the terminal is."""


class Terminal(Console):
    """A console that asks its own file for its width.

    While a step runs, Dagster redirects the descriptors that Rich would ask.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, highlight=False, emoji=False)

    @property
    def size(self) -> ConsoleDimensions:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Columns and lines; a file or pipe has a fixed width, unless the environment sets COLUMNS."""
        columns = lines = 0
        if self._width is not None:
            columns = self._width
        elif not self.is_terminal:
            columns = WIDTH_WITHOUT_TERMINAL
        else:
            with contextlib.suppress(OSError, ValueError):
                columns, lines = os.get_terminal_size(self.file.fileno())
        # Some pseudo-terminals have no size.
        return ConsoleDimensions(columns or 80, lines or 25)

    @property
    def text_width(self) -> int:
        """Columns for text."""
        return min(self.size.width, WIDEST)

    def print_hanging(self, text: str | Text, style: str = "", *, indent: int = 0, hang: int | None = None) -> None:
        """Print text that is broken between words; ``hang`` is the indentation of its second and later lines.

        In a pipe it is one line, so that tools that read lines find all of it.
        """
        text = text if isinstance(text, Text) else Text(text)
        # A style of the whole line would colour the indentation, too.
        text.stylize(style)
        hang = indent + 2 if hang is None else hang
        lines = list(_wrapped(text, self.text_width - indent, self.text_width - hang)) if self.is_terminal else [text]
        for number, line in enumerate(lines):
            # Longer words, such as paths, are left to the terminal: what it breaks can still be copied.
            self.print(Text(" " * (hang if number else indent)) + line, soft_wrap=True)


def _wrapped(text: Text, first: int, rest: int) -> list[Text]:
    """Break text between words into lines that fit, with their styles; ``first`` and ``rest`` are their widths."""
    starts, width, used, position = [0], max(first, 1), 0, 0
    for word in text.plain.split(" "):
        length = cell_len(word)
        if used and used + 1 + length > width:
            starts.append(position)
            width, used = max(rest, 1), length
        else:
            used += length + (1 if used else 0)
        position += len(word) + 1
    ends = [*(start - 1 for start in starts[1:]), len(text.plain)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def fit(text: str, width: int, *, between: Sequence[str] = (" ",)) -> str:
    """Shorten text to a number of columns, and end it with an ellipsis.

    It is cut at one of the separators ``between``, or else between words; a single long word is cut anywhere.
    """
    text = " ".join(text.split())
    if cell_len(text) <= width:
        return text
    for separators in (between, (" ",)):
        cuts = {found.start() for one in separators for found in re.finditer(re.escape(one), text)}
        fitting = [cut for cut in cuts if cell_len(text[:cut]) < width]
        if fitting:
            return text[: max(fitting)].rstrip(",;: ") + "…"
    kept = text
    while kept and cell_len(kept) >= width:
        kept = kept[:-1]
    return f"{kept}…" if width > 0 else ""


def pad(text: str, width: int) -> str:
    """Fill text with spaces to a number of columns; some characters take two."""
    return text + " " * (width - cell_len(text))
