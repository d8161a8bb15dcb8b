"""Set-up, from an address to a file `.env`: what is wrong is said in a sentence, and corrected on the page."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from aperture_dagster.files.env_file import read_env_file
from aperture_dagster.front_door import throttle
from aperture_dagster.front_door.set_up import checks
from aperture_dagster.front_door.set_up.pages import Start, new_code
from aperture_dagster.front_door.set_up.progress import progress_file, read_progress
from aperture_dagster.front_door.throttle import LONGEST_WAIT, Rate
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.up import health
from aperture_dagster_tests.front_door.setting_up import PASSWORD, SEEN_AT, Begin, Evening, begin, household
from aperture_dagster_tests.programs import Program
from aperture_dagster_tests.services import Answer, Asked, Scripted
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

__all__ = ["begin", "household"]

APERTURE = "import sys; from aperture_dagster.cli.main import main; main(sys.argv[1:])"
MUTATION = json.dumps({"query": "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"})
UPGRADE = {
    "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
    "sec-websocket-protocol": "graphql-ws", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def to_users(evening: Evening) -> None:
    """Go to the third step."""
    evening.accepted("address", url=evening.simulator.jellyfin_url)
    evening.accepted("account", name="Anna", password=PASSWORD)


def to_finish(evening: Evening) -> None:
    """Go to the last step, with as little as possible."""
    to_users(evening)
    evening.accepted("users", user=["Anna", "Ben", "Doe, John"])
    evening.accepted("timezone", zone="Europe/Berlin")
    evening.accepted("keys")
    evening.accepted("lists", publish="no")


def test_clients_that_ask_for_lists_meanwhile_get_an_error_that_they_understand(begin: Begin):
    with begin(address="http://nas.example:3000") as evening:
        for path in ("/api/recommendations", "/api/watchlists", "/api/watchlists/promoted", "/api/watchlists/1"):
            answer = evening.browser.get(path, headers={"origin": "http://tv.example"})
            assert (answer.status_code, answer.json()["error"]) == (503, "Service Unavailable")
            assert answer.headers["access-control-allow-origin"] == "*"
            assert evening.browser.options(path).status_code == 204
        assert evening.browser.get("/").status_code == 421


@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_from_an_address_to_a_file_with_all_settings(begin: Begin, server: str):
    with begin() as evening:
        assert evening.heading() == "Where is your media server?"
        services = evening.simulator
        # As it stands in the browser.
        url = getattr(services, f"{server}_url")
        evening.accepted("address", url=f"{url}/web/index.html#/home".removeprefix("http://"))
        assert evening.heading() == "Sign in as an administrator"
        assert f"Stand-in ({server.capitalize()} " in evening.page()
        evening.accepted("account", name="anna", password=PASSWORD)
        assert evening.heading() == "Who takes part?"
        evening.accepted("users", user=["Anna", "Ben"])
        evening.accepted("timezone", zone="Europe/Berlin")
        keys = {"TMDB_API_KEY": "demo-tmdb-key", "OMDB_API_KEY": "demo-omdb-key", "MDBLIST_API_KEY": "demo-mdblist-key"}
        trakt = {"TRAKT_CLIENT_ID": "demo-trakt-client-id", "TRAKT_CLIENT_SECRET": "demo-trakt-client-secret"}
        seerr = {"APERTURE_SEERR_URL": services.seerr_url, "SEERR_API_KEY": "demo-seerr-key"}
        evening.accepted("keys", **keys, **trakt, **seerr)
        folder = str(services.state.settings.volumes[SEEN_AT])
        evening.accepted("lists", publish="yes", folder=folder, server_folder=SEEN_AT)
        page = evening.page()
        assert "TMDb, OMDb, MDBList, Trakt, Seerr" in page and "Doe, John" in page
        assert not (evening.home / ".env").exists(), "nothing counts before the end"
        answer = evening.send("finish")
    assert "3; url=/" in answer.text and evening.stopped == [["--port", "3000"]]
    written = read_env_file(evening.home / ".env")
    key, secret = written.pop("APERTURE_MEDIA_SERVER_API_KEY"), written.pop("APERTURE_SECRET_KEY")
    assert len(secret) > 40
    assert written == keys | trakt | seerr | {
        "APERTURE_MEDIA_SERVER_URL": url,
        "APERTURE_EXCLUDE_USERS": '["Doe, John"]',
        "APERTURE_TIMEZONE": "Europe/Berlin",
        "APERTURE_PUBLISH": "true",
        "APERTURE_PUBLISH_ROOT": folder,
        "APERTURE_PATH_MAP": json.dumps({folder: SEEN_AT}),
    }
    assert stat.S_IMODE((evening.home / ".env").stat().st_mode) == 0o600
    assert not progress_file(load_settings()).exists(), "keys are kept in one place"
    settings = load_settings()
    assert settings.exclude_users == ("Doe, John",) and settings.timezone == "Europe/Berlin"
    headers = {"X-Emby-Token": key} if server == "emby" else {"Authorization": f'MediaBrowser Token="{key}"'}
    found = httpx.get(f"{url}/Auth/Keys", headers=headers).json()["Items"]
    assert [one["AppName"] for one in found if one["AccessToken"] == key] == ["Aperture"]


def test_the_key_is_made_once_and_no_sign_in_is_left(begin: Begin, household: RunningSimulator):
    headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}

    def keys() -> list[str]:
        found = httpx.get(f"{household.jellyfin_url}/Auth/Keys", headers=headers).json()["Items"]
        return [one["AccessToken"] for one in found if one["AppName"] == "Aperture"]

    for _ in range(2):
        with begin() as evening:
            to_users(evening)
    assert len(keys()) == 1
    devices = httpx.get(f"{household.jellyfin_url}/Devices", headers=headers).json()["Items"]
    assert [one for one in devices if one["AppName"] == "Aperture"] == []


def test_addresses_that_are_nearly_right_are_found_and_offered(
    begin: Begin, household: RunningSimulator, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
):
    def below_a_path(asked: Asked) -> Answer:
        return Answer({"Id": "1", "Version": "10.11.0"}) if asked.target.startswith("/jellyfin/S") else Answer({}, 404)

    scripted.say(below_a_path)
    right = household.jellyfin_url
    wrong = {
        right.replace("http://", "https://"): right,
        scripted.url: f"{scripted.url}/jellyfin",
        f"{scripted.url}/jellyfin/some/page": f"{scripted.url}/jellyfin",
    }
    with begin() as evening:
        for typed, other in wrong.items():
            problem = evening.refused("address", url=typed)
            assert "does not answer at" in problem and f"Use {other}" in problem, typed
        # Another port.
        scripted.say(Answer({"Id": "1", "Version": "10.11.0"}))
        monkeypatch.setattr(checks, "USUAL_PORTS", [("http", scripted.url.rpartition(":")[2])])
        assert f"Use {scripted.url}" in evening.refused("address", url=f"127.0.0.1:{free_port()}")
        # A container whose host has it.
        monkeypatch.setattr(checks, "in_container", lambda: True)
        monkeypatch.setattr(checks, "USUAL_PORTS", [])
        assert f"Use {scripted.url}" in evening.refused("address", url=scripted.url.replace("127.0.0.1", "127.0.0.2"))
        evening.accepted("address", url=right)


def test_what_is_wrong_with_an_address_is_said(
    begin: Begin, household: RunningSimulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checks, "SECONDS", 1.0)
    monkeypatch.setattr(checks, "OTHER_SECONDS", 0.2)
    nobody = f"127.0.0.1:{free_port()}"
    with begin() as evening:
        assert "This is no address" in evening.refused("address", url="http://")
        assert "This is no address" in evening.refused("address", url="http://me:secret@box:8096")
        assert "Nobody knows the name" in evening.refused("address", url="http://mediabox.invalid:8096")
        assert "Check address and port" in evening.refused("address", url=nobody)
        monkeypatch.setattr(checks, "in_container", lambda: True)
        for host in ("localhost", "127.0.0.1"):
            problem = evening.refused("address", url=nobody.replace("127.0.0.1", host))
            assert "localhost is the container" in problem
        monkeypatch.setattr(checks, "in_container", lambda: False)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            problem = evening.refused("address", url=f"127.0.0.1:{silent.getsockname()[1]}")
            assert "does not answer in time" in problem
        assert evening.heading() == "Where is your media server?"
        evening.accepted("address", url=household.jellyfin_url)


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (503, {}, "<html>", "is starting"),
        (302, {"Location": "http://127.0.0.1:1/web/"}, "", "leads on to another one"),
        (401, {"WWW-Authenticate": "Basic realm=x"}, "", "asks for a password"),
        (200, {"Content-Type": "text/html"}, "<html>A router</html>", "neither Jellyfin nor Emby"),
        (200, {"Content-Type": "application/json"}, "[]", "neither Jellyfin nor Emby"),
        (
            200, {"Content-Type": "application/json"},
            json.dumps({"Id": "1", "Version": "10.11.0", "StartupWizardCompleted": False}), "not been set up itself",
        ),
    ],
)  # fmt: skip
def test_what_else_answers_is_told_apart(
    begin: Begin, scripted: Scripted, status: int, headers: dict[str, str], body: str, words: str
):
    scripted.say(*[Answer(body, status, headers)] * 30)
    with begin() as evening:
        assert words in evening.refused("address", url=scripted.url)


def test_an_account_that_cannot_make_a_key_is_refused_and_another_one_taken(begin: Begin, caplog: Any):
    caplog.set_level(logging.DEBUG)
    with begin() as evening:
        evening.accepted("address", url=evening.simulator.jellyfin_url)
        assert "does not accept this name" in evening.refused("account", name="Anna", password="wrong-password")
        assert "not one of an administrator" in evening.refused("account", name="Ben", password=PASSWORD)
        assert "refuses this key" in evening.refused("account", key="wrong-key")
        page = evening.page()
        assert evening.heading() == "Sign in as an administrator" and "wrong-" not in page
        evening.accepted("account", key="demo-jellyfin-key")
        assert evening.heading() == "Who takes part?"
    assert not any(secret in caplog.text for secret in ("wrong-", PASSWORD, "demo-jellyfin-key"))


def test_guessing_passwords_through_set_up_is_slowed_down(begin: Begin, monkeypatch: pytest.MonkeyPatch):
    with begin() as evening:
        evening.accepted("address", url=evening.simulator.jellyfin_url)
        monkeypatch.setattr(evening.set_up._throttle, "_now", lambda: 0.0)
        tried = [evening.refused("account", name="Anna", password=f"{one}") for one in range(60)]
    assert "too many attempts" in tried[-1] and "does not accept" in tried[0]


def test_a_server_that_is_down_for_a_while_costs_nothing_that_was_entered(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    with begin() as evening:
        to_users(evening)
    with begin() as evening:
        jellyfin = evening.simulator.jellyfin_url
        monkeypatch.setattr(checks, "SECONDS", 1.0)
        evening.set_up._progress.values["APERTURE_MEDIA_SERVER_URL"] = f"http://127.0.0.1:{free_port()}"
        assert "Check address and port" in evening.page() and evening.heading() == "Sorry"
        evening.set_up._progress.values["APERTURE_MEDIA_SERVER_URL"] = jellyfin
        assert evening.heading() == "Who takes part?"


def test_somebody_takes_part_and_everybody_does_by_default(begin: Begin):
    with begin() as evening:
        to_users(evening)
        assert evening.page().count('type="checkbox" name="user"') == evening.page().count("checked") == 3
        assert "at least one user" in evening.refused("users")
        assert "at least one user" in evening.refused("users", user="Nobody")
        evening.accepted("users", user=["Anna", "Ben", "Doe, John"])
        assert "APERTURE_EXCLUDE_USERS" not in evening.set_up._progress.values, "who comes later takes part, too"


def test_a_time_zone_that_does_not_exist_is_refused(begin: Begin):
    with begin() as evening:
        to_users(evening)
        evening.accepted("users", user="Anna")
        assert "no such time zone" in evening.refused("timezone", zone="Europe/Nowhere")
        assert 'data-offered="' in evening.page() and "Europe/Nowhere" not in evening.page()
        assert evening.browser.get("/static/set_up.js").headers["content-type"].startswith("text/javascript")
        evening.accepted("timezone", zone="America/New_York")


def test_each_key_is_tested_and_those_that_are_right_need_not_be_entered_again(begin: Begin):
    with begin() as evening:
        to_users(evening)
        evening.accepted("users", user="Anna")
        evening.accepted("timezone", zone="UTC")
        wrong = {"OMDB_API_KEY": "wrong-omdb", "MDBLIST_API_KEY": "wrong", "TRAKT_CLIENT_ID": "demo-trakt-client-id"}
        seerr = {"APERTURE_SEERR_URL": "http://127.0.0.1:1", "SEERR_API_KEY": "wrong"}
        problem = evening.refused("keys", TMDB_API_KEY="demo-tmdb-key", **wrong, **seerr)
        for words in (
            "OMDb does not accept",
            "MDBList does not accept",
            "Both fields are needed",
            "Seerr does not answer",
        ):
            assert words in problem
    # Killed, and begun again.
    with begin() as evening:
        page = evening.page()
        assert evening.heading() == "Keys of other services" and 'name="TMDB_API_KEY"' not in page
        assert "wrong-omdb" not in page and "demo-tmdb-key" not in page
        evening.accepted("keys")
        assert evening.heading() == "Lists on the media server?"
        values = evening.set_up._progress.values
        assert values["TMDB_API_KEY"] == "demo-tmdb-key" and "OMDB_API_KEY" not in values


def test_a_folder_that_the_media_server_does_not_see_is_refused(begin: Begin, tmp_path: Path):
    (tmp_path / "unseen").mkdir()
    with begin() as evening:
        to_finish(evening)
        folder = str(evening.simulator.state.settings.volumes[SEEN_AT])
        assert "Enter a folder" in evening.refused("lists", publish="yes")
        assert "whole path" in evening.refused("lists", publish="yes", folder="lists")
        assert "cannot be written" in evening.refused("lists", publish="yes", folder=f"{tmp_path}/missing")
        assert "does not see the files" in evening.refused("lists", publish="yes", folder=f"{tmp_path}/unseen")
        assert "does not see the files" in evening.refused("lists", publish="yes", folder=folder)
        films = {"folder": str(tmp_path / "unseen"), "server_folder": "/media/films"}
        assert "The folder cannot be used" in evening.refused("lists", publish="yes", **films)
        assert "APERTURE_PUBLISH" not in evening.set_up._progress.values
        evening.accepted("lists", publish="yes", folder=folder, server_folder=SEEN_AT)
        assert list((tmp_path / "unseen").iterdir()) == list(Path(folder).iterdir()) == []


def test_killed_anywhere_it_begins_again_where_it_was(begin: Begin):
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("users", {"user": ["Anna"]}, "Which time zone?"),
        ("timezone", {"zone": "UTC"}, "Keys of other services"),
        ("keys", {}, "Lists on the media server?"),
        ("lists", {"publish": "no"}, "All set"),
    ]
    with begin() as evening:
        to_users(evening)
    for step, fields, next_heading in steps:
        with begin() as evening:
            evening.accepted(step, **fields)
            assert stat.S_IMODE(progress_file(load_settings()).stat().st_mode) == 0o600
        with begin() as evening:
            assert evening.heading() == next_heading
    # Another server is another household, whose key and users are others.
    with begin() as evening:
        evening.accepted("address", url=evening.simulator.emby_url)
        assert evening.heading() == "Sign in as an administrator"
        values = read_progress(progress_file(load_settings())).values
    assert values == {"APERTURE_MEDIA_SERVER_URL": evening.simulator.emby_url, "APERTURE_TIMEZONE": "UTC"}


def test_what_the_environment_sets_wins_and_is_shown_as_that(begin: Begin, monkeypatch: pytest.MonkeyPatch):
    with begin() as evening:
        url = evening.simulator.jellyfin_url
    for name, value in {
        "APERTURE_MEDIA_SERVER_URL": url,
        "APERTURE_TIMEZONE": "Asia/Tokyo",
        "TMDB_API_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    with begin() as evening:
        assert "set outside, by APERTURE_MEDIA_SERVER_URL" in evening.page()
        evening.accepted("address", url="http://127.0.0.1:1")
        evening.accepted("account", name="Anna", password=PASSWORD)
        evening.accepted("users", user="Anna")
        assert evening.heading() == "Keys of other services", "the time zone is known"
        assert "set outside, by TMDB_API_KEY" in evening.page()
        evening.accepted("keys")
        evening.accepted("lists", publish="no")
        assert "Asia/Tokyo" in evening.page()
        evening.send("finish")
    assert read_env_file(evening.home / ".env").keys() == {"APERTURE_MEDIA_SERVER_API_KEY", "APERTURE_EXCLUDE_USERS"}


def test_a_file_that_is_not_ours_is_left_alone_and_nothing_starts(begin: Begin, tmp_path: Path):
    (tmp_path / "elsewhere").write_text("A=1\n")
    with begin() as evening:
        to_finish(evening)
        (evening.home / ".env").symlink_to(tmp_path / "elsewhere")
        assert "is a link" in evening.refused("finish")
        assert (tmp_path / "elsewhere").read_text() == "A=1\n" and evening.stopped == []
        (evening.home / ".env").unlink()
        evening.send("finish")
        assert evening.stopped


def test_steps_are_taken_in_their_order_and_can_be_looked_at_again(begin: Begin):
    with begin() as evening:
        evening.refused("finish")
        evening.refused("users", user="Anna")
        to_users(evening)
        assert evening.simulator.jellyfin_url in evening.page("/?step=address")
        assert "<h1>Who takes part?</h1>" in evening.page("/?step=finish")
        assert evening.stopped == []


def test_the_demo_is_shown_if_asked_for_and_where_it_may_be(begin: Begin):
    with begin() as evening:
        assert "Look at the demo first" in evening.page()
        evening.send("demo")
        assert evening.stopped == [["--demo"]] and not (evening.home / ".env").exists()
    with begin(start=Start("127.0.0.1", ["up"], None)) as evening:
        assert "demo" not in evening.page()
        evening.send("demo")
        assert evening.stopped == []


def test_pages_of_other_websites_drive_nothing(begin: Begin):
    with begin() as evening:
        token = evening.page().partition('name="csrf" value="')[2].partition('"')[0]
        url = {"csrf": token, "url": evening.simulator.jellyfin_url}
        for headers in (
            {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
            {"host": "evil.example:3000"}, {"host": "evil.example:3000", "origin": "http://evil.example:3000"},
        ):  # fmt: skip
            answer = evening.browser.post("/set-up/address", data=url, headers=headers)
            assert answer.status_code in (403, 421), headers
            assert token not in evening.browser.get("/", headers=headers).text or "origin" not in headers
        assert "csrf" not in evening.browser.get("/", headers={"host": "evil.example"}).text
        answer = evening.browser.post("/set-up/address", data={"url": evening.simulator.jellyfin_url})
        assert answer.status_code == 403 and "too old" in answer.text
        assert evening.heading() == "Where is your media server?"


def test_other_machines_need_the_code_which_is_not_guessed(begin: Begin, monkeypatch: pytest.MonkeyPatch):
    code = new_code()
    with begin(start=Start("0.0.0.0", [], None, code), address="http://nas.lan:3000") as evening:
        assert evening.heading() == "Set up"
        for path in ("/", "/?step=address", "/sign-in", "/operate/graphql"):
            assert "Where is your media server" not in evening.page(path)
        answer = evening.browser.post("/set-up/address", data={"url": evening.simulator.jellyfin_url})
        assert answer.status_code == 503 and read_progress(progress_file(load_settings())).done == []
        assert "This is not the code" in evening.refused("code", 403, code="2222222222")
        assert evening.heading() == "Set up"
        # As it is read aloud.
        evening.accepted("code", code=f" {code[:5].lower()}-{code[5:]} ")
        to_finish(evening)
        cookie = next(one for one in evening.browser.cookies.jar if one.name == "aperture_set_up")
        assert cookie.has_nonstandard_attr("HttpOnly") and code not in (cookie.value or "")
        evening.send("finish")
    # The pages answer to the name by which they were set up.
    assert read_env_file(evening.home / ".env")["APERTURE_UI_ALLOWED_HOSTS"] == "nas.lan:3000"
    with begin(start=Start("0.0.0.0", [], None, code)) as evening:
        monkeypatch.setattr(evening.set_up._throttle, "_now", lambda: 0.0)
        # So that none is held for forty seconds, but refused at once.
        slower = {"failing": Rate(8, LONGEST_WAIT + 1)}
        monkeypatch.setattr(throttle, "RATES", throttle.RATES | slower)
        answers = [evening.send("code", code="2222222222").status_code for _ in range(60)]
        assert answers[0] == 403 and answers[-1] == 429


def test_whom_a_proxy_or_tunnel_on_this_machine_brings_is_refused_without_a_code(begin: Begin):
    with begin() as evening:
        there = {"x-forwarded-for": "203.0.113.9"}
        page = evening.browser.get("/", headers=there)
        assert page.status_code == 403 and "open to this machine only" in page.text and "csrf" not in page.text
        evening.page()
        token = re.findall(r'name="csrf" value="([^"]+)"', evening.browser.get("/").text)[0]
        form = {"csrf": token, "url": evening.simulator.jellyfin_url}
        assert evening.browser.post("/set-up/address", data=form, headers=there).status_code == 403
        assert "Where is your media server" in evening.heading()


def test_a_file_that_somebody_has_written_meanwhile_is_left_alone(begin: Begin):
    with begin() as evening:
        to_finish(evening)
        evening.home.mkdir(exist_ok=True)
        (evening.home / ".env").write_text("APERTURE_TIMEZONE=Europe/Rome\n")
        assert "was changed meanwhile" in evening.refused("finish")
        assert (evening.home / ".env").read_text() == "APERTURE_TIMEZONE=Europe/Rome\n" and not evening.stopped


def test_it_speaks_german_and_escapes_what_is_typed(begin: Begin):
    with begin(**{"accept-language": "de"}) as evening:
        assert evening.heading() == "Wo ist dein Medienserver?"
        answer = evening.browser.post("/language", data={"language": "en", "next": "//evil.example"})
        assert answer.headers["location"] == "/"
        assert evening.heading() == "Where is your media server?"
        answer = evening.send("address", url="no <script>alert(1)</script>")
        assert "<script>alert" not in answer.text
        assert "script-src 'self'" in answer.headers["content-security-policy"]


# `aperture up` itself


@dataclass
class Started:
    """What `aperture up` runs, and the address by which another machine would ask it."""

    process: Program
    address: str
    port: int

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        return httpx.request(method, f"{self.address}{path}", timeout=60, trust_env=False, **options)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run the image's command without a media server."""
    home = tmp_path_factory.mktemp("not") / "home"
    with socket.socket() as probe:
        # Free at every address of this machine, since the command listens at all of them.
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APERTURE_HOME", str(home))
        process = Program(APERTURE, "up", "--host", "0.0.0.0", "--port", str(port))
    running = Started(process, f"http://127.0.0.2:{port}", port)

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return running.ask("/health").status_code == 200
        return False

    def why() -> str:
        process.kill()
        return f"it does not start: {process.communicate()}"

    try:
        wait_for(answers, why, process=process)
        yield running
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
        assert "nothing runs yet but the pages to set up" in output and "The code for set-up" in output
        assert not home.exists(), "not even the home was made"
        assert process.returncode == 0, "to be told to end is no failure"
    finally:
        process.kill()


