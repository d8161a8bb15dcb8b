"""What members do on their pages changes what is theirs, at once, and they alone can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from starlette.testclient import TestClient

from aperture_dagster.discovery.pool import forget_old
from aperture_dagster.front_door.forms import CHANGES
from aperture_dagster.members.hidden import hidden_titles
from aperture_dagster.publishing.disk.queries import listed_works
from aperture_dagster.settings import Settings
from aperture_dagster.settings.lists import RecommendationRules
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import replace_taste
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, hidden_fields, members_app, press, token
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import titles
from aperture_dagster_tests.shelf import NOW, film, played


@pytest.fixture
def signed_in(settings: Settings) -> Iterator[Browsers]:
    with browsers(settings) as found:
        yield found


def rating_form(browser: TestClient, path: str, name: str) -> tuple[str, dict[str, str]]:
    """Follow the link of a title to the page where it is rated; return the page and what its form would send."""
    link = re.search(rf'href="(/titles/[^"]+)" aria-label="[^"]*{name}', browser.get(path).text)
    assert link is not None
    page = browser.get(link[1]).text
    return page, hidden_fields(page.partition('action="/rate"')[2].partition("</form>")[0])


def ranks(home: Home, key: str) -> list[int]:
    """Return the ranks of a list that are published."""
    with home.shelf.open() as connection:
        return [rank for rank, _ in listed_works(connection, key, today=date.max)]


def test_what_somebody_hides_leaves_all_of_their_lists_at_once_and_can_be_shown_again(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 1)
    home.recommend("Ben", 2, 1)
    home.pick(3, 2)
    home.suggest("Anna", "Stalker", "PG")
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert titles(anna.get("/").text) == titles(ben.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]
    answer = press(anna, "/", "Heat")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert press(anna, "/suggestions", "Stalker").headers["location"] == "/suggestions"
    assert titles(anna.get("/").text) == ["Alien &amp; &lt;Co&gt; 2000"]
    assert titles(anna.get("/top-picks").text) == ["Up 2000"] and titles(anna.get("/suggestions").text) == []
    assert set(titles(anna.get("/taste").text)) == {"Heat", "Stalker"}
    assert titles(ben.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]
    assert titles(ben.get("/top-picks").text) == ["Up 2000", "Heat 2000"] and titles(ben.get("/taste").text) == []
    assert ranks(home, "recommendations/Anna/movie") == [2] and ranks(home, "recommendations/Ben/movie") == [1, 2]
    home.watch("Anna")
    assert ranks(home, "shows_you_watch/Anna") == [1]
    press(anna, "/shows", "Dark")
    assert ranks(home, "shows_you_watch/Anna") == []
    press(anna, "/taste", "Dark", "Show it again")
    press(anna, "/taste", "Heat", "Show it again")
    assert titles(anna.get("/taste").text) == ["Stalker"]
    assert titles(anna.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]


def test_another_title_takes_the_place_of_a_hidden_one_in_the_same_view(home: Home, settings: Settings):
    for name in ("Stalker", "Mirror", "Nostalghia", "Ivan"):
        home.suggest("Anna", name, "PG")
    films = RecommendationRules(per_list=5)
    few = settings.model_copy(update={"recommendations_movies": films, "discovery_per_list": 5})
    home.shelf.films(film(5, title="Fargo"), complete=set())
    home.recommend("Anna", 1, 2, 3, 4, 5)
    home.suggest("Anna", "Andrei", "PG")
    with browsers(few) as signed_in:
        anna = signed_in("Anna")
        assert [one.split()[0] for one in titles(anna.get("/").text)] == ["Alien", "Heat", "Up", "Solaris"]
        press(anna, "/", "Heat")
        assert [one.split()[0] for one in titles(anna.get("/").text)] == ["Alien", "Up", "Solaris", "Fargo"]
        press(anna, "/", "Up")
        assert [one.split()[0] for one in titles(anna.get("/").text)] == ["Alien", "Solaris", "Fargo"]
        outside = [one.split()[0] for one in titles(anna.get("/suggestions").text)]
        assert outside == ["Stalker", "Mirror", "Nostalghia", "Ivan"]
        press(anna, "/suggestions", "Mirror")
        assert [one.split()[0] for one in titles(anna.get("/suggestions").text)][-1] == "Andrei"


def test_a_title_is_rated_from_1_to_10_and_the_rating_goes_the_way_of_all_ratings(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 1)
    home.suggest("Anna", "Stalker", "PG")
    home.shelf.connect_to_trakt("Anna")
    anna = signed_in("Anna")
    page, form = rating_form(anna, "/", "Heat")
    assert re.findall(r'<option value="(\d*)"', page) == ["", *map(str, range(10, 0, -1))]
    assert '<label for="rating">' in page and "★★★★½ (9 of 10)" in page and ">½ (1 of 10)" in page
    assert "selected" not in page
    answer = anna.post("/rate", data={**form, "rating": "9"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    page, _ = rating_form(anna, "/", "Heat")
    assert '<option value="9" selected>' in page and "Your rating of Heat: 9 of 10" in anna.get("/").text
    assert home.shelf.value("SELECT rating FROM rating_outbox") == 9, "it waits for Trakt"
    anna.post("/rate", data={**form, "rating": "3"})
    rows = home.shelf.rows("SELECT user_id, source, work_id, rating FROM ratings")
    assert rows == [{"user_id": "Anna", "source": "own", "work_id": int(form["work"]), "rating": 3.0}]
    anna.post("/rate", data={**form, "rating": ""})
    assert anna.post("/rate", data={**form, "rating": ""}).status_code == 303, "there is none any more"
    assert "Rate: Heat" in anna.get("/").text
    anna.post("/rate", data={**rating_form(anna, "/suggestions", "Stalker")[1], "rating": "7"})
    log = home.shelf.rows("SELECT rating FROM rating_changes ORDER BY change_id")
    assert [row["rating"] for row in log] == [9, 3, None, 7]


def test_a_rating_on_the_media_server_is_shown_in_whole_steps(home: Home, signed_in: Browsers):
    home.recommend("Ben", 1)
    home.shelf.history("Ben", played("film-1", rating=7.6))
    assert "Your rating of Alien &amp; &lt;Co&gt;: 8 of 10" in signed_in("Ben").get("/").text


def test_what_is_no_rating_is_refused(home: Home, signed_in: Browsers):
    home.recommend("Ben", 1)
    ben = signed_in("Ben")
    _, form = rating_form(ben, "/", "Alien")
    for rating in ("0", "11", "-1", "5.5", "x", "½", "٣", "1e1", " 5", "5" * 400):
        assert ben.post("/rate", data={**form, "rating": rating}).status_code == 400, rating
    assert ben.post("/rate", data=form).status_code == 400, "without a rating"
    assert home.shelf.rows("SELECT * FROM ratings") == []


def test_more_like_a_title_becomes_part_of_its_members_taste_until_it_is_taken_back(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 1)
    home.recommend("Ben", 2)
    home.suggest("Anna", "Stalker", "PG")
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert press(anna, "/", "Heat", "More like this").headers["location"] == "/"
    press(anna, "/suggestions", "Stalker", "More like this")
    assert titles(anna.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"], "it stays on the list"
    assert set(titles(anna.get("/taste").text)) == {"Heat", "Stalker"} and titles(ben.get("/taste").text) == []
    assert "No longer more like this: Heat" in anna.get("/").text
    assert "No longer more like this" not in ben.get("/").text

    def wanted() -> list[tuple[str, float]]:
        with home.shelf.open() as connection:
            found = read_histories(connection)
        return sorted(found.loc[found["wants_more"], ["user_id", "plays"]].itertuples(index=False, name=None))

    assert wanted() == [("Anna", 0.0)] * 2
    form = {"csrf": token(anna), "work": home.shelf.item("film-2")["work_id"]}
    assert anna.post("/more-like-this", data=form).is_redirect and wanted() == [("Anna", 0.0)] * 2, "pressed twice"
    press(anna, "/", "Heat", "No longer more like this")
    press(anna, "/taste", "Stalker", "Undo")
    assert wanted() == [] and anna.post("/more-like-this/undo", data=form).is_redirect
    assert titles(anna.get("/taste").text) == []


def test_what_is_put_aside_stays_until_it_is_watched_hidden_or_taken_off(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 3)
    home.recommend("Ben", 2)
    home.suggest("Anna", "Stalker", "PG")
    anna, ben = signed_in("Anna"), signed_in("Ben")
    for path, name in (("/", "Heat"), ("/", "Up"), ("/suggestions", "Stalker")):
        press(anna, path, name, "For later")
    kept = ["Heat 2000", "Stalker", "Up 2000"]
    assert sorted(titles(anna.get("/later").text)) == kept and titles(ben.get("/later").text) == []
    assert "No longer for later: Heat" in anna.get("/").text and "No longer for later" not in ben.get("/").text
    # Nobody can find it any more, and it is still theirs to see.
    home.shelf.do("DELETE FROM discovery_candidates")
    home.shelf.do("UPDATE discovery_pool SET is_adult = true")
    stalker = home.shelf.value("SELECT work_id FROM discovery_pool WHERE title = 'Stalker'")
    assert anna.get(f"/titles/{stalker}").status_code == 200 and ben.get(f"/titles/{stalker}").status_code == 404
    press(anna, "/later", "Up", "No longer for later")
    press(anna, "/later", "Stalker", "Not for me")
    assert titles(anna.get("/later").text) == ["Heat 2000"]
    home.shelf.do("UPDATE for_later SET added_at = :then", then=NOW - timedelta(days=3))
    home.shelf.history("Anna", played("film-2", last_played_at=NOW - timedelta(days=1)))
    assert titles(anna.get("/later").text) == []
    home.recommend("Anna", 2)
    press(anna, "/", "Heat", "For later")
    assert titles(anna.get("/later").text) == ["Heat 2000"], "to be watched again"


def test_what_was_put_aside_and_came_into_the_library_says_so(home: Home, signed_in: Browsers):
    home.suggest("Anna", "Stalker", "PG")
    anna = signed_in("Anna")
    press(anna, "/suggestions", "Stalker", "For later")
    assert "Now in the library" not in anna.get("/later").text
    number = home.shelf.value("SELECT tmdb_id FROM discovery_pool")
    with home.shelf.open() as connection:
        assert forget_old(connection, now=NOW + timedelta(days=4_000)) == 0, "somebody waits for it"
    home.shelf.films(film(9, title="Stalker", tmdb_id=number, official_rating="G"), complete=set())
    page = anna.get("/later").text
    assert titles(page) == ["Stalker 2000"] and "Now in the library" in page


def test_nobody_changes_anything_for_somebody_else(home: Home, signed_in: Browsers):
    """What a form without the token of its page changes is in ``test_security.py``."""
    home.recommend("Anna", 2)
    home.recommend("Ben", 2)
    anna = signed_in("Anna")
    # An administrator sees the lists of others, and no buttons there.
    assert "Not for me" not in anna.get("/?as=Ben").text and "Not for me" in anna.get("/").text
    form = {"work": home.shelf.item("film-2")["work_id"], "rating": "8", "csrf": token(anna)}
    for path in sorted(CHANGES):
        answer = anna.post(f"{path}?as=Ben", data=form | {"user": "Ben", "as": "Ben"})
        assert answer.status_code == (404 if path == "/choices" else 303), "nothing is published, so nothing to choose"
    for table in ("dismissals", "ratings", "more_like_this", "for_later", "member_choices"):
        assert home.shelf.value(f"SELECT count(*) FROM {table} WHERE user_id <> 'Anna'") == 0, table
    home.user("Ben", is_disabled=True)
    for path in sorted(CHANGES):
        assert signed_in("Ben").post(path, data=form).status_code == 403, path


def test_the_page_of_a_title_and_what_can_be_done_there_are_for_those_who_may_see_it(home: Home, signed_in: Browsers):
    home.suggest("Anna", "Stalker", "R")
    home.suggest("Ben", "Caligula", "R")
    home.shelf.do("UPDATE discovery_pool SET is_adult = true WHERE title = 'Caligula'")
    home.user("Ben", max_parental_rating=13)
    anna, ben = signed_in("Anna"), signed_in("Ben")
    heat, up = (home.shelf.item(f"film-{one}")["work_id"] for one in (2, 3))
    stalker, caligula = (
        home.shelf.value("SELECT work_id FROM discovery_pool WHERE title = :title", title=one)
        for one in ("Stalker", "Caligula")
    )
    assert [anna.get(f"/titles/{one}").status_code for one in (heat, up, stalker, caligula)] == [200, 200, 200, 404]
    assert [ben.get(f"/titles/{one}").status_code for one in (heat, up, stalker, caligula)] == [404, 200, 404, 404]
    csrf = token(ben)
    for work in (heat, stalker, caligula, 10**6, "", "x", "²", 10**19, -1):
        for path in ("/rate", "/not-for-me", "/more-like-this", "/for-later"):
            assert ben.post(path, data={"csrf": csrf, "work": work, "rating": "9"}).status_code == 404, (path, work)
    for table in ("dismissals", "ratings", "more_like_this", "for_later"):
        assert home.shelf.rows(f"SELECT * FROM {table}") == []
    for work in ("0", "-1", "x", "1e3", str(2**63), "9" * 300, "%00", "..%2f1"):
        assert ben.get(f"/titles/{work}").status_code == 404, work
    hostile = ben.get(f"/titles/{up}?from=https://elsewhere.example/").text
    assert "elsewhere" not in hostile and 'href="/">Back' in hostile
    assert 'value="/shows"' in ben.get(f"/titles/{up}?from=/shows").text


def test_in_a_demo_nothing_can_be_changed(home: Home, settings: Settings):
    home.recommend("Ben", 1)
    work = home.shelf.item("film-1")["work_id"]
    with members_app(settings, is_open=True) as pages:
        visitor = TestClient(pages, follow_redirects=False)
        for path in ("/?as=Ben", f"/titles/{work}?as=Ben"):
            assert "<button" not in visitor.get(path).text.partition("<main")[2].partition("<footer>")[0]
        for path in CHANGES:
            assert visitor.post(path, data={"csrf": "", "work": work, "rating": "9"}).status_code == 403


def test_my_taste_says_what_somebody_likes_and_watched_last(home: Home, signed_in: Browsers):
    home.shelf.films(
        film(5, title="Fargo", genres=("War", "Drama"), official_rating="G"), film(6, genres=("War",)), complete=set()
    )
    home.shelf.history("Ben", played("film-5"), played("film-2", last_played_at=NOW - timedelta(days=3)))
    works = [home.shelf.item(f"film-{number}")["work_id"] for number in (5, 6)]
    weights = [
        {"user_id": "Ben", "work_id": work, "media_type": "movie", "weight": weight}
        for work, weight in zip(works, (1.0, 0.5), strict=True)
    ]
    with home.shelf.open() as connection:
        replace_taste(connection, "Ben", [], weights)
    ben = signed_in("Ben")
    page = ben.get("/taste").text
    assert titles(page) == ["Fargo 2000", "Heat 2000"] and "May 17, 2026" in page and "Rate: Heat" in page
    assert re.findall(r'<dt>(\w+)</dt><dd><meter max="100" value="(\d+)"', page) == [("War", "100"), ("Drama", "67")]
    home.user("Ben", max_parental_rating=13)
    assert titles(ben.get("/taste").text) == ["Fargo 2000"], "what they may not see by now"
    assert titles(signed_in("Anna").get("/taste").text) == []


def test_titles_of_an_excluded_genre_leave_all_lists_at_once_and_come_back(home: Home, signed_in: Browsers):
    home.shelf.films(film(5, title="Fargo", genres=("Crime", "Drama")), complete=set())
    home.recommend("Anna", 5, 1)
    home.recommend("Ben", 5)
    home.pick(5)
    home.suggest("Anna", "Stalker", "PG")
    anna, ben = signed_in("Anna"), signed_in("Ben")

    def found() -> list[list[str]]:
        return [[one.split()[0] for one in titles(anna.get(path).text)] for path in ("/", "/top-picks", "/suggestions")]

    def published_and_ranked(user: str) -> tuple[list[int], int]:
        with home.shelf.open() as connection:
            hidden = len(hidden_titles(connection).get(user, ()))
        return ranks(home, f"recommendations/{user}/movie"), hidden

    everything = [["Fargo", "Alien"], ["Fargo"], ["Stalker"]]
    assert found() == everything and "without Crime" in anna.get("/taste").text
    form = {"csrf": token(anna), "next": "/taste", "without Drama": "1", "without Nothing": "1"}
    assert anna.post("/genres", data=form).headers["location"] == "/taste"
    assert found() == [["Alien"], [], []] and titles(ben.get("/").text) == ["Fargo 2000"]
    assert 'name="without Drama" value="1" checked' in anna.get("/taste").text
    assert published_and_ranked("Anna") == ([2], 1) and published_and_ranked("Ben") == ([1], 0)
    # Other choices are kept.
    home.shelf.do("UPDATE member_choices SET list_name = 'Mum'")
    anna.post("/genres", data={"csrf": token(anna)})
    assert found() == everything and home.shelf.value("SELECT list_name FROM member_choices") == "Mum"


def test_names_of_what_a_limit_now_hides_are_not_on_my_taste_or_among_requests(home: Home, signed_in: Browsers):
    home.recommend("Ben", 2, 3)
    home.suggest("Ben", "Stalker", "R")
    home.suggest("Ben", "Mirror", "G")
    ben = signed_in("Ben")
    for path, name in (("/", "Heat"), ("/", "Up"), ("/suggestions", "Stalker")):
        press(ben, path, name)
    home.shelf.do(
        "INSERT INTO seerr_requests (user_id, work_id, media_type, tmdb_id, title, state, requested_at) "
        "SELECT 'Ben', work_id, 'movie', tmdb_id, title, 'pending', now() FROM discovery_pool"
    )
    assert set(titles(ben.get("/taste").text)) == {"Heat", "Up", "Stalker"}
    # What has left the pool was requested all the same.
    home.shelf.do("DELETE FROM discovery_candidates")
    home.shelf.do("DELETE FROM discovery_pool WHERE title = 'Stalker'")
    assert set(titles(ben.get("/suggestions").text)) == {"Stalker", "Mirror"}
    home.user("Ben", max_parental_rating=13)
    assert titles(ben.get("/taste").text) == ["Up"] and titles(ben.get("/suggestions").text) == ["Mirror"]
