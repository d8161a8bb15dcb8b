"""Administrators read and change the settings: what is checked, who may, and what nobody ever sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from aperture_dagster.files.env_file import read_env_file
from aperture_dagster.front_door.settings_rules import LOCKED
from aperture_dagster.front_door.settings_store import LEADS_HERE, Change, SettingsStore
from aperture_dagster.front_door.settings_words import EFFECTS, FIRST, GROUPS, LABELS
from aperture_dagster.settings import Settings, SettingsError, groups, load_settings, secret_names
from aperture_dagster_tests.front_door.door import Door, sign_in
from aperture_dagster_tests.household import SetClock

SECRET = "hush-very-secret"
OTHER_SECRET = "another-secret-that-is-longer"


@dataclass
class Page:
    """The page of settings, in the browser of somebody."""

    door: Door
    browser: TestClient
    env: Path

    def open(self, path: str = "/settings") -> str:
        """Return the page."""
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def fields(self, path: str = "/settings") -> dict[str, str]:
        """Return what a browser would send of all forms, without a change."""
        text = self.open(path)
        sent = dict(re.findall(r'<input type="hidden" name="([\w.]+)" value="([^"]*)"', text))
        sent |= dict(re.findall(r'<input id="[^"]+" name="(set\.\w+)" value="([^"]*)"', text))
        sent |= dict(re.findall(r'<textarea id="[^"]+" name="(set\.\w+)"[^>]*>\n(.*?)</textarea>', text, re.DOTALL))
        for name, options in re.findall(r'<select id="[^"]+" name="(set\.\w+)"[^>]*>(.*?)</select>', text, re.DOTALL):
            chosen = re.search(r'<option value="([^"]*)" selected', options)
            sent[name] = chosen[1] if chosen else ""
        return {name: unescape(value) for name, value in sent.items()}

    def send(self, **changes: str) -> httpx.Response:
        """Send a form with other values: ``name=text`` of settings, or fields with ``__`` in place of the dot."""
        form = self.fields()
        for name, text in changes.items():
            form[name.replace("__", ".") if "__" in name else f"set.{name}"] = text
        needed = {name if "__" not in name else name.split("__")[1] for name in changes}
        kept = {name: text for name, text in form.items() if "." not in name or name.partition(".")[2] in needed}
        return self.browser.post("/settings/change", data=kept)

    def review(self, **changes: str) -> str:
        """Send a form, and return the page that says what it would do."""
        answer = self.send(**changes)
        assert answer.status_code == 303, problems(answer.text)
        self.where = answer.headers["location"]
        return self.open(self.where)

    def save(self, **changes: str) -> httpx.Response:
        """Send a form, and confirm it."""
        text = self.review(**changes)
        number = re.search(r'name="change" value="([^"]+)"', text)
        csrf = re.search(r'name="csrf" value="([^"]+)"', text)
        assert number is not None and csrf is not None
        return self.browser.post("/settings/save", data={"csrf": csrf[1], "change": number[1]})

    def stored(self) -> dict[str, str]:
        """Return what the file holds now."""
        return read_env_file(self.env)


def problems(text: str) -> dict[str, str]:
    """Return what a page says is wrong, by setting."""
    found = re.findall(r'<p class="problem" id="p-(\w+)">(.*?)</p>', text, re.DOTALL)
    return {name: unescape(said) for name, said in found}


def kept_in(text: str, name: str) -> str:
    """Return what is in the field of a setting."""
    begin = text.index(f'name="set.{name}"')
    field = re.match(r'[^>]* value="([^"]*)"|[^>]*>\s*(.*?)</(?:textarea|select)', text[begin:], re.DOTALL)
    assert field is not None
    chosen = re.search(r'<option value="([^"]*)" selected', field[2] or "")
    return unescape(field[1] or (chosen[1] if chosen else field[2]))


@pytest.fixture
def settings_page(open_door: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that opens the page for a member; the file holds these variables."""

    @contextmanager
    def opened(name: str = "Anna", clock: Any = None, **file: str) -> Iterator[Page]:
        monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
        env = tmp_path / ".env"
        env.write_text("".join(f"{variable}='{value}'\n" for variable, value in file.items()))
        with open_door(clock=clock) as door:
            yield Page(door, door.signed_in(name), env)

    return opened


