"""What members find behind the front door, and what they do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from aperture_dagster.front_door.app import FrontDoor
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import members_app
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW, played


def titles(page: str) -> list[str]:
    """Return what the headings of a page's titles say, in order."""
    return [re.sub(r"<[^>]+>", "", one).strip() for one in re.findall(r"<h3>(.*?)</h3>", page, re.DOTALL)]


@pytest.fixture
def visit(settings: Settings) -> Iterator[Callable[..., Any]]:
    """Return a function that requests a page."""
    with members_app(settings, is_open=True) as pages:
        yield TestClient(pages, follow_redirects=False).get


def test_a_member_finds_their_lists_with_reasons_ranks_and_the_next_episode(home: Home, visit: Callable[..., Any]):
    home.recommend("Anna", 2, 1)
    home.watch("Anna")
    home.pick(3)
    home.suggest("Anna", "Stalker", "PG", flatrate=["Mubi"])
    page = visit("/?as=Anna").text
    assert titles(page) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"] and "Because you liked Solaris" in page
    assert re.findall(r'"rank"[^>]*>(\d+)', page) == ["1", "2"]
    shows = visit("/shows?as=Anna").text
    assert titles(shows) == ["Dark"] and "Next: S01E03 · Three" in shows and "New episode in 2 days" in shows
    assert titles(visit("/top-picks?as=Anna").text) == ["Up 2000"]
    outside = visit("/suggestions?as=Anna").text
    assert titles(outside) == ["Stalker 1999"] and "Streams on Mubi" in outside
    home.shelf.do("UPDATE titles SET removed_at = now() WHERE server_item_id = 'film-1'")
    assert titles(visit("/?as=Anna").text) == ["Heat 2000"], "what left the library leaves the page"


def test_what_came_to_a_list_today_is_marked_unless_the_whole_list_is_new(home: Home, visit: Callable[..., Any]):
    home.recommend("Anna", 2, 1)
    home.recommend("Ben", 2, 1)
    home.shelf.do("UPDATE recommendations SET listed_since = :day WHERE user_id = 'Ben'", day=NOW.date())
    home.shelf.do("UPDATE recommendations SET listed_since = :day WHERE rank = 2", day=NOW.date())
    page = visit("/?as=Anna").text
    assert page.count("New since yesterday") == 1 and page.index("Heat") < page.index("New since") > page.index("Alien")
    assert "New since yesterday" not in visit("/?as=Ben").text
    home.shelf.do("UPDATE recommendations SET listed_since = '2026-05-16' WHERE user_id = 'Anna' AND rank = 2")
    assert "New since yesterday" not in visit("/?as=Anna").text


FORBIDDEN: tuple[tuple[dict[str, Any], set[str]], ...] = (
    ({}, {"Heat 2000", "Up 2000", "Dark", "Stalker 1999"}),
    ({"max_parental_rating": 13}, {"Up 2000"}),
    ({"max_parental_rating": 14}, {"Up 2000", "Dark"}),
    ({"blocked_tags": ["FAMILY"]}, {"Heat 2000", "Dark", "Stalker 1999"}),
    ({"allowed_tags": ["drama"]}, {"Stalker 1999"}),
    ({"all_libraries": False, "library_ids": ["shows"]}, {"Dark", "Stalker 1999"}),
    ({"excluded_folders": ["/films"]}, {"Dark", "Stalker 1999"}),
)
POLICY: dict[str, Any] = {
    "max_parental_rating": None, "blocked_tags": [], "allowed_tags": [], "all_libraries": True, "library_ids": [],
    "excluded_folders": [],
}  # fmt: skip


def test_what_the_policies_forbid_since_the_lists_were_made_is_on_no_page(home: Home, visit: Callable[..., Any]):
    home.recommend("Ben", 2, 3)
    home.watch("Ben")
    home.pick(2, 3)
    home.suggest("Ben", "Stalker", "R")
    pages = ("/", "/shows", "/top-picks", "/suggestions")
    for columns, found in FORBIDDEN:
        home.user("Ben", is_hidden=True, **POLICY | columns)
        seen = {path: set(titles(visit(f"{path}?as=Ben").text)) for path in pages}
        assert set().union(*seen.values()) == found, columns
        named = "Solaris" in visit("/?as=Ben").text + visit("/suggestions?as=Ben").text
        assert named == (not columns or "blocked_tags" in columns), "nor does a reason name it"
        assert seen["/"] == seen["/top-picks"] == found & {"Heat 2000", "Up 2000"}, columns
        # Others see them still.
        assert titles(visit("/top-picks?as=Anna").text) == ["Heat 2000", "Up 2000"]


