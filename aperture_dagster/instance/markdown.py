"""What the pages of assets show: Markdown, and figures as texts.

Only this module makes Markdown, so that text from outside is shown literally.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from aperture_dagster.model import printable
from aperture_dagster.settings import Settings

# Titles, names and messages come from servers that anybody may fill. Unescaped, they could make the operator's browser
# fetch a picture, show a link, or take a table apart.


# Dagster's UI shows longer Markdown behind a link. A head and one record are always kept.
LONGEST_INLINE, LEAST_LINES = 1000, 3
# Underscores within a word mean nothing, nor does an ampersand that begins no entity.
_MEANINGFUL = re.compile(r"[\\`*\[\]<|~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_BEGINS_A_BLOCK = re.compile(r"^(\d*)([-+#=>.)])")
# The UI turns addresses into links after unescaping. A zero-width space breaks up what looks like one.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=[-.\w+])(?=@\w)", re.IGNORECASE)
_NO_WIDTH = "\u200b"
MEGABYTE = 1_000_000
# Figures of every run: those who add them up rely on them.
KEPT_ZEROS = frozenset({"dagster/row_count", "dagster/partition_row_count", "rows_written", "requests"})
ZEROS = "zero"


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


def score_table(rows: Sequence[Mapping[str, Any]], parts: Iterable[str]) -> dg.MetadataValue:
    """Show of what the scores of a list's first titles are made: a line per part and a column per title, by its rank.

    Each row has ``rank``, ``score`` and ``components``.
    """
    if not rows:
        return NOTHING
    lines = {"score": [f"{row['score']:.2f}" for row in rows]}
    lines |= {part: [f"{row['components'].get(part, 0):.2f}" for row in rows] for part in parts}
    ranks = [f"#{row['rank']}" for row in rows]
    return markdown_table([{"part": part} | dict(zip(ranks, values, strict=True)) for part, values in lines.items()])


def arranged(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Order what a page shows: what a person reads first, then the numbers, which become plots, and last their zeros.

    Within each part the order is kept. Counters that are 0, of which most runs have many, become one entry with their
    names; the figures of every run (``KEPT_ZEROS``) stay.
    """
    words: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    zeros: list[str] = []
    for name, value in metadata.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            words[name] = value
        elif value == 0 and isinstance(value, int) and name not in KEPT_ZEROS:
            zeros.append(name)
        else:
            numbers[name] = value
    return words | numbers | ({ZEROS: ", ".join(zeros)} if zeros else {})


def course(before: int, rank: int) -> str:
    """Say how far a title has moved in a list; empty if it has not."""
    return "" if before == rank else f"▲ {before - rank}" if before > rank else f"▼ {rank - before}"


def in_megabytes(size: int) -> str:
    """Format a size in bytes for a column or sentence that names the unit."""
    return f"{size / MEGABYTE:,.1f}"


POSTERS = 5
POSTER_HEIGHT = 100
COLUMNS = "▁▂▃▄▅▆▇█"
LONGEST_BAR = 10


def genre_bars(shares: Mapping[str, float], *, most: int = 7) -> list[str]:
    """Draw a bar for each of the genres with the largest shares (0-1) of what somebody likes, the largest first."""
    largest = sorted(
        ((name, share) for name, share in shares.items() if share > 0), key=lambda genre: (-genre[1], genre[0])
    )
    return [f"{COLUMNS[-1] * max(round(share * LONGEST_BAR), 1)} {name} {share:.0%}" for name, share in largest[:most]]


def week_columns(plays: Sequence[tuple[date, int]]) -> str:
    """Draw a column per week in a line of text, and name the highest week's figure; empty without plays.

    ``plays`` are the first day of each week and its plays, the oldest week first.
    """
    most = max((count for _, count in plays), default=0)
    if not most:
        return ""
    columns = "".join(COLUMNS[round(count / most * (len(COLUMNS) - 1))] for _, count in plays)
    return f"{plays[0][0]:%d %b} {columns} {plays[-1][0]:%d %b}, highest week {most:,}"


def alternative_text(title: str) -> str:
    """Return a title without what would end, or be read as Markdown in, the alternative text of an image."""
    return "".join(character for character in printable(title) if character not in "[]\\`\n")


def poster_row(settings: Settings, titles: Iterable[tuple[str, str | None]]) -> Markup:
    """Return Markdown with posters side by side: as many as the UI shows at once, empty if there are none.

    The media server serves pictures without a key. ``titles`` are titles and ids on the server; those without one are
    left out.
    """
    posters = ""
    for title, server_item_id in titles:
        if server_item_id is None or posters.count("![") == POSTERS:
            continue
        address = f"{settings.media_server_url}/Items/{server_item_id}/Images/Primary?maxHeight={POSTER_HEIGHT}"
        poster = f"![{alternative_text(title)}]({address}) "
        if len(posters) + len(poster) >= LONGEST_INLINE:
            break
        posters += poster
    return Markup(posters.rstrip())