def test_every_setting_has_a_name_in_words_and_a_place_and_nothing_else_does():
    assert set(LABELS) == set(Settings.model_fields)
    assert set(GROUPS) == {one.__name__ for one in groups()}
    assert {*FIRST, *EFFECTS, *LOCKED} <= set(Settings.model_fields) and len(set(FIRST)) == len(FIRST)


def test_the_page_shows_each_setting_once_with_where_its_value_comes_from(settings_page, monkeypatch):
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "7")
    with settings_page(APERTURE_COUNTRY="DE", APERTURE_HTTP_ATTEMPTS="3") as page:
        text = page.open()
        assert sorted(re.findall(r'id="set-(\w+)"', text)) == sorted(Settings.model_fields)
        assert len(text.encode()) < 150_000
        row = {name: text.split(f'id="set-{name}"')[1].split('<div class="setting"')[0] for name in LABELS}
        assert 'value="DE"' in row["country"] and "from the file" in row["country"]
        # The environment wins, and there is no field for what could not be changed.
        assert "set outside" in row["http_attempts"] and ">7<" in row["http_attempts"]
        assert 'name="set.http_attempts"' not in text and "default: 5" in row["http_attempts"]
        assert "default" in row["backup_keep"] and "whole number" in row["backup_keep"]
        for name in LOCKED:
            assert f'name="set.{name}"' not in text
        found = page.open("/settings?q=TMDB+key")
        assert "set-tmdb_api_key" in found and "set-country" not in found
        assert "No setting has these words" in page.open("/settings?q=xyzzy")
        german = page.browser.get("/settings?q=Schlüssel", headers={"accept-language": "de"}).text
        assert "set-omdb_api_key" in german and '<html lang="de">' in german and 'lang="en"' in german


def test_the_embedder_leads_to_what_each_model_costs_and_only_operators_see_it(settings_page):
    with settings_page() as page:
        assert 'href="/settings/embedder"' in page.open("/settings?q=embedder")
        page.door.home.shelf.do(
            "INSERT INTO ai_prices (provider, model, price, valid_from, gone_since) "
            "VALUES ('openai', 'old-embed', 0.5, '2026-01-01', '2026-03-01')"
        )
        text = unescape(page.open("/settings/embedder"))
        row = re.search(r"<tr[^>]*><th[^>]*>old-embed \(gone from the price list since 2026-03-01\).*?</tr>", text)
        assert row is not None and ">0.50</td>" in row[0]
        assert "static (configured)" in text
        assert page.door.signed_in("Ben").get("/settings/embedder").status_code == 403


def has_text(page: Page, titles: int) -> None:
    """Give films of the household texts that can be embedded."""
    lists = ("genres", "keywords", "cast", "directors", "creators", "companies", "networks", "countries", "streams")
    columns = ", ".join(f'"{name}"' for name in (*lists, "sources"))
    empty = ", ".join(["'{}'"] * (len(lists) + 1))
    page.door.home.shelf.do(
        f"INSERT INTO enriched_metadata (work_id, media_type, title, overview, {columns}) "
        f"SELECT work_id, 'movie', 'Alien', 'In space.', {empty} FROM works ORDER BY work_id LIMIT {titles}"
    )


