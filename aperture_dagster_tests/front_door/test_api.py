"""The lists for programs: what they hold, whose key reads which, and that all of it is as it is described."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from aperture_dagster.cli.main import main
from aperture_dagster.front_door.api import LISTS
from aperture_dagster.front_door.sessions import COOKIE
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import members_app, session_of
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import titles

PAGES = {"recommendations": "/", "shows": "/shows", "top-picks": "/top-picks", "suggestions": "/suggestions"}


@dataclass
class Programs:
    """Programs that ask the front door, and the command line that gives them keys."""

    app: Any
    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    def command(self, *arguments: str) -> Result:
        assert self.settings.database_url is not None
        with self.monkeypatch.context() as patch:
            patch.setenv("APERTURE_HOME", str(self.settings.home_path))
            patch.setenv("APERTURE_DATABASE_URL", self.settings.database_url.get_secret_value())
            return CliRunner().invoke(main, ["api-key", *arguments])

    def key(self, name: str, *options: str) -> str:
        added = self.command("add", name, *options)
        assert added.exit_code == 0, added.output
        return added.stdout.strip()

    def client(self, key: str = "", address: str = "192.168.1.9", **headers: str) -> TestClient:
        headers = {"authorization": f"Bearer {key}"} if key else headers
        return TestClient(self.app, "http://localhost", client=(address, 1), headers=headers, follow_redirects=False)


@pytest.fixture
def programs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    with members_app(settings) as app:
        yield Programs(app, settings, monkeypatch)


def read(client: TestClient, user: str, path: str = "recommendations", **query: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/users/{user}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["titles"]


def test_a_program_reads_every_list_with_ids_ranks_scores_and_reasons(home: Home, programs: Programs):
    home.recommend("Anna", 2, 1)
    home.watch("Anna")
    home.pick(3)
    home.suggest("Anna", "Stalker", "PG", flatrate=["Mubi"])
    client = programs.client(programs.key("Homepage"))
    heat, alien = read(client, "Anna")
    assert heat == {
        "type": "movie", "rank": 1, "title": "Heat", "year": 2000, "server_item_id": "film-2", "tmdb_id": 2,
        "imdb_id": None, "score": 0.5, "reason": "Because you liked Solaris",
    }  # fmt: skip
    assert (alien["rank"], alien["title"]) == (2, "Alien & <Co>")
    (dark,) = read(client, "anna", "shows")
    assert (dark["type"], dark["tmdb_id"], dark["reason"]) == ("series", 70, "Next: S01E03 · Three")
    (up,) = read(client, "Anna", "top-picks")
    assert (up["title"], up["server_item_id"], up["reason"]) == ("Up", "film-3", None)
    (stalker,) = read(client, "Anna", "suggestions")
    assert (stalker["title"], stalker["server_item_id"], stalker["tmdb_id"]) == ("Stalker", None, 1000)
    assert stalker["reason"] == "Because you liked Solaris"


def test_a_program_chooses_the_type_and_how_many(home: Home, programs: Programs):
    home.recommend("Anna", 2, 1, 3)
    dark = home.shelf.item("series-1")
    home.shelf.do(
        "INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, "
        "is_cold, listed_since) VALUES ('Anna', 'series', 1, :work_id, :item_id, 0.5, '{}', '{}', false, now())",
        work_id=dark["work_id"], item_id=dark["item_id"],
    )  # fmt: skip
    client = programs.client(programs.key("Homepage"))
    assert [one["title"] for one in read(client, "Anna", limit=1)] == ["Heat", "Dark"]
    assert [one["title"] for one in read(client, "Anna", type="series")] == ["Dark"]
    assert [one["rank"] for one in read(client, "Anna", type="movie", limit=2)] == [1, 2]
    for wrong in ({"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"limit": "9" * 5000}, {"type": "film"}):
        answer = client.get("/api/v1/users/Anna/recommendations", params=wrong)
        assert answer.status_code == answer.json()["status"] == 400 and next(iter(wrong)) in answer.json()["error"]


def test_programs_get_what_the_pages_show(home: Home, programs: Programs):
    home.recommend("Ben", 2, 3)
    home.watch("Ben")
    home.pick(2, 3)
    home.suggest("Ben", "Stalker", "R")
    home.user("Ben", is_hidden=True, max_parental_rating=14)
    hidden = home.shelf.item("film-3")["work_id"]
    home.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES ('Ben', :work, 'movie', 'Up', now())", work=hidden,
    )  # fmt: skip
    browser = programs.client()
    browser.cookies.set(COOKIE, session_of(programs.app, programs.settings, "Ben"))
    client = programs.client(programs.key("Homepage"))
    for path, page in PAGES.items():
        found = [f"{one['title']} {one['year'] or ''}".strip() for one in read(client, "Ben", path)]
        assert found == titles(browser.get(page).text), path
        assert not any(one.startswith("Up") for one in found)
    assert [one["title"] for one in read(client, "Anna", "top-picks")] == ["Heat", "Up"]


def test_a_key_reads_the_lists_that_it_was_made_for(home: Home, programs: Programs):
    home.recommend("Anna", 1)
    home.recommend("Ben", 2)
    everybody, bens = programs.key("Homepage"), programs.key("Ben's phone", "--user", "ben")
    assert [one["title"] for one in read(programs.client(everybody), "Ben")] == ["Heat"]
    assert [one["title"] for one in read(programs.client(bens), "Ben")] == ["Heat"]
    # Whether there is anybody of another name is not for this program either.
    answers = [programs.client(bens).get(f"/api/v1/users/{one}/recommendations") for one in ("Anna", "Nobody")]
    assert [one.status_code for one in answers] == [404, 404] and answers[0].text == answers[1].text
    home.user("Ben", is_disabled=True)
    assert programs.client(bens).get("/api/v1/users/Ben/recommendations").status_code == 404


def test_without_a_key_nobody_reads_anything(home: Home, programs: Programs):
    home.recommend("Anna", 1)
    key, path = programs.key("Homepage"), "/api/v1/users/Anna/recommendations"
    wrong = [
        {}, {"authorization": key}, {"authorization": f"Basic {key}"}, {"authorization": "Bearer "},
        {"authorization": f"Bearer {key[:-1]}"}, {"authorization": f"Bearer {key}x"}, {"x-api-key": key},
        {"cookie": f"{COOKIE}={session_of(programs.app, programs.settings, 'Anna')}"},
    ]  # fmt: skip
    for headers in wrong:
        for target in (path, f"{path}?key={key}&api_key={key}&access_token={key}"):
            answer = programs.client(address="10.0.0.1" if target == path else "10.0.0.2", **headers).get(target)
            assert answer.status_code == answer.json()["status"] == 401, headers
            assert answer.headers["www-authenticate"] == "Bearer" and "Alien" not in answer.text
    # It opens nothing else.
    assert programs.client(key).get("/").status_code == 303


def test_a_key_is_shown_once_stored_as_its_hash_and_ends_when_it_is_removed(
    home: Home, programs: Programs, caplog: pytest.LogCaptureFixture
):
    home.recommend("Anna", 1)
    with caplog.at_level(logging.DEBUG):
        key = programs.key("Home Assistant", "--user", "Anna")
        client = programs.client(key)
        assert len(read(client, "Anna")) == 1
    (row,) = home.shelf.rows("SELECT * FROM api_keys")
    listed = programs.command("list").output
    assert len(key) > 50 and key not in caplog.text and key not in listed and key not in str(row)
    assert "Home Assistant" in listed and "Anna" in listed
    again = programs.command("add", "Home Assistant")
    assert again.exit_code == 1 and "Choose another name" in again.output and len(read(client, "Anna")) == 1
    assert programs.command("add", "Other", "--user", "nobody").exit_code == 1
    assert programs.command("remove", "Home Assistant").exit_code == 0
    assert client.get("/api/v1/users/Anna/recommendations").status_code == 401
    assert programs.command("remove", "Home Assistant").exit_code == 1
    assert "No program has a key" in programs.command("list").output


def test_guesses_end_and_lock_out_no_program_that_works(home: Home, programs: Programs):
    home.recommend("Anna", 1)
    path, late, free = "/api/v1/users/Anna/recommendations", programs.key("Late"), RATES["keys"].free
    statuses = [programs.client(f"guess {one}").get(path).status_code for one in range(free + 2)]
    assert statuses == [401] * free + [429] * 2
    refused = programs.client("guess").get(path)
    assert refused.json()["status"] == 429 and int(refused.headers["retry-after"]) > 0
    # A right key works at once, also at that address and for the first time.
    assert len(read(programs.client(late), "Anna")) == 1
    assert programs.client("guess", address="192.168.1.10").get(path).status_code == 401


def test_whatever_goes_wrong_is_json_with_the_status(home: Home, programs: Programs):
    client, key = programs.client(programs.key("Homepage")), programs.key("Late")
    found = {
        "/api/v1/users/Nobody/shows": 404, "/api/v1/users/Anna/nothing": 404, "/api/v1/": 404,
        "/api/v1/users/..%2F..%2Fetc/shows": 404, "/api/v1/users/%C3%A9%00/shows": 404,
    }  # fmt: skip
    for path, status in found.items():
        answer = client.get(path)
        assert answer.status_code == answer.json()["status"] == status and answer.json()["error"], path
    answer = client.post("/api/v1/users/Anna/shows")
    assert answer.status_code == answer.json()["status"] == 405
    home.shelf.do("ALTER TABLE recommendations RENAME TO gone")
    quiet = TestClient(programs.app, headers=client.headers, raise_server_exceptions=False)
    answer = quiet.get("/api/v1/users/Anna/recommendations")
    assert answer.json()["status"] == answer.status_code >= 500 and "recommendations" not in answer.text
    version = home.shelf.value("SELECT version_num FROM alembic_version")
    home.shelf.do("UPDATE alembic_version SET version_num = 'other'")
    late = programs.client(key)
    for _ in range(2 * RATES["keys"].free):
        answer = late.get("/api/v1/users/Anna/shows")
        assert answer.status_code == answer.json()["status"] == 503
    # A database that is away says nothing of a key.
    home.shelf.do("UPDATE alembic_version SET version_num = :version", version=version)
    assert read(late, "Anna", "shows") == []


def test_the_description_is_valid_and_true(home: Home, programs: Programs):
    home.recommend("Anna", 2)
    home.watch("Anna")
    home.suggest("Anna", "Stalker", "PG")
    client = programs.client(programs.key("Homepage"))
    document = programs.client().get("/api/v1/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1") and document["servers"] == [{"url": "/api/v1"}]
    assert set(document["paths"]) == {f"/users/{{name}}/{path}" for path in LISTS}

    def conforms(answer: Any, responses: dict[str, Any]) -> None:
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})

    for path, item in document["paths"].items():
        responses, address = item["get"]["responses"], f"/api/v1{path.format(name='Anna')}"
        conforms(client.get(address), responses)
        conforms(client.get(address, params={"limit": 0}), responses)
        conforms(programs.client("wrong").get(address), responses)
        conforms(client.get(f"/api/v1{path.format(name='Nobody')}"), responses)
        assert {one["name"] for one in item["get"]["parameters"]} == {"name", "type", "limit"}


def test_a_demo_needs_no_key(home: Home, settings: Settings):
    home.recommend("Anna", 1)
    with members_app(settings, is_open=True, prefix="/a") as pages:
        client = TestClient(pages, "http://localhost")
        assert len(client.get("/a/api/v1/users/Anna/recommendations").json()["titles"]) == 1
        assert client.get("/a/api/v1/openapi.json").json()["servers"] == [{"url": "/a/api/v1"}]
