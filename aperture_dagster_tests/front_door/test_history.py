"""Members import what they have watched elsewhere: they see first what would happen, and take it back as a whole."""

from __future__ import annotations

import html
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door import house
from aperture_dagster.settings import Settings
from aperture_dagster_tests.catalogue.viewers import history_of
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, hidden_fields
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import Shelf

HEAD = "Date,Name,Year,Letterboxd URI"
IMDB = "Const,Your Rating,Date Rated,Title,Title Type,Year\n"


@pytest.fixture
def signed_in(settings: Settings, home: Home) -> Iterator[Browsers]:
    with browsers(settings) as found:
        yield found


def letterboxd() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("diary.csv", f"{HEAD},Rating,Watched Date\n2025-03-06,Heat,2000,x,4.5,2025-03-04\n")
        archive.writestr("watched.csv", f"{HEAD}\n2025-03-06,Stalker,1979,x\n2025-03-06,Solaris,2001,x\n")
        archive.writestr("watchlist.csv", f"{HEAD}\n2025-03-06,Up,2000,x\n")
    return content.getvalue()


def send(browser: TestClient, content: bytes | str, name: str = "a.csv", **fields: str) -> Any:
    csrf = hidden_fields(browser.get("/history").text)["csrf"]
    return browser.post("/history/look", data={"csrf": csrf, **fields}, files={"file": (name, content)})


def go_on(browser: TestClient, page: str, **chosen: str) -> Any:
    """Send the form of a page as a browser would, with its selects and hidden fields."""
    form = page.partition('action="/history/import"')[2].partition("</form>")[0]
    fields = {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="([\w ]+)" value="([^"]*)"', form)
    }
    for name, options in re.findall(r'<select id="\w+" name="([^"]+)">(.*?)</select>', form, re.DOTALL):
        picked = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
        fields[name] = (picked[1] or picked[2]) if picked else ""
    return browser.post("/history/import", data={**fields, **chosen})


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def written(shelf: Shelf) -> int:
    tables = ("plays", "seen_elsewhere", "ratings", "for_later", "history_imports")
    return sum(shelf.value(f"SELECT count(*) FROM {table}") for table in tables)


def test_a_member_sees_what_would_happen_imports_it_once_and_takes_it_back(home: Home, signed_in: Browsers):
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert 'href="/history"' in anna.get("/taste").text
    answer = send(anna, letterboxd(), "letterboxd-anna.zip")
    assert answer.status_code == 200, answer.text
    shown = text_of(answer.text)
    for line in (
        "Recognised as: Letterboxd", "1 viewing of what the library has", "1 title is kept as seen", "1 rating",
        "1 title for later", "Solaris (2001)",
    ):  # fmt: skip
        assert line in shown
    assert written(home.shelf) == 0
    done = go_on(anna, answer.text, **{"import": "1"})
    assert (done.status_code, done.headers["location"]) == (303, "/history")
    assert history_of(home.shelf, "film-2", "Anna")["rating"] == 9
    assert home.shelf.value("SELECT stays_here FROM ratings") is True
    assert history_of(home.shelf, "film-4", "Anna")["plays"] == 1, "the only one that it may be was chosen"
    before = written(home.shelf)
    again = send(anna, letterboxd(), "letterboxd-anna.zip").text
    assert "Nothing." in text_of(again)
    go_on(anna, again, **{"import": "1"})
    listed = anna.get("/history").text
    assert "letterboxd-anna.zip" in listed and "letterboxd" not in ben.get("/history").text.partition("<dl>")[0]
    number = re.search(r'name="import" value="(\d+)"', listed)
    assert number is not None
    for browser, left in ((ben, before), (anna, 0)):
        csrf = hidden_fields(browser.get("/history").text)["csrf"]
        assert browser.post("/history/take-back", data={"csrf": csrf, "import": number[1]}).status_code == 303
        assert written(home.shelf) == left


def test_ratings_are_shared_only_if_the_member_ticks_it(home: Home, signed_in: Browsers):
    anna = signed_in("Anna")
    page = send(anna, IMDB + ",8,2025-01-01,Heat,Movie,2000\n").text
    go_on(anna, page, **{"import": "1", "share": "1"})
    assert home.shelf.rows("SELECT rating, stays_here FROM ratings") == [{"rating": 8, "stays_here": False}]