def test_each_model_says_what_it_needs_and_a_change_what_it_means_before_it_is_saved(settings_page, monkeypatch):
    monkeypatch.setattr("aperture_dagster.prices.choices.find_spec", lambda name: None)
    with settings_page() as page:
        has_text(page, 3)
        text = unescape(page.open("/settings/embedder"))
        rows = {name: re.findall(r"<td[^>]*>(.*?)</td>", rest) for name, rest in
                re.findall(r'<th role="rowheader"[^>]*>(.*?)</th>(.*?)</tr>', text)}  # fmt: skip
        assert rows["static (configured)"][-4:] == [
            "less than a minute (documented for two cores)", "nothing", "20 MB", "nothing",
        ]  # fmt: skip
        assert rows["BAAI/bge-small-en-v1.5"][-4:-1] == ["unknown", "67 MB", "at least 120 MB"]
        assert "pip install 'aperture-dagster[transformer]'" in rows["BAAI/bge-small-en-v1.5"][-1]
        assert "OPENAI_API_KEY" in rows["text-embedding-3-small"][-1]
        assert "all 3 vectors are recomputed" in text and "Nothing is sent anywhere before" in text
        german = unescape(page.browser.get("/settings/embedder", headers={"accept-language": "de"}).text)
        assert "mindestens 120 MB" in german and "static (eingestellt)" in german and "unbekannt" in german
        assert "less than a minute" not in german and "Schlüssel des Anbieters" in german

        # Before it is saved, nothing has been asked for outside.
        said = unescape(page.review(embedder="openai"))
        assert "All 3 vectors are recomputed." in said and "texts of titles are sent" in said
        assert "That costs about 0.0" in said and "It needs: a key of the provider in OPENAI_API_KEY" in said
        assert "How long that takes is not known here" in said and "Members keep their lists" in said
        both = unescape(page.review(embedder="fastembed", embedder_model="BAAI/bge-small-en-v1.5"))
        assert (
            both.count("are recomputed.") == 1
            and "embedded anew" not in both
            and "It needs: the package fastembed" in both
        )
        assert "texts of titles are sent" not in both and "USD" not in both

        # Back to the model whose vectors are there, nothing is made anew.
        page.door.home.shelf.do(
            "INSERT INTO embedding_models (model_key, dimensions, activated_at) "
            "VALUES ('openai-text-embedding-3-small-1536-recipe1', 1536, now())"
        )
        assert "so nothing is recomputed" in page.review(embedder="openai")


# Changes

WRONG = {
    "country": ("Germany", "should match pattern"),
    "http_attempts": ("many", "valid integer"),
    "discovery_other_languages": ("2", "less than or equal to 1"),
    "backup_keep": ("0", "greater than or equal to 1"),
    "publish_as": ("floppy", "'auto', 'symlink', 'strm' or 'rows'"),
    "publish": ("perhaps", "valid boolean"),
    "timezone": ("Mars/Olympus", "expected a name such as Europe/Berlin or UTC"),
    "quiet_hours": ("evenings", "expected two times of day, such as 19:00-23:30"),
    "path_map": ("{", "expected JSON"),
    "seerr_url": ("192.168.1.10:5055", "begins with http:// or https://"),
    "ui_allowed_hosts": ("https://aperture.example.org", "without https:// and without a path"),
    "ui_trusted_proxies": ("0.0.0.0/0", "every client may say where it comes from"),
    "embedder_price": ("-1", "greater than or equal to 0"),
    "top_picks_series": ('{"sauce": "local"}', "expected source, per_list"),
    "publish_lists": ("everything", "'recommendation_libraries'"),
    "schedules": ('{"sync_movies": "at night"}', "expected for sync_movies a time of every day"),
    "ui_host": ("nowhere.invalid", "This machine has no such address"),
}
"""A wrong value of each type, and part of the sentence about it."""


def test_a_wrong_value_costs_nothing_and_stays_in_its_field_beside_the_sentence_of_the_command_line(
    settings_page, monkeypatch
):
    # There, the address is that of its host.
    monkeypatch.setattr("aperture_dagster.front_door.settings_store.in_container", lambda: False)
    with settings_page(APERTURE_COUNTRY="DE") as page:
        before = page.env.read_bytes()
        for name, (text, said) in WRONG.items():
            answer = page.send(**{name: text})
            assert answer.status_code == 422, name
            (found,) = problems(answer.text).values()
            assert said in found, (name, found)
            assert kept_in(answer.text, name) == text, name
            if name != "ui_host":
                with monkeypatch.context() as patch, pytest.raises(SettingsError) as raised:
                    patch.setenv(f"APERTURE_{name.upper()}", text)
                    load_settings()
                assert found.rstrip(".") in str(raised.value), name
        assert page.env.read_bytes() == before
        # Both at once, and what is right stays, too.
        both = page.send(country="Germany", http_attempts="many", tmdb_language="de-DE")
        assert set(problems(both.text)) == {"country", "http_attempts"} and 'value="de-DE"' in both.text
        # Fields that belong together are checked together.
        series = page.send(top_picks_movies='{"name": "Hits"}', top_picks_series='{"name": "hits"}')
        assert "expected another name than that of the films" in problems(series.text)["top_picks_series"]


