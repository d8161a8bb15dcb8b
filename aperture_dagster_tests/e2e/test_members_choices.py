"""What members chose on their page: how their lists are published, and who gets letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.members.choices import Choices, write_choices
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf
from aperture_dagster_tests.household import materializations
from aperture_dagster_tests.newsletter.mail import mail_server

pytestmark = pytest.mark.e2e


def test_the_lists_of_who_wants_none_there_leave_and_come_back_and_nobody_elses(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.publish_now()

        def ben(**choices: Any) -> None:
            with place.home.database.transaction() as connection:
                write_choices(connection, place.user_id("ben"), Choices(**choices))

        ben(publish=False)
        with place.publication(dry_run=True) as planned:
            retired = {one.name for one in planned.publish_all().outcomes if one.retired}
        assert retired == {BENS} and BENS in place.libraries()
        place.publish_now()
        assert BENS not in place.libraries() and place.titles(ANNAS)
        assert not any("AI Picks" in name for name in place.views("ben"))
        # One who takes it back under another name.
        ben(list_name="Benny")
        place.publish_now()
        theirs = "Benny's AI Picks - Movies"
        assert place.titles(theirs) == ["Film 6", "Film 3", "Film 7"]
        assert theirs in place.views("ben") and theirs not in place.views("anna")
        ben(list_name="anna")
        place.publish_now()
        # Names that are equal all the same do not share a library.
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert place.titles(f"{ANNAS} (Aperture)") == ["Film 6", "Film 3", "Film 7"]
        assert f"{ANNAS} (Aperture)" not in place.views("anna")


# Letters


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