def test_what_a_file_does_not_say_is_asked_with_its_first_rows(home: Home, signed_in: Browsers):
    anna = signed_in("Anna")
    page = send(anna, "Was,Jahr,Wann,Note\nHeat,2000,03/04/2025,4\nAlien,1,05/06/2025,\n").text
    assert "<td>Heat</td>" in page and "Which column is what?" in page
    chosen = {"column title": "Was", "column year": "Jahr", "column watched_at": "Wann", "column rating": "Note"}
    page = go_on(anna, page, **chosen).text
    assert "How high do the ratings go?" in page and "How are the dates written?" in page
    page = go_on(anna, page, **chosen, scale="5", dates="dmy").text
    assert "1 viewing of what the library has" in text_of(page)
    go_on(anna, page, **{"import": "1"})
    row = history_of(home.shelf, "film-2", "Anna")
    assert (row["rating"], row["last_played_at"].strftime("%Y-%m-%d")) == (8, "2025-04-03")


def test_what_a_member_may_not_see_is_to_them_what_the_library_lacks(home: Home, signed_in: Browsers):
    home.user("Ben", max_parental_rating=10)
    ben = signed_in("Ben")
    hidden = text_of(send(ben, "title,year,watched_at\nHeat,2000,2025-01-01\n").text)
    absent = text_of(send(ben, "title,year,watched_at\nRonin,1998,2025-01-01\n").text)
    assert hidden.replace("Heat", "Ronin") == absent
    unclear = send(ben, "title,year\nHeat,2001\n").text
    assert "<select" not in unclear


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"\0" * 1000, "a.csv", "no history in this file"),
        (b"PK\x03\x04" + b"x" * 100, "a.zip", "no history in this file"),
        (b"title,year\n" + b"Alien,1979\n" * 100_001, "a.csv", "holds too much"),
        (b"[" * 100_000, "a.json", "damaged"),
    ],
)
def test_a_file_that_cannot_be_read_costs_a_sentence(
    home: Home, signed_in: Browsers, content: bytes, name: str, said: str
):
    answer = send(signed_in("Anna"), content, name)
    assert answer.status_code == 400 and said in text_of(answer.text)
    assert written(home.shelf) == 0


def test_a_file_is_taken_from_a_member_alone_within_bounds_and_nowhere_but_in_the_home(
    home: Home, signed_in: Browsers, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert anna.post("/history/look", files={"file": ("a.csv", b"title\nHeat\n")}).status_code == 403, "no token"
    assert anna.post("/history/look", data={"file": "x"}).status_code == 403
    csrf = hidden_fields(anna.get("/history").text)["csrf"]
    broken = anna.post(
        "/history/look", content=b"--x\r\nbroken", headers={"content-type": "multipart/form-data; boundary=y"}
    )
    assert broken.status_code == 400
    assert anna.post("/history/look", data={"csrf": csrf}, files={"other": ("a.csv", b"x")}).status_code == 400
    page = send(anna, "title,year\nHeat,2000\n", "../../../evil <b>.csv").text
    stored = [path for path in (settings.home_path / "front-door" / "imports").rglob("*") if path.is_file()]
    assert [path.name for path in stored] == ["evil_b_.csv"]
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in stored)
    token = hidden_fields(page.partition("/history/import")[2])["token"]
    csrf = hidden_fields(ben.get("/history").text)["csrf"]
    stolen = ben.post("/history/import", data={"csrf": csrf, "token": token, "import": "1"})
    assert stolen.status_code == 410 and written(home.shelf) == 0
    assert ben.post("/history/import", data={"csrf": csrf, "token": "../../x"}).status_code == 400
    go_on(anna, page, **{"import": "1"})
    assert not any(path.is_file() for path in (settings.home_path / "front-door" / "imports").rglob("*"))
    monkeypatch.setattr(house, "LARGEST_UPLOAD", 1_000)
    assert send(anna, b"x" * 2_000).status_code == 413