def test_a_change_is_shown_before_it_is_saved_and_takes_effect_with_the_next_start(settings_page, monkeypatch):
    with settings_page(APERTURE_COUNTRY="DE") as page:
        page.env.write_text("# Ours\nAPERTURE_COUNTRY=DE\nexport aperture_backup_keep=9 # weeks\n")
        text = page.review(country="", backup_keep="3", publish_names='{"top_picks": "Best - {type}"}')
        assert re.findall(r"<dd>(.*?)</dd>", text)[:4] == ["9", "<b>3</b>", "DE", "<b>US (default)</b>"]
        assert "Certifications, releases" in text and "Older backups are deleted" in text
        assert "docker compose restart" in text, "nobody is here who could start everything anew"
        assert page.stored()["APERTURE_COUNTRY"] == "DE", "it has only been looked at"
        answer = page.save(country="", backup_keep="3", publish_names='{"top_picks": "Best - {type}"}')
        assert answer.status_code == 200 and "Saved" in answer.text
        assert page.env.read_text() == (
            '# Ours\nexport aperture_backup_keep=3 # weeks\nAPERTURE_PUBLISH_NAMES=\'{"top_picks": "Best - {type}"}\'\n'
        )
        assert page.env.stat().st_mode & 0o077 == 0
        assert "take effect when the program is started anew" in page.open()
        # Nothing changes what is as it was.
        assert page.send(backup_keep="3").headers["location"].endswith("/settings")


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ({"APERTURE_NONSENSE": "1"}, {"country": "DE"}, "Remove the unknown variables first"),
        ({}, {"ui_port": "0"}, "Nobody would know the port"),
    ],
)  # fmt: skip
def test_nothing_is_saved_after_which_the_pages_would_not_come_back(settings_page, file, change, why):
    with settings_page(**file) as page:
        answer = page.send(**change)
        assert why in answer.text and page.stored() == file


def test_the_name_by_which_the_pages_are_open_is_not_taken_away(settings_page, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aperture_dagster.front_door.settings_store.in_container", lambda: False)
    with settings_page(APERTURE_UI_ALLOWED_HOSTS="home.example") as page:
        store = SettingsStore(page.door.settings)
        present = store.present()
        change = Change({"ui_allowed_hosts": None}, {"ui_allowed_hosts": present.marks["ui_allowed_hosts"]})
        assert store.check(present, change, opened_by="home.example") == {"ui_allowed_hosts": LEADS_HERE}
        assert store.check(present, change, opened_by="127.0.0.1") == {}


def test_times_of_jobs_are_written_and_shown_in_words_and_stored_as_crons(settings_page):
    with settings_page() as page:
        times = '{"sync_movies": "every night at 4", "sync_users": "off", "housekeeping": "montags um 8"}'
        text = unescape(page.review(schedules=times))
        assert "sync_movies: every day at 04:00; sync_users: off; housekeeping: every Monday at 08:00" in text
        assert page.save(schedules=times).status_code == 200
        stored = json.loads(page.stored()["APERTURE_SCHEDULES"])
        assert stored == {"sync_movies": "0 4 * * *", "sync_users": "off", "housekeeping": "0 8 * * 1"}
        answer = page.send(schedules='{"sync_movies": "some night"}')
        assert "expected for sync_movies a time" in problems(answer.text)["schedules"]
        assert kept_in(answer.text, "schedules") == '{"sync_movies": "some night"}'


def test_two_operators_at_once_do_not_overwrite_each_other(settings_page):
    with settings_page(APERTURE_COUNTRY="DE") as page:
        form = page.fields()
        page.env.write_text("APERTURE_COUNTRY=FR\nAPERTURE_BACKUP_KEEP=4\n")
        mine = {"csrf": form["csrf"], "next": "/settings", "set.country": "AT", "seen.country": form["seen.country"]}
        answer = page.browser.post("/settings/change", data=mine)
        assert answer.status_code == 422 and "has been changed meanwhile" in problems(answer.text)["country"]
        assert "now: FR" in answer.text and 'value="AT"' in answer.text
        # Another setting is nobody's conflict, and who looks again may replace it.
        assert page.save(tmdb_language="de-DE").status_code == 200
        text = page.review(country="AT")
        number = re.search(r'name="change" value="([^"]+)"', text)
        assert number is not None
        page.env.write_text("APERTURE_COUNTRY=CH\n")
        late = page.browser.post("/settings/save", data={"csrf": form["csrf"], "change": number[1]})
        assert late.status_code == 422 and "has been changed meanwhile" in problems(late.text)["country"]
        assert page.stored() == {"APERTURE_COUNTRY": "CH"}


def test_what_is_set_outside_or_locked_is_not_changed_whatever_is_sent(settings_page, monkeypatch):
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "7")
    monkeypatch.setenv("TMDB_API_KEY", SECRET)
    with settings_page() as page:
        before = page.env.read_bytes()
        for name, text in {"http_attempts": "3", "tmdb_api_key": OTHER_SECRET, "home": "/etc", "trakt_url": "http://x",
                           "database_url": "postgresql://x/y"}.items():  # fmt: skip
            answer = page.send(**{name: text})
            assert answer.status_code == 422, name
            assert ("set outside" if name in ("http_attempts", "tmdb_api_key") else "Only in the environment") in (
                problems(answer.text)[name]
            )
        # A key that cannot be entered here does not follow an address.
        answer = page.send(tmdb_url="http://evil.example")
        assert "change both there" in problems(answer.text)["tmdb_api_key"]
        assert page.env.read_bytes() == before


