"""An evening with votes: whoever has its link sees its titles and votes, and nobody else sees anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.evening.votes import LIFE
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.maintenance import forget_evenings
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import browser_of, members_app, token
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW, film


class Evening:
    """An evening that Anna opened for herself and Ben, and the phones of those who have its link."""

    def __init__(self, pages: Any, settings: Settings, home: Home) -> None:
        self.pages, self.home, self.now, self.form = pages, home, NOW, ""
        self.anna = browser_of(pages, settings, "Anna")
        self.path = self.open()

    def open(self, **fields: str) -> str:
        sent = {"csrf": token(self.anna), "with": "Ben", "places": "2", **fields}
        answer = self.anna.post("/evening", data=sent)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def phone(self) -> TestClient:
        return TestClient(self.pages, follow_redirects=False)

    def voter(self) -> TestClient:
        phone = self.phone()
        assert self.join(phone).status_code == 303
        return phone

    def join(self, phone: TestClient) -> Any:
        """Join with the form of the page, or, if it has none any more, with that of a page before."""
        found = re.search(r'/join">\s*<input type="hidden" name="csrf" value="([^"]+)"', phone.get(self.path).text)
        self.form = found[1] if found else self.form
        return phone.post(f"{self.path}/join", data={"csrf": self.form})


@pytest.fixture
def evening(settings: Settings, home: Home) -> Iterator[Evening]:
    """Return an evening with three titles."""
    home.shelf.films(*(film(number, official_rating="PG") for number in range(10, 14)))
    for user, numbers in (("Anna", (10, 11, 12)), ("Ben", (10, 11, 12, 13))):
        home.recommend(user, *numbers)
        home.shelf.do("UPDATE recommendations SET score = 1.0 / rank WHERE user_id = :user", user=user)
    home.shelf.do(
        "INSERT INTO member_choices (user_id, publish, newsletter, together) VALUES ('Ben', true, false, true)"
    )
    clock: list[Callable[[], datetime]] = [lambda: NOW]
    with members_app(settings, lambda: clock[0]()) as pages:
        made = Evening(pages, settings, home)
        clock[0] = lambda: made.now
        yield made


def asked(page: str) -> str:
    found = re.search(r'class="asked">([^<]+)', page)
    return found[1].strip() if found else ""


def say(phone: TestClient, path: str, likes: str) -> Any:
    page = phone.get(path).text
    fields = dict(re.findall(r'name="(csrf|work)" value="([^"]+)"', page))
    return phone.post(f"{path}/vote", data={**fields, "likes": likes})


def test_the_first_title_that_all_like_is_shown_to_all(evening: Evening):
    first, second, path = evening.voter(), evening.voter(), evening.path
    assert asked(first.get(path).text) == "Film 10"
    say(first, path, "no")
    say(first, path, "yes")
    assert asked(first.get(path).text) == "Film 12" and asked(second.get(path).text) == "Film 10"
    say(second, path, "yes")
    say(second, path, "yes")
    for page in (first.get(path), second.get(path), evening.phone().get(path), evening.anna.get(path)):
        assert asked(page.text) == "Film 11" and "All of you like this" in page.text
        assert "http-equiv" not in page.text and "evening.js" not in page.text, "there is nothing to wait for"
    # Who opened it says for those who are there that they watched it; the link alone cannot.
    page = evening.anna.get(path).text
    assert "We watched this" in page and "We watched this" not in first.get(path).text
    # That ends the evening, for every phone.
    form = page.split('action="/together/watched">')[1].split("</form>")[0]
    fields = dict(re.findall(r'name="(csrf|next|with|evening|work)" value="([^"]*)"', form))
    others = fields | {"evening": "of somebody else"}
    assert evening.anna.post("/together/watched", data=others).status_code == 303
    assert first.get(path).status_code == 200
    assert evening.anna.post("/together/watched", data=fields).headers["location"] == "/together"
    assert first.get(path).status_code == 410
    seen = evening.home.shelf.rows("SELECT user_id, title FROM watched_together ORDER BY user_id")
    assert {row["title"] for row in seen} == {"Film 11"} and len(seen) == 2


def test_saying_it_twice_changes_nothing_and_one_phone_has_one_voice(evening: Evening):
    first, second, path = evening.voter(), evening.voter(), evening.path
    page = first.get(path).text
    fields = dict(re.findall(r'name="(csrf|work)" value="([^"]+)"', page))
    for likes in ("yes", "yes", "no"):
        assert first.post(f"{path}/vote", data={**fields, "likes": likes}).status_code == 303
    evening.join(first)
    assert evening.home.shelf.value("SELECT count(*) FROM evening_voters") == 2
    assert "All of you" not in second.get(path).text
    # All places are taken: a third phone looks on.
    third = evening.phone()
    assert "You can look on here" in third.get(path).text
    assert evening.join(third).status_code == 409
    say(second, path, "yes")
    assert asked(third.get(path).text) == "Film 10"


def test_a_vote_needs_the_form_of_its_own_phone_and_a_title_of_the_evening(evening: Evening):
    first, second, path = evening.voter(), evening.voter(), evening.path
    of_second = dict(re.findall(r'name="(csrf|work)" value="([^"]+)"', second.get(path).text))
    assert first.post(f"{path}/vote", data={**of_second, "likes": "yes"}).status_code == 403
    assert evening.phone().post(f"{path}/vote", data={**of_second, "likes": "yes"}).status_code == 403
    own = dict(re.findall(r'name="(csrf|work)" value="([^"]+)"', first.get(path).text))
    other = evening.home.shelf.item("film-13")["work_id"]
    first.post(f"{path}/vote", data={**own, "work": other, "likes": "yes"})
    assert evening.home.shelf.value("SELECT count(*) FROM evening_votes") == 0


def test_the_link_shows_the_titles_of_its_evening_and_nothing_else(evening: Evening):
    phone, path = evening.voter(), evening.path
    page = phone.get(path).text
    assert "Ben" not in page and "Anna" not in page and "Solaris" not in page and "Film 13" not in page
    assert phone.get("/").status_code == 303 and phone.get("/together").status_code == 303
    assert phone.get("/pictures/film-10").status_code == 404
    # Nothing serves pictures here, so what may be shown is asked for in vain, and the rest is not asked for.
    assert phone.get(f"{path}/pictures/film-13").status_code == 404
    assert "<svg" in page and f"http://testserver{path}" in page
    stored = evening.home.shelf.value("SELECT digest FROM evenings")
    code = path.rsplit("/", 1)[1]
    assert code not in stored and len(code) >= 16


def test_what_one_of_them_may_not_see_any_more_is_not_voted_on(evening: Evening):
    phone, path = evening.voter(), evening.path
    evening.home.shelf.do("UPDATE titles SET official_rating = 'R' WHERE server_item_id = 'film-10'")
    assert asked(phone.get(path).text) == "Film 10"
    evening.home.user("Ben", max_parental_rating=13)
    assert asked(phone.get(path).text) == "Film 11"
    evening.home.user("Anna", is_disabled=True)
    assert "This evening is over" in phone.get(path).text


def test_it_ends_after_hours_and_when_another_one_is_opened(evening: Evening):
    phone, path = evening.voter(), evening.path
    evening.now = NOW + timedelta(hours=5)
    assert phone.get(path).status_code == 200
    evening.now = NOW + timedelta(hours=7)
    answer = phone.get(path)
    assert answer.status_code == 410 and "This evening is over" in answer.text
    assert say(phone, path, "yes").status_code in (403, 410)
    evening.now = NOW
    other = evening.open()
    assert other != path and phone.get(path).status_code == 410 and phone.get(other).status_code == 200


def test_those_who_are_there_find_the_way_back_on_their_pages_and_nobody_else(evening: Evening, settings: Settings):
    ben = browser_of(evening.pages, settings, "Ben")
    assert f'href="{evening.path}"' in evening.anna.get("/together").text
    for path in ("/", "/together"):
        page = ben.get(path).text
        assert f'href="{evening.path}"' in page and "Anna counts you in" in page and "End the evening" not in page
    assert f'href="{evening.path}"' not in ben.get("/taste").text
    # Whoever is not counted in sees nothing of it, and it ends by the clock on a page that was there before.
    evening.open(**{"with": ""})
    assert "counts you in" not in ben.get("/").text and "Your evening is open" in evening.anna.get("/").text
    evening.now = NOW + timedelta(hours=7)
    assert "Your evening is open" not in evening.anna.get("/").text


def test_who_opened_it_ends_it_and_nobody_else_can(evening: Evening, settings: Settings):
    phone, ben = evening.voter(), browser_of(evening.pages, settings, "Ben")
    say(phone, evening.path, "yes")
    assert "End the evening" in evening.anna.get(evening.path).text
    assert "End the evening" not in ben.get(evening.path).text + phone.get(evening.path).text
    assert ben.post(f"{evening.path}/end", data={"csrf": token(ben)}).status_code == 303
    assert phone.post(f"{evening.path}/end", data={"csrf": evening.form}).status_code == 403
    assert evening.anna.post(f"{evening.path}/end", data={"csrf": "x"}).status_code == 403
    assert phone.get(evening.path).status_code == 200
    for _ in range(2):
        answer = evening.anna.post(f"{evening.path}/end", data={"csrf": token(evening.anna)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/together")
    assert phone.get(evening.path).status_code == 410 and "Your evening" not in evening.anna.get("/together").text
    for table in ("evenings", "evening_people", "evening_voters", "evening_votes"):
        assert evening.home.shelf.value(f"SELECT count(*) FROM {table}") == 0, table


def test_housekeeping_deletes_evenings_that_have_ended(evening: Evening):
    say(evening.voter(), evening.path, "yes")
    votes = "SELECT count(*) FROM evening_votes"
    for now, left in ((NOW + LIFE - timedelta(minutes=1), 1), (NOW + LIFE, 0)):
        with evening.home.shelf.open() as connection:
            assert forget_evenings(connection, now=now).rows == 1 - left
        assert evening.home.shelf.value(votes) == evening.home.shelf.value("SELECT count(*) FROM evenings") == left


def test_without_a_script_the_page_is_loaded_again(evening: Evening):
    page = evening.voter().get(evening.path).text
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', page)
    assert page.count("http-equiv") == 1, "with a script, nothing is loaded again under a finger"


def test_only_members_open_one_and_only_for_those_who_join(evening: Evening):
    assert evening.phone().post("/evening", data={"with": "Ben"}).status_code == 403
    assert evening.anna.post("/evening", data={"csrf": "x", "with": "Ben"}).status_code == 403
    evening.home.shelf.do("UPDATE member_choices SET together = false")
    evening.open()
    people = [row["user_id"] for row in evening.home.shelf.rows("SELECT user_id FROM evening_people")]
    assert people == ["Anna"]


def test_codes_cannot_be_guessed_for_long(evening: Evening):
    phone = evening.phone()
    answers = [phone.get(f"/evening/guess-{number}").status_code for number in range(RATES["evenings"].free + 1)]
    assert answers[0] == 410 and answers[-1] == 429
    for odd in ("/evening/%00", "/evening/" + "x" * 500, "/evening/%F0%9F%8E%AC"):
        assert phone.get(odd).status_code in (410, 429)
