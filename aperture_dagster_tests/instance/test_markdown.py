"""The UI shows text from outside literally: no picture is fetched, and no link, tag or table is made."""

from __future__ import annotations

import html
import re
from typing import Any

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aperture_dagster.instance.markdown import (
    Markup,
    code_block,
    escaped,
    genre_bars,
    image,
    markdown_list,
    markdown_table,
    poster_row,
)
from aperture_dagster.model import UNPRINTABLE
from aperture_dagster_tests.defs.shared import settings_of

# As in Dagster's UI: with tables and strikethrough, and HTML shown as text or dropped. Here it would be a tag.
RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# Pictures of this program are data in the address.
RENDER.validateLink = lambda url: True  # type: ignore[method-assign]
# What GFM makes a link of in text, after all escapes have been read.
ADDRESS = re.compile(r"(?:https?://|www\.)[-.\w]+|[-.\w+]+@[-\w]+(?:\.[-\w]+)+", re.IGNORECASE)
HOSTILE = (
    "![y](http://evil.example/pixel)", "[click](http://evil.example)", "<img src=http://evil.example/x>",
    "<script>alert(1)</script>", "<http://evil.example>", "http://evil.example/x", "see www.evil.example/x",
    "mail me@evil.example", "a | b | c", "line\n\n# heading", "`code`", "```\nfence", "**bold** _it_ ~~gone~~",
    "&lt;img&gt; &#33;[x](y)", "back\\slash\\", "\\", "\\![y](http://evil.example)", "[x]: http://evil.example", "---",
    "1. one", "- one", "> quote", "# heading", "| a |\n| --- |\n| b |", "![a][b]", "\u202egpj.exe",
    "\x1b[31mred\x1b[0m", "\\<b>", "a\\\\[b](c)", "x\r\n\r\n![y](z)", "&#x5b;x](http://evil.example)",
    "HTTPS://EVIL.example", "+ plus", "= =",
)  # fmt: skip
ORDINARY = (
    "Alien", "Face/Off", "Tom & Jerry", "WALL·E", "Amélie (2001)", "M*A*S*H", "S.W.A.T.", "2001: A Space Odyssey",
    "user_name", "9-1-1", "What's Up, Doc?", "Se7en", "#Alive", "300", "مستخدم", "千と千尋の神隠し",
)  # fmt: skip
ANY_TEXT = st.one_of(
    st.lists(
        st.sampled_from([*HOSTILE, *"![]()<>`|\\*_~#&;:/.@-+= \n", "http://e.x", "www.e.x", "a@b.c", "x"]), max_size=6
    ).map("".join),
    st.text(max_size=30),
)


def rendered(value: Any) -> str:
    assert isinstance(value, dg.MarkdownMetadataValue)
    return RENDER.render(value.md_str or "")


def text_of(page: str) -> str:
    """What a page shows, without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", page)).replace("\u200b", "").strip()


def shown(text: str) -> str:
    """What a text looks like on one line."""
    return " ".join(UNPRINTABLE.sub("", text).split()).replace("\u200b", "").replace("\x00", "")


def assert_text(page: str, allowed: set[str]) -> None:
    tags = set(re.findall(r"</?(\w+)", page))
    assert tags <= allowed, page
    assert not ADDRESS.search(html.unescape(re.sub(r"<[^>]*>", " ", page))), page


def test_hostile_text_is_shown_in_a_table_and_in_lists_and_does_nothing():
    for text in HOSTILE:
        check_everywhere(text)


@given(ANY_TEXT)
def test_any_text_is_shown_in_a_table_and_in_lists_and_does_nothing(text: str):
    check_everywhere(text)


def check_everywhere(text: str) -> None:
    page = rendered(markdown_table([{"title": text, "user": "Ann"}, {"title": "x", "user": text}]))
    assert_text(page, {"table", "thead", "tbody", "tr", "th", "td"})
    cells = [text_of(one) for one in re.findall(r"<td>(.*?)</td>", page, re.DOTALL)]
    assert cells == [shown(text), "Ann", "x", shown(text)]
    for numbered, kind in ((True, "ol"), (False, "ul")):
        page = rendered(markdown_list([text, "next"], numbered=numbered))
        assert_text(page, {kind, "li", "p"})
        assert [text_of(one) for one in re.findall(r"<li>(.*?)</li>", page, re.DOTALL)] == [shown(text), "next"]


def test_an_ordinary_title_is_readable_as_it_is_stored_and_as_it_is_shown():
    for text in ORDINARY:
        assert escaped(text).replace("\\", "") == text
        assert escaped(text).count("\\") <= text.count("*")
        check_everywhere(text)


def test_a_stack_trace_stays_within_its_block():
    for text in (*HOSTILE, "````\n![y](http://evil.example)\n````"):
        page = rendered(code_block(f"Traceback\n{text}\nend"))
        assert set(re.findall(r"<(\w+)", page)) == {"pre", "code"}
        assert text_of(page).splitlines()[0] == "Traceback" and text_of(page).splitlines()[-1] == "end"


def test_what_this_program_composes_is_not_escaped():
    page = rendered(markdown_table([{"poster": Markup("![](http://images.example/w92/a.jpg)"), "title": "![](x)"}]))
    assert page.count("<img") == 1 and 'src="http://images.example/w92/a.jpg"' in page


def test_pictures_named_after_hostile_titles_are_one_picture_each():
    for text in HOSTILE:
        page = RENDER.render(poster_row(settings_of(media_server_url="http://nas.example"), [(text, "1")]))
        assert re.findall(r"<(\w+)", page) == ["p", "img"]
        assert re.findall(r'src="([^"]*)"', page) == ["http://nas.example/Items/1/Images/Primary?maxHeight=100"]
        for picture in (image("<svg/>", text), genre_bars({text: 0.5}, title=text)):
            page = RENDER.render(picture)
            assert re.findall(r"<(\w+)", page) == ["p", "img"]
            assert "evil.example" not in re.sub(r'alt="[^"]*"|%[0-9A-F]{2}|data:[^"]*', "", page)
