"""What pages show comes in the order in which a person reads it."""

from __future__ import annotations

import dagster as dg
import pytest

from aperture_dagster.defs.taste.lists import _list_page as recommendations_page
from aperture_dagster.instance.markdown import LONGEST_INLINE, arranged, markdown_table, poster_row, score_table
from aperture_dagster.settings import Settings
from aperture_dagster_tests.household import markdown_rows


def test_tables_and_texts_come_before_numbers_and_zeros_are_gathered():
    films = dg.MetadataValue.md("films")
    page = arranged({"added": 3, "removed": 0, "films": films, "share": 0.0, "errors": 0, "note": "a", "requests": 0})
    assert list(page) == ["films", "note", "added", "share", "requests", "zero"]
    assert page["zero"] == "removed, errors"


def test_the_rows_of_a_run_stay_numbers_even_if_there_are_none():
    page = arranged({"rows_written": 0, "dagster/row_count": 0, "dry_run": False})
    assert list(page.items()) == [("dry_run", False), ("rows_written", 0), ("dagster/row_count", 0)]


def test_the_parts_of_a_score_are_lines_and_its_titles_columns():
    rows = [{"rank": 1, "score": 2.5, "components": {"taste": 0.75}}, {"rank": 2, "score": 1, "components": {}}]
    shown = markdown_rows(str(score_table(rows, ["taste"]).value))
    assert shown == [{"part": "score", "#1": "2.50", "#2": "1.00"}, {"part": "taste", "#1": "0.75", "#2": "0.00"}]


def test_a_long_table_is_cut_to_what_the_ui_shows_in_place_unless_it_must_be_whole():
    rows = [{"name": "x" * 90, "number": number} for number in range(30)]
    assert len(str(markdown_table(rows).value)) < LONGEST_INLINE < len(str(markdown_table(rows, whole=True).value))


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (2, 2), (9, 5)])
def test_posters_are_as_many_as_the_ui_shows_at_once(count: int, shown: int):
    settings = Settings(_env_file=None, media_server_url="http://server:8096")  # pyright: ignore[reportCallIssue]
    row = poster_row(settings, [("No picture", None), *((f"Film [{n}]", f"{n:032}") for n in range(count))])
    assert row.count("![") == shown and len(row) < LONGEST_INLINE
    if shown:
        first = f"![Film 0](http://server:8096/Items/{0:032}/Images/Primary?maxHeight=100)"
        assert row.startswith(first)


def test_the_whole_list_of_a_user_is_on_their_page() -> None:
    rows = [
        {"media_type": media_type, "title": f"Title {rank}", "year": 2000, "is_cold": False}
        for media_type in ("movie", "series")
        for rank in range(1, 51)
    ]
    page = recommendations_page(rows, brief=True)
    for name in ("all_films", "all_series"):
        assert page[name].value.splitlines()[-1] == "50. Title 50 (2000)"
    assert next(iter(page)) == "films", "what to watch first comes first"