def test_a_key_does_not_follow_an_address_unless_it_is_entered_again(settings_page):
    with settings_page(SEERR_API_KEY=SECRET, APERTURE_SEERR_URL="http://192.0.2.1:5055") as page:
        answer = page.send(seerr_url="http://evil.example")
        assert "Enter it again" in problems(answer.text)["seerr_api_key"]
        assert page.save(seerr_url="http://192.0.2.2:5055", seerr_api_key=OTHER_SECRET).status_code == 200
        assert page.stored()["SEERR_API_KEY"] == OTHER_SECRET
        assert page.save(seerr_url="http://192.0.2.3:5055", remove__seerr_api_key="1").status_code == 200
        assert page.stored() == {"APERTURE_SEERR_URL": "http://192.0.2.3:5055"}


@pytest.mark.parametrize(
    "address",
    ["macosx://x", "json://h/?+x=1 fcm://p/k?keyfile=/etc/passwd", "fcm://p/k?%6beyfile=/etc/passwd", "syslog://"],
)
def test_messages_are_not_led_to_programs_or_files_of_this_machine(settings_page, address: str):
    with settings_page() as page:
        assert "names a program or a file" in problems(page.send(alert_urls=address).text)["alert_urls"]


# Secrets


def test_secrets_are_written_and_never_shown(settings_page, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    with settings_page(TMDB_API_KEY=SECRET, APERTURE_MEDIA_SERVER_HEADERS='{"X-Key": "hush-very-secret"}') as page:
        shown = [page.open()]
        assert "set-" not in page.open(f"/settings?q={SECRET}"), "nobody can search for what a secret is"
        wrong = page.send(tmdb_api_key=OTHER_SECRET, country="Germany", media_server_headers=f"[{OTHER_SECRET}]")
        shown += [wrong.text, page.review(tmdb_api_key=OTHER_SECRET, omdb_api_key=OTHER_SECRET)]
        saved = page.save(tmdb_api_key=OTHER_SECRET, omdb_api_key=OTHER_SECRET)
        shown += [saved.text, page.where, page.open()]
        assert page.stored()["TMDB_API_KEY"] == page.stored()["OMDB_API_KEY"] == OTHER_SECRET
        for name in secret_names():
            field = re.search(rf'name="set\.{name}"[^>]*>', shown[0])
            assert field is None or "value=" not in field[0]
        # Not its length either: with a secret of another one, the page is the same but for the marks of fields.
        pages = []
        for secret in (SECRET * 2, SECRET * 40):
            page.env.write_text(f"TMDB_API_KEY={secret}\n")
            pages.append(re.sub(r'(?:name="seen|csrf)[^>]+>', "", page.open()))
        assert pages[0] == pages[1]
        removed = page.save(remove__tmdb_api_key="1")
        assert removed.status_code == 200 and "TMDB_API_KEY" not in page.stored()
        for text in [*shown, *pages, caplog.text]:
            assert SECRET not in text and OTHER_SECRET not in text


# Who may


def test_only_administrators_see_and_change_settings(settings_page):
    with settings_page("Ben", APERTURE_COUNTRY="DE") as page:
        anna = Page(page.door, page.door.signed_in("Anna"), page.env)
        form, text = anna.fields(), anna.review(country="AT")
        number = re.search(r'name="change" value="([^"]+)"', text)
        assert number is not None
        csrf = {name: re.search(r'name="csrf" value="([^"]+)"', browser.get("/devices").text)
                for name, browser in (("Ben", page.browser), ("Anna", anna.browser))}  # fmt: skip
        assert csrf["Ben"] is not None and csrf["Anna"] is not None
        paths = ("/settings", "/settings?q=key", anna.where)
        assert [page.browser.get(path).status_code for path in paths] == [403, 403, 403]
        assert [page.door.browser().get(path).status_code for path in paths] == [303, 303, 303]
        sent = {"seen.country": form["seen.country"], "set.country": "AT", "change": number[1]}
        for path in ("/settings/change", "/settings/save"):
            for token in (csrf["Ben"][1], csrf["Anna"][1], ""):
                assert page.browser.post(path, data={**sent, "csrf": token}).status_code == 403
            assert anna.browser.post(path, data={**sent, "csrf": csrf["Ben"][1]}).status_code == 403
        assert page.stored() == {"APERTURE_COUNTRY": "DE"}
        # What one administrator has proposed, another one does not confirm.
        page.door.simulator.state.change_user("Ben", is_administrator=True)
        ben = Page(page.door, page.door.signed_in("Ben"), page.env)
        assert ben.browser.get(anna.where).status_code == 403
        assert "Settings" in ben.open()


OPENING = {
    "ui_allowed_hosts": "evil.example", "secret_key": SECRET, "alert_urls": "json://h", "ui_empty_passwords": "false",
    "backup_folder": "/tmp", "backup_keep": "1", "media_server_verify_tls": "false", "omdb_api_key": SECRET,
    "embedder_url": "http://evil.example",
}  # fmt: skip


def test_what_opens_the_house_needs_the_password_again_and_so_does_everything_the_next_day(settings_page):
    clock = SetClock(datetime.now(UTC))
    with settings_page(clock=clock) as page:
        clock.moment += timedelta(minutes=30)
        # An hour later, a small change needs nothing more.
        assert page.save(country="DE").status_code == 200
        for name, text in OPENING.items():
            changes = {name: text}
            answer = page.send(**changes)
            where = answer.headers["location"]
            again = page.browser.get(where)
            assert again.status_code == 303 and again.headers["location"].startswith("/sign-in?next="), changes
            # Nor without looking at it first.
            number = where.partition("change=")[2]
            form = {"csrf": page.fields()["csrf"], "change": number}
            assert page.browser.post("/settings/save", data=form).status_code == 303
        assert set(page.stored()) == {"APERTURE_COUNTRY"}
        target = unquote(parse_qs(urlsplit(again.headers["location"]).query)["next"][0])
        assert sign_in(page.browser, "Anna", target=target).headers["location"] == where
        text = page.open(where)
        csrf = re.search(r'name="csrf" value="([^"]+)"', text)
        assert csrf is not None
        assert page.browser.post("/settings/save", data={"csrf": csrf[1], "change": number}).status_code == 200
        assert page.stored()["APERTURE_EMBEDDER_URL"] == "http://evil.example"
        clock.moment += timedelta(hours=13)
        assert page.browser.get("/settings").headers["location"] == "/sign-in?next=%2Fsettings&again=1"


def test_a_media_server_that_cannot_be_used_is_not_saved(settings_page):
    with settings_page() as page:
        page.door.remember_server()
        url = page.door.simulator.jellyfin_url
        for changes, said in (
            ({"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "demo-jellyfin-key"}, "127.0.0.1:9"),
            ({"media_server_url": url, "media_server_api_key": "wrong"}, "refused"),
        ):
            answer = page.save(**changes)
            assert answer.status_code == 503 and said in answer.text and "Nothing was saved" in answer.text, answer.text
            assert page.stored() == {}
        right = {"media_server_url": url, "media_server_api_key": "demo-jellyfin-key", "media_server_type": "jellyfin"}
        assert page.save(**right).status_code == 200 and set(page.stored()) >= {"APERTURE_MEDIA_SERVER_URL"}
