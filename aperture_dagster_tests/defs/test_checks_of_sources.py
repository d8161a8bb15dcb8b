"""Checks of what services say about the household and its library: each fails for its reason, and passes otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.enrichment.sources import SOURCES, TitleSource
from aperture_dagster_tests.defs.check_bench import ERROR, NOW, WARN, Bench

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
# Of the integers of the database.
LARGEST = 2**31 - 1
WHAT = {"movies": "films", "series": "series", "episodes": "episodes"}
WHAT_KIND = {"movies": "movie", "series": "series"}


def is_not_empty(bench: Bench, check: str, asset: str) -> None:
    table, what = ("episodes" if asset == "episodes" else "titles", WHAT[asset])
    own, other = ("movies", "tvshows") if asset == "movies" else ("tvshows", "movies")

    def there() -> None:
        rows = {"item_id": 2, "server_item_id": "s2"}
        bench.add("episodes", rows) if asset == "episodes" else bench.films(1, media_type=WHAT_KIND[asset])

    empty = f"The server has no {what}."
    bench.add("libraries", library_id="o", collection_type=other)
    bench.passes(check, f"no library of {what}.", rows=0)
    bench.add("libraries", library_id="l", collection_type=own)
    bench.fails(check, empty, rows=0)
    there()
    bench.passes(check, rows=1)
    bench.do(f"UPDATE {table} SET removed_at = now()")
    bench.fails(check, empty, rows=0)


def is_readable(bench: Bench, check: str, asset: str) -> None:

    def run(listed: int, unreadable: int) -> None:
        bench.made(asset, listed=listed, unreadable=unreadable)

    said = f"{{}} of 100 {WHAT[asset]} could not be read and were left as they were."
    bench.passes(check, listed=0, unreadable=0)
    run(100, 0)
    bench.passes(check, listed=100, unreadable=0)
    run(95, 5)
    bench.passes(check, said.format(5), listed=95, unreadable=5)
    run(94, 6)
    bench.fails(check, said.format(6), listed=94, unreadable=6)


def have_provider_ids(bench: Bench, check: str) -> None:
    nameless = {"tmdb_id": None, "title": "Bare"}
    bench.passes(check, titles=0, without_ids=0)
    bench.films(*range(1, 10))
    bench.films(10, **nameless)
    bench.passes(check, "1 of 10 titles have no TMDb")
    bench.films(11, **nameless)
    bench.fails(check, "2 of 11 titles have no", titles=11, without_ids=2)
    bench.do("UPDATE titles SET imdb_id = 'tt1' WHERE item_id = 11")
    bench.passes(check, "1 of 11 titles")
    bench.do("UPDATE titles SET removed_at = now() WHERE item_id = 10")
    bench.passes(check, titles=10, without_ids=0)


def match_the_settings(bench: Bench, check: str) -> None:
    bench.fails(check, "Nobody takes part", taking_part=0)
    bench.users("Alma", "Bruno")
    bench.passes(check, taking_part=2)
    bench.configure(include_users=("Almo",))
    bench.fails(
        check,
        "APERTURE_INCLUDE_USERS names 'Almo', but no user has or had that name; did you mean 'Alma'? Nobody takes part",
    )
    bench.configure(exclude_users=("Zoe",))
    bench.fails(check, "APERTURE_EXCLUDE_USERS names 'Zoe'", taking_part=2)
    bench.configure(user_emails={"Alma": "alma"})
    bench.fails(check, "'alma' of 'Alma' is not an e-mail address")
    bench.configure(include_users=("Ada",))
    bench.do("UPDATE users SET former_names = '{Ada}' WHERE name = 'Alma'")
    bench.passes(check, "names 'Ada', who is called 'Alma' now")
    bench.do("UPDATE users SET removed_at = now() WHERE name = 'Alma'")
    bench.fails(check, "Nobody takes part")
    bench.configure(exclude_users=("Alma",))
    bench.passes(check, "'Alma', who is no longer on the server.")


def covers_the_library(bench: Bench, check: str, source: TitleSource) -> None:
    fail = "UPDATE fetches SET outcome = 'error' WHERE source = :source AND item <= :n"
    ids = {"tmdb_id": None, "imdb_id": None, "tvdb_id": None}
    rows = [{"item": one} for one in range(1, 21)]
    of_others = [one.name for one in SOURCES if one is not source]

    def failed() -> None:
        for one in of_others:
            bench.add("fetches", *rows, source=one, kind="movie", outcome="error")

    no_id = f"titles have no id that {source.label} knows."
    bench.passes(check)
    library(bench, 20)
    bench.add("fetches", *rows, source=source.name, kind="movie", outcome="ok")
    failed()
    bench.passes(check, ok=20, error=0)
    bench.do(fail, source=source.name, n=2)
    bench.passes(check, "2 of 20 titles could not be fetched", error=2)
    bench.do(fail, source=source.name, n=3)
    bench.fails(check, "3 of 20 titles could not be fetched", error=3)
    bench.do("UPDATE fetches SET outcome = 'not_found' WHERE outcome = 'error'")
    bench.passes(check, not_found=3)
    bench.films(21, 22, **ids)
    bench.passes(check, f"2 {no_id}", no_id=2)
    bench.films(23, **ids)
    look = bench.fails if source.asks_by == "any_known" else bench.passes
    look(check, f"3 {no_id}", no_id=3)


def library(bench: Bench, number: int) -> None:
    """Films with ids that every source accepts."""
    bench.films(*range(1, number + 1))
    for table in ("works", "titles"):
        bench.do(f"UPDATE {table} SET tmdb_id = work_id, imdb_id = 'tt' || work_id")


def is_fresh(bench: Bench, check: str, source: TitleSource) -> None:
    due = "UPDATE fetches SET due_at = :due WHERE source = :source AND item <= :n"
    rows = [{"item": one} for one in range(1, 21)]

    def late(n: int) -> None:
        bench.do(due, source=source.name, due=NOW - 3 * DAY - SECOND, n=n)

    bench.passes(check, fetched=0, share_stale=0.0)
    library(bench, 20)
    bench.add("fetches", *rows, source=source.name, kind="movie", outcome="ok", fetched_at=NOW)
    bench.passes(check, stale=0, fetched=20)
    bench.do(due, source=source.name, due=NOW - 3 * DAY, n=20)
    bench.passes(check, stale=0)
    late(n=2)
    bench.passes(check, "2 of 20 answers are overdue by more than 3 days.", stale=2)
    late(n=3)
    bench.fails(check, "3 of 20 answers are overdue by more than 3 days.", share_stale=0.15)
    bench.do("UPDATE titles SET removed_at = now() WHERE item_id <= 3")
    bench.passes(check, stale=0)


def has_every_title(bench: Bench, check: str) -> None:
    bench.passes(check, missing=0)
    bench.films(1, 2)
    bench.fails(check, "2 titles are not in the merged view", missing=2)
    bench.add("enriched_metadata", work_id=1)
    bench.fails(check, "1 titles are not in the merged view", missing=1)
    bench.do("UPDATE titles SET removed_at = now() WHERE item_id = 2")
    bench.passes(check, missing=0)


def has_sources_that_answer(bench: Bench, check: str) -> None:
    since = "UPDATE services SET failing_since = :since WHERE service = :service"
    refused = {"failing_since": NOW - DAY, "trouble": "it refused"}
    keys = {"tmdb_api_key": "key", "omdb_api_key": "key"}
    bench.configure(**keys)
    bench.add("services", service="tmdb")
    bench.passes(check, failing=0, services=None)
    bench.add("services", {"service": "omdb"} | refused)
    bench.passes(check, failing=1, failing_for_a_day=0, services=1)
    bench.do(since, service="omdb", since=NOW - DAY - SECOND)
    bench.fails(check, "OMDb has failed since 2026-05-16 11:59 (it refused)", failing=1, failing_for_a_day=1)
    bench.do(f"{since}", service="tmdb", since=NOW - 9 * DAY)
    bench.fails(check, "; TMDb has failed since 2026-05-08")
    bench.configure()
    bench.passes(check, failing=0)


CHECKS: dict[str, tuple[Any, ...]] = {
    **{f"{asset}.is_not_empty": (WARN, is_not_empty, asset) for asset in WHAT},
    **{f"{asset}.is_readable": (WARN, is_readable, asset) for asset in WHAT},
    "movies.have_provider_ids": (WARN, have_provider_ids),
    "users.match_the_settings": (WARN, match_the_settings),
    **{f"{one.table}.covers_the_library": (WARN, covers_the_library, one) for one in SOURCES},
    **{f"{one.table}.is_fresh": (WARN, is_fresh, one) for one in SOURCES},
    "enriched_metadata.has_every_title": (ERROR, has_every_title),
    "enriched_metadata.has_sources_that_answer": (WARN, has_sources_that_answer),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    bench.severity, look, *arguments = CHECKS[name]
    look(bench, name, *arguments)
