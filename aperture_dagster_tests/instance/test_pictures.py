"""Pictures show the proportions of their figures, and are short enough for the UI."""

from __future__ import annotations

import re
from datetime import date
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from aperture_dagster.instance.markdown import LONGEST_INLINE, genre_bars, week_columns
from aperture_dagster.popularity.queries import weeks_until

GENRES = {
    "Drama": 0.5, "Science Fiction": 0.8, "Comedy": 0.2, "War": 0.1, "Sci-Fi & Fantasy": 0.4, "Western": 0.05,
    "Documentary": 0.03, "Family": 0.02, "Music": 0.0,
}  # fmt: skip


def drawn(markdown: str) -> tuple[list[str], list[tuple[int, int, int, int]], tuple[int, int]]:
    """Return the texts, the bars (x, y, width, height) and the size of a picture."""
    address = re.fullmatch(r"!\[[^\]]*\]\(<data:image/svg\+xml,([^<>\n]*)>\)", markdown)
    assert address is not None, markdown
    svg = ElementTree.fromstring(unquote(address.group(1)))
    texts = [one.text or "" for one in svg.iter("{http://www.w3.org/2000/svg}text")]
    (path,) = svg.iter("{http://www.w3.org/2000/svg}path")
    bars = [
        (int(x), int(y), int(width), int(height))
        for x, y, width, height in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path.attrib["d"])
    ]
    return texts, bars, (int(svg.attrib["width"]), int(svg.attrib["height"]))


def test_the_genre_liked_most_comes_first_and_bars_are_in_proportion():
    texts, bars, _ = drawn(genre_bars(GENRES, title="Genres"))
    assert texts[:4] == ["Genres", "Science Fiction 80%", "Drama 50%", "Sci-Fi & Fantasy 40%"]
    lengths = [width for _, _, width, _ in bars]
    assert lengths[1] / lengths[0] == pytest.approx(0.5 / 0.8, abs=0.01) and lengths == sorted(lengths, reverse=True)
    assert [y for _, y, _, _ in bars] == sorted({y for _, y, _, _ in bars}), "a row of its own for each genre"


def test_the_column_of_a_week_is_as_high_as_its_plays():
    weeks = weeks_until(date(2026, 5, 20), 26)
    plays = [(week, 0 if place == 3 else place + 1) for place, week in enumerate(weeks)]
    texts, bars, (width, height) = drawn(week_columns(plays, title="Plays per week"))
    assert texts[0] == "Plays per week; highest week 26" and texts[1] == "24 Nov"
    assert len(bars) == 25, "a week without plays has no column"
    assert bars[-1][3] / bars[12][3] == pytest.approx(26 / 14, abs=0.05)
    assert len({y + tall for _, y, _, tall in bars}) == 1, "all stand on one line"
    assert all(x + wide <= width and y + tall <= height for x, y, wide, tall in bars)
    assert [x for x, *_ in bars] == sorted(x for x, *_ in bars), "the oldest week is on the left"


def test_pictures_that_are_shown_in_place_are_short_enough():
    weeks = [(week, 10_000 + place) for place, week in enumerate(weeks_until(date(2026, 5, 20), 26))]
    assert len(week_columns(weeks, title="Plays per week, last 26 weeks")) < LONGEST_INLINE
    long = {f"Action & Adventure {number}": 0.99 - number / 100 for number in range(20)}
    assert len(genre_bars(long, title="Share of liked titles, by genre")) < LONGEST_INLINE


def test_names_cannot_break_out_of_a_picture():
    texts, _, _ = drawn(genre_bars({"<b>&'\"](x) > %41 #": 0.5}, title="a]b"))
    assert texts[1:] == ["<b>&'\"](x) > %41 # 50%"]


def test_nothing_is_drawn_of_nothing():
    nothing = [week_columns([(date(2026, 5, 18), 0)], title="Plays"), genre_bars({}, title="G")]
    assert nothing == ["*nothing yet*"] * 2


def test_weeks_begin_on_mondays_and_end_with_the_present_one():
    weeks = weeks_until(date(2026, 5, 24), 3)
    assert weeks == [date(2026, 5, 4), date(2026, 5, 11), date(2026, 5, 18)]
    assert weeks_until(date(2026, 5, 18), 1) == [date(2026, 5, 18)]
