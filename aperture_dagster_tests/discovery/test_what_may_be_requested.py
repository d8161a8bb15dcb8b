"""What the job may request for a user: each reason against a title, alone, on rows written directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    dismiss_title,
    listed_since,
    replace_candidates,
    undo_dismissal,
    wishes,
)
from aperture_dagster.discovery.suitability import SETTLED, unsuitable
from aperture_dagster.members.hidden import dismissed_titles
from aperture_dagster_tests.defs.check_bench import NOW, Bench

Then = Callable[[Bench], object]
"""What happens in a case of a test."""


def nothing(_: Bench) -> None:
    """Let nothing happen."""


def add(table: str, *rows: Mapping[str, Any], **shared: Any) -> Then:
    return lambda bench: bench.add(table, *rows, **shared)


def do(statement: str) -> Then:
    return lambda bench: bench.do(statement)


def films(number: int, **facts: Any) -> Then:
    return lambda bench: bench.films(number, **facts)


def both(*parts: Then) -> Then:
    return lambda bench: [part(bench) for part in parts]


DAY = timedelta(days=1)
IDS = {"tmdb_id": 11, "imdb_id": "tt11", "tvdb_id": 111}
# On the list of Alma: a film, and the series whose reason is looked for.
FILM, SERIES = 10, 11


@pytest.fixture
def suggested(bench: Bench) -> Bench:
    """A film and a series are suggested to Alma, and the film to Bruno, too."""
    bench.users("Alma", "Bruno")
    series = {"work_id": SERIES, "media_type": "series"} | IDS
    bench.add("works", {"work_id": FILM, "tmdb_id": 10}, series)
    known = {"fetched_at": NOW, "status": "Released", "release_date": date(2000, 1, 1), "vote_count": 5000}
    pool = {"title": "It", "original_language": "en", "certifications": {"US": ["PG"]}} | known
    bench.add("discovery_pool", {"work_id": FILM, "tmdb_id": 10}, series, **pool)
    listed = {"listed_since": date(2026, 5, 1)}
    bench.add("discovery_candidates", {"work_id": FILM, "score": 0.6}, user_id="Alma", **listed)
    bench.add(
        "discovery_candidates", {"work_id": SERIES, "media_type": "series", "score": 0.9}, user_id="Alma", **listed
    )
    bench.add("discovery_candidates", {"work_id": FILM, "score": 0.95}, user_id="Bruno", **listed)
    return bench


def requestable(bench: Bench, user: str = "Alma") -> list[int]:
    with bench.database.transaction() as connection:
        (person,) = (one for one in read_users(connection) if one.name == user)
        found = [one.work_id for one in wishes(connection, person.user_id, now=NOW)]
        out = unsuitable(connection, bench.settings, [person], now=NOW, works=found)[person.user_id]
    return [work for work in found if work not in out]


def asked(user: str, state: str, **facts: Any) -> Then:
    usual = {"work_id": SERIES, "media_type": "series", "tmdb_id": 11, "requested_at": NOW - DAY}
    return add("seerr_requests", usual | facts, user_id=user, state=state)


def dismissed(user: str, **facts: Any) -> Then:
    return add("dismissals", {"user_id": user, "media_type": "series"} | facts)


OWNED = {"media_type": "series", "tmdb_id": None, "imdb_id": None, "tvdb_id": None}


@pytest.mark.parametrize(
    ("then", "allowed"),
    [
        (nothing, True),
        (dismissed("Alma", work_id=SERIES), False),
        (dismissed("Alma", work_id=99, tmdb_id=11), False),
        (dismissed("Alma", work_id=99, imdb_id="tt11"), False),
        (dismissed("Alma", work_id=99, tvdb_id=111), False),
        (dismissed("Alma", work_id=99, tmdb_id=11, media_type="movie"), True),
        (dismissed("Bruno", work_id=SERIES), True),
        (asked("Alma", "pending"), False),
        (asked("Bruno", "available"), False),
        (asked("Bruno", "declined", work_id=99), False),
        (asked("Bruno", "declined", work_id=99, media_type="movie"), True),
        (asked("Alma", "refused", requested_at=NOW - 8 * DAY), True),
        (asked("Alma", "refused", requested_at=NOW - 6 * DAY), False),
        (asked("Alma", "declined", requested_at=NOW - 900 * DAY), False),
        (films(50, **OWNED | {"work_id": SERIES}), False),
        (both(films(50, **OWNED), do("UPDATE works SET tmdb_id = 11 WHERE work_id = 50")), False),
        (both(films(50, **OWNED), do("UPDATE works SET imdb_id = 'tt11' WHERE work_id = 50")), False),
        (both(films(50, **OWNED), do("UPDATE works SET tvdb_id = 111 WHERE work_id = 50")), False),
        (films(50, tmdb_id=11), True),
        (both(films(50, **OWNED | {"work_id": SERIES}), do("UPDATE titles SET removed_at = now()")), True),
    ],
    ids=[
        "nothing", "dismissed", "dismissed by TMDb's id", "by IMDb's", "by TVDb's", "a film with that id", "by another",
        "requested", "requested by another", "declined for another under another id", "a film with it was declined",
        "refused long ago", "refused lately", "declined years ago", "owned", "owned by TMDb's id", "by IMDb's",
        "by TVDb's", "a film with that id is owned", "it is gone",
    ],
)  # fmt: skip
def test_the_job_requests_nothing_that_is_settled_or_owned_under_any_id(suggested: Bench, then: Then, allowed: bool):
    then(suggested)
    assert requestable(suggested) == ([SERIES, FILM] if allowed else [FILM]), "the best first"
    assert requestable(suggested, "Bruno") == [FILM]


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (nothing, None),
        (do("UPDATE users SET max_parental_rating = 10 WHERE name = 'Bruno'"), None),
        (do("UPDATE users SET max_parental_rating = 5 WHERE name = 'Alma'"), "above the parental limit"),
        (both(do("UPDATE discovery_pool SET certifications = NULL"), do(
            "UPDATE users SET max_parental_rating = 18 WHERE name = 'Alma'")), "no age rating"),
        (both(do("UPDATE discovery_pool SET genres = '{Horror}'"), do(
            "UPDATE users SET blocked_tags = '{horror}' WHERE name = 'Alma'")), "blocked tag"),
        (do("UPDATE users SET allowed_tags = '{kids}' WHERE name = 'Alma'"), "no allowed tag"),
        (do("UPDATE discovery_pool SET is_adult = true"), "adult"),
        (do("UPDATE discovery_pool SET release_date = '2027-01-01'"), "not released"),
        (do("UPDATE discovery_pool SET original_language = 'xx'"), "language"),
        (do("UPDATE discovery_pool SET fetched_at = NULL"), "its details are not known"),
        (dismissed("Alma", work_id=SERIES), SETTLED),
        (dismissed("Bruno", work_id=SERIES), None),
        (add("watch_state", user_id="Alma", work_id=SERIES, position_share=0.1), SETTLED),
        (add("ratings", {"source": "trakt", "rating": 7, "updated_at": NOW - DAY}, {"source": "own", "updated_at": NOW},
             user_id="Alma", work_id=SERIES, rated_at=NOW, item_id=0), None),
        (add("ratings", {"source": "trakt", "rating": 7, "updated_at": NOW}, {"source": "own", "updated_at": NOW - DAY},
             user_id="Alma", work_id=SERIES, rated_at=NOW, item_id=0), SETTLED),
        (films(50, **OWNED | {"work_id": SERIES}), "in the library"),
    ],
    ids=[
        "nothing", "another's limit", "above the limit", "unrated", "blocked", "not allowed", "adult", "unreleased",
        "language", "unknown", "dismissed", "dismissed by another", "started", "unrated here", "rated again", "owned",
    ],
)  # fmt: skip
def test_what_no_longer_suits_a_user_is_not_requested(suggested: Bench, then: Then, why: str | None):
    then(suggested)
    with suggested.database.transaction() as connection:
        (alma,) = (one for one in read_users(connection) if one.name == "Alma")
        assert unsuitable(connection, suggested.settings, [alma], now=NOW, works=[SERIES])["Alma"].get(SERIES) == why


def test_a_list_that_is_written_late_holds_nothing_that_was_dismissed_or_came_meanwhile(suggested: Bench):
    row = {"user_id": "Alma", "score": 0.5, "components": {}, "because": []}
    rows = [
        row | {"work_id": work, "rank": 1, "media_type": kind} for work, kind in ((FILM, "movie"), (SERIES, "series"))
    ]

    def listed() -> list[str]:
        with suggested.database.transaction() as connection:
            replace_candidates(connection, "Alma", rows, today=NOW.date())
            return [row["media_type"] for row in candidate_table(connection, "Alma", country="US")]

    assert listed() == ["movie", "series"]
    with suggested.database.transaction() as connection:
        assert dismiss_title(connection, "Alma", SERIES, "It", now=NOW)
        assert not dismiss_title(connection, "Alma", SERIES, "It", now=NOW), "once is enough"
        assert [row["media_type"] for row in candidate_table(connection, "Alma", country="US")] == ["movie"]
    assert listed() == ["movie"]
    films(50, tmdb_id=10)(suggested)
    assert listed() == []
    with suggested.database.transaction() as connection:
        assert undo_dismissal(connection, "Bruno", SERIES) == 0
        assert undo_dismissal(connection, "Alma", SERIES) == 1
        assert dismissed_titles(connection, "Alma") == []
    assert listed() == ["series"]


@pytest.mark.parametrize(
    "known", [{"tmdb_id": 11}, {"imdb_id": "tt11"}, {"tvdb_id": 111}], ids=lambda ids: next(iter(ids))
)
def test_a_dismissal_is_undone_under_whichever_id_it_was_made(suggested: Bench, known: dict[str, Any]):
    dismissed("Alma", work_id=99, **known)(suggested)
    with suggested.database.transaction() as connection:
        assert undo_dismissal(connection, "Alma", SERIES) == 1


def test_undoing_a_dismissal_leaves_a_film_hidden_that_has_the_number_of_the_series(suggested: Bench):
    dismissed("Alma", work_id=99, tmdb_id=11, media_type="movie")(suggested)
    with suggested.database.transaction() as connection:
        assert undo_dismissal(connection, "Alma", SERIES) == 0


def test_a_title_that_stays_on_a_list_keeps_the_day_on_which_it_came(suggested: Bench):
    row = {"media_type": "movie", "rank": 1, "score": 0.9, "components": {}, "because": [], "user_id": "Bruno"}
    with suggested.database.transaction() as connection:
        new = row | {"work_id": SERIES, "media_type": "series"}
        replace_candidates(connection, "Bruno", [row | {"work_id": FILM}, new], today=NOW.date())
        assert listed_since(connection, ["Bruno"]) == {"Bruno": {FILM: date(2026, 5, 1), SERIES: NOW.date()}}
