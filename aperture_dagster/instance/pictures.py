"""Pictures for the assets' pages: SVG drawn from plain values, small enough to be kept in an event.

A picture is an image in Markdown with a ``data:`` address. If that is short, Dagster's UI shows it in place, otherwise
behind a link. An image cannot know the theme of the page, so colours have contrast on light and on dark ones, and the
background is transparent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from urllib.parse import quote

from aperture_dagster.instance.markdown import LONGEST_INLINE, Markup
from aperture_dagster.model.wording import printable, shortened
from aperture_dagster.settings import Settings

INK, BAR = "#7a8094", "#7166e8"
WIDTH = 440
ROW = 20
LABEL = 160
PANEL = (210, 18)
COLUMNS = 3
LONGEST_GENRE = 14
POSTERS = 5
POSTER_HEIGHT = 100

Shares = Mapping[str, float]


def genre_bars(shares: Shares, *, title: str, rows: int = 7) -> Markup:
    """Draw a bar per genre, the largest share first, as Markdown.

    Args:
        shares: genre to share (0-1) of what somebody likes.
        title: above the bars.
        rows: genres at most.
    """
    largest = _largest(shares, rows)
    if not largest:
        return Markup("*nothing yet*")
    texts = [(0, 12, title)]
    texts += [(0, 32 + ROW * row, f"{name} {share:.0%}") for row, (name, share) in enumerate(largest)]
    lengths = _lengths([share for _, share in largest], WIDTH - LABEL)
    bars = [(LABEL, 22 + ROW * row, length, 12) for row, length in enumerate(lengths)]
    return image(_svg(WIDTH, 20 + ROW * len(largest), texts, bars), title)


def week_columns(plays: Sequence[tuple[date, int]], *, title: str) -> Markup:
    """Draw a column per week, with the highest week's figure and the first day of some weeks, as Markdown.

    Args:
        plays: the first day of each week and its plays, the oldest week first.
        title: above the columns; names the unit.
    """
    most = max((count for _, count in plays), default=0)
    if not most:
        return Markup("*nothing yet*")
    top, bottom = 24, 104
    width = WIDTH // len(plays)
    heights = _lengths([count for _, count in plays], bottom - top)
    bars = [(width * place, bottom - height, width - 3, height) for place, height in enumerate(heights) if height]
    texts = [(0, 12, f"{title}; highest week {most:,}")]
    every = max(len(plays) // 4, 1)
    texts += [(width * place, bottom + 15, f"{plays[place][0]:%d %b}") for place in range(0, len(plays), every)]
    return image(_svg(WIDTH, bottom + 20, texts, bars), title)


def genre_panels(people: Mapping[str, Shares], *, title: str, rows: int = 5) -> Markup:
    """Draw a small panel of bars per person, all on one scale, as Markdown; somebody without shares has no panel."""
    panels = [(name, _largest(shares, rows)) for name, shares in people.items() if shares]
    if not panels:
        return Markup("*nothing yet*")
    width, line = PANEL
    height = line * (rows + 2)
    most = max(share for _, top in panels for _, share in top)
    texts, bars = [(0, 12, title)], []
    for place, (name, top) in enumerate(panels):
        down, across = divmod(place, COLUMNS)
        left, above = across * (width + 20), 20 + down * height
        texts.append((left, above + 16, f"▸ {name}"))
        lengths = _lengths([share for _, share in top], width - 130, most=most)
        for row, ((genre, share), length) in enumerate(zip(top, lengths, strict=True), start=1):
            texts.append((left, above + 14 + line * row, f"{shortened(genre, LONGEST_GENRE)} {share:.0%}"))
            bars.append((left + 130, above + 4 + line * row, length, 11))
    across = min(len(panels), COLUMNS)
    down = -(-len(panels) // COLUMNS)
    return image(_svg(across * (width + 20), 24 + down * height, texts, bars), title)


def alternative_text(title: str) -> str:
    """Return a title without what would end, or be read as Markdown in, the alternative text of an image."""
    return "".join(one for one in printable(title) if one not in "[]\\`\n")


def image(svg: str, title: str) -> Markup:
    """Return Markdown that shows an SVG document."""
    return Markup(f"![{alternative_text(title)}](<data:image/svg+xml,{quote(svg, safe=_KEPT)}>)")


# An address in angle brackets may contain spaces, quotes and slashes; unescaped, they keep it short.
_KEPT = " '=:/;,.()!*+-"


def _svg(
    width: int, height: int, texts: Sequence[tuple[int, int, str]], bars: Sequence[tuple[int, int, int, int]]
) -> str:
    """Compose an SVG document of texts (x, y of the baseline, text) and bars (x, y, width, height)."""
    path = "".join(f"M{x} {y}h{wide}v{high}h-{wide}z" for x, y, wide, high in bars)
    written = "".join(f"<text{_at(x, y)}>{_escaped(text)}</text>" for x, y, text in texts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' "
        f"font-size='12' fill='{INK}'>{written}<path fill='{BAR}' d='{path}'/></svg>"
    )


def _at(x: int, y: int) -> str:
    return (f" x='{x}'" if x else "") + f" y='{y}'"


def _escaped(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _largest(shares: Shares, rows: int) -> list[tuple[str, float]]:
    return sorted(((name, share) for name, share in shares.items() if share > 0), key=lambda one: (-one[1], one[0]))[
        :rows
    ]


def _lengths(values: Sequence[float], longest: int, *, most: float | None = None) -> list[int]:
    """Scale values to pixels, the largest (or ``most``) to ``longest``; a value above 0 has at least one pixel."""
    most = max(values) if most is None else most
    return [max(round(longest * value / most), 1) if value > 0 else 0 for value in values]


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
