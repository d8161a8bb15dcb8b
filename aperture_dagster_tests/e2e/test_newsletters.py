"""The job that sends letters: one a week, and what is wrong with one costs nobody else theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.members import Choices, write_choices
from aperture_dagster_tests.e2e.test_publishing import shelf
from aperture_dagster_tests.household import materializations
from aperture_dagster_tests.newsletter.mail import mail_server

pytestmark = pytest.mark.e2e


def test_members_who_want_a_letter_get_one_and_the_run_tells_nobody_what_is_in_it(
    household: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with (
        mail_server() as mail,
        shelf(household, tmp_path, alert_urls=mail.url, alert_ui_url="https://home.example/operate") as place,
    ):
        for name, address in (("anna", "anna.private@home.example"), ("ben", None)):
            with place.home.database.transaction() as connection:
                write_choices(connection, place.user_id(name), Choices(newsletter=True, address=address))
        for _ in range(2):
            result = place.home.run("send_newsletters", users=place.home.everyone())
            assert not result.success
        assert [letter.recipients for letter in mail.letters] == [["anna.private@home.example"]]
        assert "Film 3" in mail.letters[0].text("plain")
        events = [str(event) for event in result.all_events]
        assert any("ben wants letters" in event for event in events)
        shown = " ".join([*events, caplog.text, str([one.metadata for one in materializations(result)])])
        assert "private" not in shown and "Film 3" not in shown
        with place.home.database.transaction() as connection:
            write_choices(connection, place.user_id("ben"), Choices(newsletter=True, address="ben@home.example"))
        place.home.must("send_newsletters", users=place.home.everyone())
        assert [letter.recipients for letter in mail.letters[1:]] == [["ben@home.example"]]
