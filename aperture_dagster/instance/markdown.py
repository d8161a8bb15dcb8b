"""Markdown on the pages of assets. Only this module makes it, so that text from outside is shown literally.

Titles, names and messages come from servers that anybody may fill. Unescaped, they could make the operator's browser
fetch a picture, show a link, or take a table apart.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from aperture_dagster.model.wording import printable

# Dagster's UI shows longer Markdown behind a link. A head and one record are always kept.
LONGEST_INLINE, LEAST_LINES = 1000, 3
# Underscores within a word mean nothing, nor does an ampersand that begins no entity.
_MEANINGFUL = re.compile(r"[\\`*\[\]<|~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_BEGINS_A_BLOCK = re.compile(r"^(\d*)([-+#=>.)])")
# The UI turns addresses into links after unescaping. A zero-width space breaks up what looks like one.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=[-.\w+])(?=@\w)", re.IGNORECASE)
_NO_WIDTH = "\u200b"


class Markup(str):
    """Markdown of this program, in which nothing from outside is left unescaped."""


def escaped(text: str) -> Markup:
    """Return Markdown that shows a text literally, on one line."""
    if isinstance(text, Markup):
        return text
    line = _MEANINGFUL.sub(r"\\\g<0>", " ".join(printable(text).split()))
    return Markup(_ADDRESS.sub(_NO_WIDTH, line))


def markdown(markup: Markup) -> dg.MetadataValue:
    """Show Markdown of this program."""
    return dg.MetadataValue.md(str(markup))


NOTHING = dg.MetadataValue.md("*nothing*")


def markdown_table(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, *, whole: bool = False
) -> dg.MetadataValue:
    """Show records as a table: a fifth of the bytes of a table of Dagster's, for what is recorded often.

    Texts are escaped, except for :class:`Markup`. The last records are left out if the UI would hide the table behind a
    link, unless it is to be ``whole``.
    """
    if not records:
        return NOTHING
    columns = columns or list(records[0])
    rows = [columns, ["---"] * len(columns), *([cell(row.get(name)) for name in columns] for row in records)]
    lines = [" | ".join(map(_in_table, row)) for row in rows]
    while not whole and len(lines) > LEAST_LINES and sum(len(line) + 5 for line in lines) >= LONGEST_INLINE:
        lines.pop()
    return markdown(Markup("\n".join(f"| {line} |" for line in lines)))


def markdown_list(texts: Iterable[str], *, numbered: bool = False) -> dg.MetadataValue:
    """Show texts as a list, with bullets or with numbers from 1 on."""
    lines = [_BEGINS_A_BLOCK.sub(r"\1\\\2", escaped(text)) for text in texts]
    marked = [f"{f'{number}.' if numbered else '-'} {line}" for number, line in enumerate(lines, start=1)]
    return markdown(Markup("\n".join(marked))) if marked else NOTHING


def code_block(text: str) -> dg.MetadataValue:
    """Show a text with its line breaks, such as a stack trace."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return markdown(Markup(f"{fence}\n{printable(text)}\n{fence}"))


def _in_table(value: Any) -> str:
    if value is None:
        return ""
    # str() would turn Markup into plain text.
    return escaped(value if isinstance(value, str) else str(value))


def cell(value: Any) -> str | int | float | bool | None:
    """Return a value in the form in which a table shows it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if value != value else round(value, 3)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
