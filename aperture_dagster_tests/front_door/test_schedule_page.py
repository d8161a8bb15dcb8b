"""When a job starts is set in fields: what becomes of them, and who may."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest

from aperture_dagster.front_door.schedule_form import TimeFields, cron_of, fields_of, sent_fields
from aperture_dagster_tests.front_door.test_settings_page import Page, settings_page
from aperture_dagster_tests.household import SetClock

__all__ = ["settings_page"]
PATH = "/settings/schedule?job=sync_movies"


def sent(page: Page, job: str = "sync_movies", **fields: str) -> Any:
    """Send the form of a job with these fields, and return the answer."""
    text = page.open(f"/settings/schedule?job={job}")
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
    return page.browser.post("/settings/schedule", data={**form, **fields})


@pytest.mark.parametrize(
    ("cron", "kind"),
    [
        (None, "usual"), ("off", "off"), ("30 2 * * *", "day"), ("5 23 * * 0", "day"), ("5 4 * * 1,3,5", "day"),
        ("0 * * * *", "hours"),
        ("15 */6 * * *", "hours"), ("*/30 * * * *", "cron"), ("0 4 1 * *", "cron"),
    ],
)  # fmt: skip
def test_every_time_comes_back_as_it_was(cron: str | None, kind: str):
    fields = fields_of(cron)
    assert fields.kind == kind and cron_of(fields) == cron


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "day", "time": "25:00"}, {"kind": "day", "day1": "1", "time": "4"}, {"kind": "day", "time": ""},
        {"kind": "hours", "hours": "24"}, {"kind": "hours", "hours": "0"},
        {"kind": "hours", "hours": "x"}, {"kind": "hours", "hours": "2", "past": "60"},
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(fields: dict[str, str]):
    with pytest.raises(ValueError, match=r"."):
        cron_of(sent_fields(fields))


def test_a_time_is_saved_beside_those_of_other_jobs_and_says_the_next_start_first(settings_page):
    # A winter evening in UTC, an hour later in Berlin.
    clock = SetClock(datetime(2026, 12, 3, 22, 30, tzinfo=UTC))
    others = '{"housekeeping": "*/30 * * * *", "sync_users": "off"}'
    with settings_page(clock=clock, APERTURE_TIMEZONE="Europe/Berlin", APERTURE_SCHEDULES=others) as page:
        answer = sent(page, kind="day", time="00:15", hours="6", past="0", cron="")
        assert answer.status_code == 303, answer.text
        text = unescape(page.open(answer.headers["location"]))
        assert "sync_movies then starts next: Dec 4, 2026, 00:15 (Europe/Berlin)." in text
        assert "housekeeping then starts" not in text, "its time stays"
        number = re.search(r'name="change" value="([^"]+)"', text)
        csrf = re.search(r'name="csrf" value="([^"]+)"', text)
        assert number is not None and csrf is not None
        assert json.loads(page.stored()["APERTURE_SCHEDULES"]) == json.loads(others), "it has only been looked at"
        saved = page.browser.post("/settings/save", data={"csrf": csrf[1], "change": number[1]})
        assert saved.status_code == 200
        assert json.loads(page.stored()["APERTURE_SCHEDULES"]) == {**json.loads(others), "sync_movies": "15 0 * * *"}
        shown = page.open(PATH)
        assert 'value="00:15"' in shown and 'value="day" checked' in shown
        assert "Starts next: Dec 4, 2026, 00:15 (Europe/Berlin)" in shown


def test_a_job_starts_on_several_weekdays_which_are_named(settings_page):
    # A Thursday.
    clock = SetClock(datetime(2026, 12, 3, 22, 30, tzinfo=UTC))
    with settings_page(clock=clock, APERTURE_TIMEZONE="UTC") as page:
        answer = sent(page, kind="day", time="04:05", day6="1", day1="1", day0="1")
        text = unescape(page.open(answer.headers["location"]))
        assert "every Monday, Saturday and Sunday at 04:05" in text
        assert "sync_movies then starts next: Dec 5, 2026, 04:05 (UTC)." in text
        csrf, number = (re.search(rf'name="{name}" value="([^"]+)"', text) for name in ("csrf", "change"))
        assert csrf is not None and number is not None
        page.browser.post("/settings/save", data={"csrf": csrf[1], "change": number[1]})
        assert json.loads(page.stored()["APERTURE_SCHEDULES"]) == {"sync_movies": "5 4 * * 0,1,6"}
        shown = page.open(PATH)
        assert re.findall(r'name="day(\d)" value="1" checked', shown) == ["1", "6", "0"]
        # All of them are every day.
        all_days = {f"day{number}": "1" for number in range(7)}
        text = unescape(page.open(sent(page, kind="day", time="04:05", **all_days).headers["location"]))
        assert "every day at 04:05" in text


def test_a_time_that_the_fields_cannot_say_is_shown_as_cron_and_the_usual_one_removes_the_setting(settings_page):
    with settings_page(APERTURE_SCHEDULES='{"sync_movies": "*/30 * * * *"}') as page:
        shown = page.open(PATH)
        assert 'value="cron" checked' in shown and 'value="*/30 * * * *"' in shown
        # As it is, it changes nothing.
        assert sent(page, kind="cron", cron="*/30 * * * *").headers["location"].endswith("/jobs#sync_movies")
        answer = sent(page, kind="usual")
        assert "/settings/review?" in answer.headers["location"]
        german = page.browser.get(PATH, headers={"accept-language": "de"}).text
        assert (
            "Wann sync_movies startet" in german
            and re.search(r'name="day1" value="1"> Montag.*name="day0" value="1"> Sonntag', german, re.DOTALL)
            and "als Cron" in german
        )
        wrong = sent(page, kind="hours", hours="99")
        assert wrong.status_code == 422 and "This is no time" in wrong.text and 'value="99"' in wrong.text
        odd = sent(page, kind="cron", cron="0 4 1 * *")
        assert odd.status_code == 422 and "expected for sync_movies a time" in unescape(odd.text)
        assert page.browser.get("/settings/schedule?job=../x").status_code == 404


def test_only_administrators_change_a_time_and_not_one_that_was_changed_meanwhile(settings_page, monkeypatch):
    with settings_page() as page:
        ben = page.door.signed_in("Ben")
        assert ben.get(PATH).status_code == 403
        assert page.browser.post("/settings/schedule", data={"job": "sync_movies", "kind": "off"}).status_code == 403
        form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.open(PATH)))
        page.env.write_text('APERTURE_SCHEDULES=\'{"sync_users": "off"}\'\n')
        late = page.browser.post("/settings/schedule", data={**form, "kind": "off"})
        assert late.status_code == 422 and "has been changed meanwhile" in late.text
        monkeypatch.setenv("APERTURE_SCHEDULES", "{}")
        assert "set outside" in page.open(PATH) and 'name="kind"' not in page.open(PATH)


def test_fields_without_a_kind_are_those_of_the_cron():
    assert sent_fields({"cron": " 0 4 * * * "}) == TimeFields("cron", (), "", "", "", "0 4 * * *")