def test_only_who_takes_part_has_a_page(home: Home, visit: Callable[..., Any]):
    assert visit("/?as=Ben").status_code == 200 and visit("/?as=nobody").status_code == 404
    home.user("Ben", is_disabled=True)
    assert visit("/?as=Ben").status_code == 404
    assert "Ben" not in visit("/").text


def test_an_empty_home_says_what_is_missing(visit: Callable[..., Any]):
    answer = visit("/")
    assert answer.status_code == 503 and "no lists yet" in answer.text
    assert answer.headers["refresh"] == "5"


def test_until_there_is_a_list_pages_count_what_was_done_and_load_themselves_again(
    home: Home, visit: Callable[..., Any]
):
    # As after the first syncs: two users and some titles.
    for page in (visit("/").text, visit("/top-picks").text):
        assert 'http-equiv="refresh" content="5"' in page
        assert "<dt>Users read</dt><dd>2</dd>" in page and "<dt>Films and series read</dt><dd>5</dd>" in page
    home.recommend("Anna", 1)
    # Also where the list of somebody else is still missing.
    for page in (visit("/").text, visit("/?as=Ben").text):
        assert "refresh" not in page and "Users read" not in page


def test_pages_load_nothing_from_elsewhere_and_run_our_scripts_alone(home: Home, visit: Callable[..., Any]):
    home.recommend("Anna", 1)
    answer = visit("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy and " style=" not in answer.text and not re.search(r" on\w+=", answer.text)
    assert re.findall(r"<script(?![^>]* src=)", answer.text) == []
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)
    assert answer.headers["cache-control"] == "private, no-store"
    style = re.search(r'href="(/static/aperture.css[^"]*)"', answer.text)
    assert style is not None and "immutable" in visit(style[1]).headers["cache-control"]
    for path in ("/static/pages.py", "/static/..%2fpages.py", "/static/%2e%2e/pages.py", "/static/"):
        assert visit(path).status_code == 404, path


def test_no_page_changes_anything(home: Home, settings: Settings):
    database = ReadOnlyDatabase(settings)
    with pytest.raises(Exception, match="read-only"), database.connection() as connection:
        connection.exec_driver_sql("DELETE FROM recommendations")
    database.close()


def test_operators_ui_is_below_its_path_and_everything_else_is_the_members(settings: Settings):
    def named(name: str) -> Starlette:
        async def endpoint(request: Any) -> PlainTextResponse:
            return PlainTextResponse(f"{name} {request.url.path}")

        routes: list[Any] = [Route("/{path:path}", endpoint)]
        return Starlette(routes=[Mount("/a/operate", routes=routes)] if name == "operate" else routes)

    gate = Gate(settings, ReadOnlyDatabase(settings), is_open=True)
    client = TestClient(FrontDoor(named("operate"), named("pages"), gate, "/a"))
    for path, name in {
        "/a/operate": "operate", "/a/operate/": "operate", "/a/operate/runs/1": "operate", "/a/operated": "pages",
        "/operate": "pages", "/a/": "pages", "/a/shows": "pages", "/a//operate/graphql": "pages",
    }.items():  # fmt: skip
        assert client.get(path).text.startswith(name), path


def test_who_watches_things_again_finds_them_below_their_lists(home: Home, visit: Callable[..., Any]):
    home.recommend("Ben", 4)
    assert "Watch again" not in visit("/?as=Ben").text
    for number, times in ((1, 4), (2, 2), (3, 3)):
        at = NOW - timedelta(days=100)
        home.shelf.history("Ben", played(f"film-{number}", play_count=times, last_played_at=at))
    page = visit("/?as=Ben").text
    assert titles(page) == ["Solaris 2000", "Alien &amp; &lt;Co&gt; 2000", "Up 2000", "Heat 2000"]
    assert "Watch again" in page and re.search(r"Watched 4 times, last on Feb \d+, 2026", page)
    home.user("Ben", max_parental_rating=14)
    assert "Heat 2000" not in titles(visit("/?as=Ben").text), "what they may not see by now is not offered"
