"""When the operator hears about a problem: at once, folded, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.alerts import (
    RETRY_AFTER,
    SETTLED_AFTER,
    Category,
    Problem,
    Recovery,
    Report,
    Sighting,
    Told,
    compose,
    due,
    shorten,
    update,
)

NIGHT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Watch:
    """Looks one after the other, as the sensor makes them; every look is planned on what the one before kept."""

    known: list[Problem] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)

    def look(self, now: datetime, *events: Sighting | Recovery, delivered: bool = True) -> list[str]:
        """Return what is reported: the occasion and the key; unless ``delivered``, the address did not take it."""
        wrong = [event for event in events if isinstance(event, Sighting)]
        well = [event for event in events if isinstance(event, Recovery)]
        self.known = update(self.known, wrong, well, told=self.told, now=now)
        reports = due(self.known, self.told, now=now)
        for report in reports:
            key, before = report.problem.key, self.told.get(report.problem.key, Told(now))
            if not delivered:
                self.told[key] = Told(now, before.told_at, before.count)
            elif report.occasion == "over":
                del self.told[key]
            else:
                self.told[key] = Told(now, now, report.problem.count)
        return [f"{report.occasion} {report.problem.key}" for report in reports]


def seen(
    at: datetime,
    subject: str = "movies",
    cause: str = "ServiceRefused",
    category: Category = "run",
    sentence: str = "Jellyfin refuses the key.",
    delay: timedelta = timedelta(0),
) -> Sighting:
    return Sighting(category, subject, cause, sentence, f"runs/{subject}-{at:%H%M%S}", at, delay)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_the_first_failure_is_reported_at_once_and_repeats_are_folded_into_one_reminder_a_day(watch: Watch):
    assert watch.look(NIGHT, seen(NIGHT)) == ["new run:movies:ServiceRefused"]
    for hours in range(1, 24):
        assert watch.look(NIGHT + hours * HOUR, seen(NIGHT + hours * HOUR)) == []
    assert watch.look(NIGHT + DAY) == ["again run:movies:ServiceRefused"]
    (problem,) = watch.known
    assert (problem.count, watch.told[problem.key].count, problem.first_seen) == (24, 24, NIGHT)
    # It is not reported again unless it happens again.
    assert watch.look(NIGHT + 3 * DAY) == []
    assert watch.look(NIGHT + 4 * DAY, seen(NIGHT + 4 * DAY)) == ["again run:movies:ServiceRefused"]


def test_a_message_with_other_numbers_is_the_same_problem_and_another_cause_is_not(watch: Watch):
    watch.look(NIGHT, seen(NIGHT, sentence="60 of 100 films are gone."))
    assert watch.look(NIGHT + HOUR, seen(NIGHT + HOUR, sentence="61 of 100 films are gone.")) == []
    (problem,) = watch.known
    assert problem.sentence == "61 of 100 films are gone."
    assert watch.look(NIGHT + 2 * HOUR, seen(NIGHT + 2 * HOUR, cause="DatabaseError")) == [
        "new run:movies:DatabaseError"
    ]


def test_a_recovery_is_reported_when_it_has_lasted_and_closes_the_problem(watch: Watch):
    watch.look(NIGHT, seen(NIGHT))
    assert watch.look(NIGHT + HOUR, Recovery("run", "movies", NIGHT + HOUR)) == []
    assert watch.look(NIGHT + HOUR + SETTLED_AFTER) == ["over run:movies:ServiceRefused"]
    assert watch.look(NIGHT + 3 * HOUR) == [] and watch.known == []
    assert watch.look(NIGHT + 5 * HOUR, seen(NIGHT + 5 * HOUR)) == ["new run:movies:ServiceRefused"]


def test_what_fails_and_succeeds_by_turns_is_one_problem(watch: Watch):
    told = []
    for half_hours in range(48):
        now = NIGHT + half_hours * HOUR / 2
        told += watch.look(now, Recovery("run", "movies", now) if half_hours % 2 else seen(now))
    assert told == ["new run:movies:ServiceRefused"]
    (problem,) = watch.known
    assert problem.count == 24


def test_a_backlog_reports_only_what_is_still_wrong(watch: Watch):
    backlog = [seen(NIGHT - 6 * HOUR), Recovery("run", "movies", NIGHT - 5 * HOUR), seen(NIGHT - 4 * HOUR, "series")]
    assert watch.look(NIGHT, *backlog) == ["new run:series:ServiceRefused"]
    assert [problem.subject for problem in watch.known] == ["series"]


def test_an_old_success_does_not_end_a_newer_failure(watch: Watch):
    watch.look(NIGHT, seen(NIGHT))
    watch.look(NIGHT + HOUR, Recovery("run", "movies", NIGHT - HOUR))
    (problem,) = watch.known
    assert problem.resolved_at is None


def test_a_warning_is_reported_when_it_has_lasted_a_day_and_an_error_at_once(watch: Watch):
    warning = seen(NIGHT, "omdb_ratings.answers", "", "check", delay=DAY)
    assert watch.look(NIGHT, warning) == []
    assert watch.look(NIGHT + 23 * HOUR) == []
    assert watch.look(NIGHT + DAY) == ["new check:omdb_ratings.answers:"]
    # One that passes before is never mentioned, not even when it is over.
    other = Watch()
    other.look(NIGHT, warning)
    assert other.look(NIGHT + HOUR, Recovery("check", "omdb_ratings.answers", NIGHT + HOUR)) == []
    assert other.look(NIGHT + 2 * DAY) == []
    assert other.known == []
    # One that becomes an error is reported then.
    third = Watch()
    third.look(NIGHT, warning)
    error = seen(NIGHT + HOUR, "omdb_ratings.answers", "", "check")
    assert third.look(NIGHT + HOUR, error) == ["new check:omdb_ratings.answers:"]


def test_an_asset_that_is_out_of_date_because_its_runs_fail_is_not_reported_twice(watch: Watch):
    watch.look(NIGHT, seen(NIGHT))
    stale = seen(NIGHT + 3 * HOUR, "movies", "", "freshness")
    assert watch.look(NIGHT + 3 * HOUR, stale) == []
    assert watch.look(NIGHT + 3 * HOUR, seen(NIGHT + 3 * HOUR, "series", "", "freshness")) == ["new freshness:series:"]
    # It is when the runs work again; and what is up to date does not end the failure of a run.
    assert watch.look(NIGHT + 4 * HOUR, Recovery("freshness", "movies", NIGHT + 4 * HOUR)) == []
    assert "movies" in {one.subject for one in watch.known if one.resolved_at is None}
    watch.look(NIGHT + 5 * HOUR, Recovery("run", "movies", NIGHT + 5 * HOUR))
    again = seen(NIGHT + 5 * HOUR, "movies", "", "freshness")
    assert "new freshness:movies:" in watch.look(NIGHT + 5 * HOUR, again)


def problem(subject: str, sentence: str = "Jellyfin refuses the key.", **changed: object) -> Problem:
    values: dict[str, object] = {
        "key": f"run:{subject}:x", "category": "run", "subject": subject, "sentence": sentence,
        "page": "runs/1a2b3c4d-ffff", "first_seen": NIGHT, "last_seen": NIGHT, "count": 1, "report_after": NIGHT,
    }  # fmt: skip
    return Problem(**values | changed)  # type: ignore[arg-type]


def body(report: Report) -> str:
    return compose([report], timezone="Europe/Berlin").body


def test_a_message_says_what_failed_since_when_what_helps_and_where_to_look():
    message = compose([Report("new", problem("movies"))], timezone="Europe/Berlin", ui_url="http://nas:3000")
    assert message.title == "Aperture: movies failed"
    assert message.body == (
        "Movies failed: Jellyfin refuses the key.\nSince Thu 26 Nov 03:00. http://nas:3000/operate/runs/1a2b3c4d-ffff"
    )
    assert not message.is_good
    assert "Look at run 1a2b3c4d in the UI." in body(Report("new", problem("movies")))
    check = problem("movies.count", category="check", page="assets/movies?view=checks")
    assert "Look at the asset movies in the UI." in body(Report("new", check))


def test_reminders_have_a_count_and_recoveries_a_time():
    again = Report("again", problem("movies", count=14))
    assert "Movies keeps failing, 14 times since Thu 26 Nov 03:00" in body(again)
    over = compose([Report("over", problem("movies", resolved_at=NIGHT + HOUR))], timezone="Europe/Berlin")
    assert over.title == "Aperture: movies works again"
    assert over.body == "Movies works again since Thu 26 Nov 04:00. The problem began Thu 26 Nov 03:00."
    assert over.is_good
    both = compose(
        [Report("over", problem("movies", resolved_at=NIGHT)), Report("new", problem("series"))], timezone="UTC"
    )
    assert both.title == "Aperture: 1 problem" and not both.is_good


def test_many_problems_are_one_short_message():
    reports = [Report("new", problem(f"asset_{number}", shorten("It is down. " * 100))) for number in range(30)]
    message = compose(reports, timezone="UTC")
    assert message.title == "Aperture: 30 problems"
    assert message.body.count("It is down.") > 30 and len(message.body) < 15_000


def test_what_fails_first_with_a_date_in_the_future_is_reported_once(watch: Watch):
    wrong = seen(NIGHT + DAY, "titles.are_sound", category="check")
    assert watch.look(NIGHT, wrong) == ["new check:titles.are_sound:ServiceRefused"]
    assert watch.look(NIGHT + HOUR, wrong) == watch.look(NIGHT + 20 * HOUR, wrong) == []
    assert [one.count for one in watch.known] == [1]


def test_what_an_address_did_not_take_is_told_again_after_a_while_and_the_end_for_a_day_at_most(watch: Watch):
    new, over = ["new run:movies:ServiceRefused"], ["over run:movies:ServiceRefused"]
    assert watch.look(NIGHT, seen(NIGHT), delivered=False) == new
    assert watch.look(NIGHT + RETRY_AFTER / 2) == []
    assert watch.look(NIGHT + RETRY_AFTER) == new
    assert watch.look(NIGHT + 2 * HOUR, Recovery("run", "movies", NIGHT + HOUR), delivered=False) == over
    assert watch.look(NIGHT + 23 * HOUR, delivered=False) == over
    assert watch.look(NIGHT + HOUR + DAY) == [] and watch.known == []


def test_a_problem_that_is_over_before_an_address_took_it_is_never_mentioned(watch: Watch):
    watch.look(NIGHT, seen(NIGHT), delivered=False)
    assert watch.look(NIGHT + HOUR, Recovery("run", "movies", NIGHT + HOUR)) == []
    assert watch.look(NIGHT + DAY) == []


@pytest.mark.parametrize("ahead", [HOUR, DAY, 365 * DAY], ids=["hour", "day", "year"])
def test_what_a_clock_that_was_ahead_saw_counts_as_never_seen(watch: Watch, ahead: timedelta):
    assert watch.look(NIGHT + ahead, seen(NIGHT + ahead)) == ["new run:movies:ServiceRefused"]
    assert watch.look(NIGHT) == [] and watch.known == []
    watch.told.clear()
    assert watch.look(NIGHT + HOUR / 2, seen(NIGHT + HOUR / 2)) == ["new run:movies:ServiceRefused"]


def test_a_reminder_that_was_sent_by_a_clock_ahead_holds_no_later_one_back(watch: Watch):
    watch.look(NIGHT, seen(NIGHT))
    (key,) = watch.told
    watch.told[key] = Told(NIGHT + 365 * DAY, NIGHT + 365 * DAY, 1)
    assert watch.look(NIGHT + HOUR, seen(NIGHT + HOUR)) == ["again run:movies:ServiceRefused"]
