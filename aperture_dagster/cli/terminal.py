"""The terminal: its width, text that breaks between words only, and nothing that controls it but our own colours."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import click
import rich.console
from rich.cells import cell_len
from rich.console import ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from aperture_dagster.model import UNPRINTABLE, printable

WIDTH_WITHOUT_TERMINAL = 100
WIDEST = 140
"""Longer lines are hard to read, however wide the terminal is."""


class Console(rich.console.Console):
    """A console on which titles, names and messages from outside are text: they are no markup, and control nothing."""

    def __init__(self, file: TextIO | None = None, *, soft_wrap: bool = False) -> None:
        super().__init__(file=file, highlight=False, emoji=False, markup=False, soft_wrap=soft_wrap)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Turn anything into pieces of text with styles; whatever is printed comes through here."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def on_broken_pipe(self) -> None:
        """Say nothing more: whoever read this, such as `head`, has seen enough, and what is under way goes on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Terminal(Console):
    """A console that asks its own file for its width.

    While a step runs, Dagster redirects the descriptors that Rich would ask.
    """

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
    starts, position = [0], 0
    for word in text.plain.split(" "):
        width = max(rest if len(starts) > 1 else first, 1)
        if position > starts[-1] and cell_len(text.plain[starts[-1] : position + len(word)]) > width:
            starts.append(position)
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


PARTS = ("; ", ", ", " and ")
"""What separates the parts of a reason; the last parts are left out where there is no room."""
# Columns of a title, and of the reason beside it.
LEAST_TITLE, LONGEST_TITLE, LEAST_REASON = 20, 40, 28


def print_titles(rows: Sequence[tuple[str, str, str]], console: Terminal) -> None:
    """Print a line for each title: what it is, its name, and the reason or state beside it (or below, without room)."""
    kinds = max((len(kind) for kind, _, _ in rows), default=0)
    room = console.text_width - kinds - 4
    titles = min(max((cell_len(title) for _, title, _ in rows), default=0), LONGEST_TITLE, max(room // 2, LEAST_TITLE))
    for kind, title, about in rows:
        start = Text.assemble(("  " + kind.ljust(kinds), "dim"), "  ")
        if room - titles - 2 < LEAST_REASON:
            console.print(start + Text(fit(title, room)), soft_wrap=True)
            if about:
                console.print(Text(" " * len(start) + fit(about, room, between=PARTS), "dim"), soft_wrap=True)
        else:
            line = (
                start
                + Text(pad(fit(title, titles), titles))
                + Text(f"  {fit(about, room - titles - 2, between=PARTS)}", "dim")
            )
            line.rstrip()
            console.print(line, soft_wrap=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of text to stdout, or to stderr."""
    click.echo(printable(text), err=err)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""The option of commands that programs may want to read."""


def echo_json(document: Any) -> None:
    """Print JSON with escaped control characters: programs read all of them, and no terminal obeys them."""
    text = json.dumps(document, ensure_ascii=False, indent=1, default=_as_text)
    click.echo(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _as_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