def test_every_address_shows_set_up_and_asks_other_machines_for_the_code(started: Started):
    for path in ("/", "/sign-in", "/operate", "/operate/assets?x=1", "/api/v1/openapi.json", "/nowhere", "/%00"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = started.ask(path, method)
            assert answer.status_code == 503 and "Code from the log" in answer.text, (method, path)
            assert answer.headers["cache-control"] == "private, no-store" and "set-cookie" not in answer.headers
    german = started.ask("/", headers={"accept-language": "de"}).text
    (style,) = [one for one in german.split('"') if one.startswith("/static/aperture.css")]
    assert "Code aus dem Log" in german
    assert started.ask(style).headers["content-type"] == "text/css; charset=utf-8"
    assert started.ask("/static/../set_up.py").status_code in (404, 503)
    # By whichever name of this machine somebody asks, also through a proxy.
    proxied = {"host": f"nas.lan:{started.port}", "x-forwarded-for": "203.0.113.7"}
    assert started.ask("/", headers=proxied).status_code == 503


def test_nobody_changes_anything_and_nothing_else_runs(started: Started):
    for path in ("/operate/graphql", "/graphql"):
        answer = started.ask(path, "POST", content=MUTATION, headers={"content-type": "application/json"})
        assert answer.status_code == 503 and "__typename" not in answer.text
        assert started.ask(path, headers=UPGRADE).status_code == 403
    assert psutil.Process(started.process.pid).children(recursive=True) == []


def test_the_container_counts_as_healthy_since_there_is_nothing_to_start_again(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert started.ask("/health").text == health.NOT_SET_UP
    (tmp_path / "cmdline").write_text("tini\0-s\0--\0aperture\0up\0")
    monkeypatch.setattr(health, "FIRST_PROCESS", tmp_path / "cmdline")
    assert health.main(["container", "--port", str(started.port)]) == 0
    assert health.main(["all", "--port", str(started.port)]) == 1, "nothing is made"
