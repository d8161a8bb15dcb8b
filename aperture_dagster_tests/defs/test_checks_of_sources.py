"""Checks of what services say about the household and its library: each fails for its reason, and passes otherwise."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from aperture_dagster.sources import SOURCES, TitleSource
from aperture_dagster.storage.enrichment import value_ranges
from aperture_dagster_tests.defs.check_bench import (
    ERROR,
    NOW,
    WARN,
    Bench,
    Step,
    Then,
    add,
    both,
    configured,
    do,
    fails,
    films,
    follow,
    nothing,
    passes,
    users,
)

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
# Of the integers of the database.
LARGEST = 2**31 - 1
WHAT = {"movies": "films", "series": "series", "episodes": "episodes"}


def is_not_empty(asset: str) -> list[Step]:
    table, what = "episodes" if asset == "episodes" else "titles", WHAT[asset]
    own, other = ("movies", "tvshows") if asset == "movies" else ("tvshows", "movies")
    there = {
        "movies": films(1),
        "series": films(1, media_type="series"),
        "episodes": add("episodes", item_id=2, server_item_id="s2"),
    }[asset]
    empty = f"The server has no {what}."
    return [
        passes("no library", add("libraries", library_id="o", collection_type=other), f"no library of {what}.", rows=0),
        fails("an empty library", add("libraries", library_id="l", collection_type=own), empty, rows=0),
        passes("something in it", there, rows=1),
        fails("it is gone", do(f"UPDATE {table} SET removed_at = now()"), empty, rows=0),
        fails("a mixed library", do("UPDATE libraries SET collection_type = NULL"), empty),
    ]


def is_readable(asset: str) -> list[Step]:
    def run(listed: int, unreadable: int) -> Then:
        return lambda bench: bench.made(asset, listed=listed, unreadable=unreadable)

    said = f"{{}} of 100 {WHAT[asset]} could not be read and were left as they were."
    return [
        passes("never made", nothing, listed=0, unreadable=0),
        passes("all could be read", run(100, 0), listed=100, unreadable=0),
        passes("a twentieth could not", run(95, 5), said.format(5), listed=95, unreadable=5),
        fails("more could not", run(94, 6), said.format(6), listed=94, unreadable=6),
    ]


def have_provider_ids() -> list[Step]:
    nameless = {"tmdb_id": None, "title": "Bare"}
    return [
        passes("an empty library", nothing, titles=0, without_ids=0),
        passes("a tenth has none", both(films(*range(1, 10)), films(10, **nameless)), "1 of 10 titles have no TMDb"),
        fails("more have none", films(11, **nameless), "2 of 11 titles have no", titles=11, without_ids=2),
        passes("one is known to IMDb", do("UPDATE titles SET imdb_id = 'tt1' WHERE item_id = 11"), "1 of 11 titles"),
        passes("one is gone", do("UPDATE titles SET removed_at = now() WHERE item_id = 10"), titles=10, without_ids=0),
    ]


def match_the_settings() -> list[Step]:
    return [
        fails("nobody", nothing, "Nobody takes part", taking_part=0),
        passes("two users", users("Alma", "Bruno"), taking_part=2),
        fails(
            "a typo",
            configured(include_users=("Almo",)),
            "APERTURE_INCLUDE_USERS names 'Almo', but no user has or had "
            "that name; did you mean 'Alma'? Nobody takes part",
        ),
        fails(
            "an unknown one", configured(exclude_users=("Zoe",)), "APERTURE_EXCLUDE_USERS names 'Zoe'", taking_part=2
        ),
        fails("no address", configured(user_emails={"Alma": "alma"}), "'alma' of 'Alma' is not an e-mail address"),
        fails("another's address", configured(user_emails={"Zoe": "z@home.org"}), "APERTURE_USER_EMAILS names 'Zoe'"),
        fails("all excluded", configured(exclude_users=("alma", "Bruno")), "Nobody takes part", taking_part=0),
        passes(
            "a former name",
            both(configured(include_users=("Ada",)), do("UPDATE users SET former_names = '{Ada}' WHERE name = 'Alma'")),
            "names 'Ada', who is called 'Alma' now",
        ),
        fails("who left", do("UPDATE users SET removed_at = now() WHERE name = 'Alma'"), "Nobody takes part"),
        passes("who left is noted", configured(exclude_users=("Alma",)), "'Alma', who is no longer on the server."),
    ]


def history_is_fresh() -> list[Step]:
    read = "UPDATE history_syncs SET synced_at = :at WHERE user_id = :user"
    return [
        passes("nobody", nothing, stale_users=0),
        fails("never read", users("Alma", "Bruno"), "Not read for more than a day: Alma, Bruno.", stale_users=2),
        passes("read", add("history_syncs", {"user_id": "Alma"}, {"user_id": "Bruno"}), stale_users=0),
        passes("a day ago", do(read, user="Alma", at=NOW - DAY), stale_users=0),
        fails("earlier", do(read, user="Alma", at=NOW - DAY - SECOND), "more than a day: Alma.", stale_users=1),
        fails("in the future", do(read, user="Alma", at=NOW + DAY + SECOND), "Alma.", stale_users=1),
        passes("who is left out", lambda bench: bench.instance.delete_dynamic_partition("users", "Alma")),
        fails("names five", both(users(*"cdefgh"), do(read, user="Bruno", at=NOW)), ": c, d, e, f, g.", stale_users=6),
    ]


def covers_the_library(source: TitleSource) -> list[Step]:
    fail = "UPDATE fetches SET outcome = 'error' WHERE source = :source AND item <= :n"
    ids = {"tmdb_id": None, "imdb_id": None, "tvdb_id": None}
    rows = [{"item": one} for one in range(1, 21)]
    answered = add("fetches", *rows, source=source.name, kind="movie", outcome="ok")
    of_others = [one.name for one in SOURCES if one is not source]
    failed = [add("fetches", *rows, source=one, kind="movie", outcome="error") for one in of_others]
    no_id = f"titles have no id that {source.label} knows."
    last = fails if source.asks_by == "any_known" else passes
    return [
        passes("an empty library", nothing),
        passes("answered", both(library(20), answered, *failed), ok=20, error=0),
        passes("a tenth failed", do(fail, source=source.name, n=2), "2 of 20 titles could not be fetched", error=2),
        fails("more failed", do(fail, source=source.name, n=3), "3 of 20 titles could not be fetched", error=3),
        passes("unknown ones", do("UPDATE fetches SET outcome = 'not_found' WHERE outcome = 'error'"), not_found=3),
        passes("waiting ones", do("UPDATE fetches SET outcome = 'waiting' WHERE outcome = 'not_found'"), waiting=3),
        passes("a tenth has no id", both(films(21, 22, **ids)), f"2 {no_id}", no_id=2),
        last("more have none", films(23, **ids), f"3 {no_id}", no_id=3),
    ]


def library(number: int) -> Then:
    """Films with ids that every source accepts."""

    def shelve(bench: Bench) -> None:
        bench.films(*range(1, number + 1))
        for table in ("works", "titles"):
            bench.do(f"UPDATE {table} SET tmdb_id = work_id, imdb_id = 'tt' || work_id")

    return shelve


def is_fresh(source: TitleSource) -> list[Step]:
    due = "UPDATE fetches SET due_at = :due WHERE source = :source AND item <= :n"
    rows = [{"item": one} for one in range(1, 21)]
    answers = add("fetches", *rows, source=source.name, kind="movie", outcome="ok", fetched_at=NOW)
    late = partial(do, due, source=source.name, due=NOW - 3 * DAY - SECOND)
    return [
        passes("no answers", nothing, fetched=0, share_stale=0.0),
        passes("answers", both(library(20), answers), stale=0, fetched=20),
        passes("all overdue by three days", do(due, source=source.name, due=NOW - 3 * DAY, n=20), stale=0),
        passes("a tenth by more", late(n=2), "2 of 20 answers are overdue by more than 3 days.", stale=2),
        fails("more than that", late(n=3), "3 of 20 answers are overdue by more than 3 days.", share_stale=0.15),
        passes("of titles that are gone", do("UPDATE titles SET removed_at = now() WHERE item_id <= 3"), stale=0),
    ]


def has_values_in_range(source: TitleSource) -> list[Step]:
    ranges = value_ranges(source.name)

    def values(**changed: float) -> Then:
        return do(f"UPDATE {source.table} SET {', '.join(f'{name} = {value}' for name, value in changed.items())}")

    above = {name: high + 1 for name, (_, high) in ranges.items() if high < LARGEST}
    one_by_one = [
        fails(
            f"{name} of {value}",
            values(**middle(ranges) | {name: value}),
            "1 values are out of range.",
            out_of_range=1,
            columns=1,
        )
        for beyond in ({name: low - 1 for name, (low, _) in ranges.items()}, above)
        for name, value in beyond.items()
    ]
    return [
        passes("no rows", nothing, out_of_range=0, columns=None),
        passes("no values", add(source.table, work_id=1), out_of_range=0),
        passes("the least", values(**{name: low for name, (low, _) in ranges.items()}), out_of_range=0),
        passes("the most", values(**{name: high for name, (_, high) in ranges.items()}), out_of_range=0),
        *one_by_one,
    ]


def middle(ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: (low + min(high, 100 * low + 4)) // 2 for name, (low, high) in ranges.items()}


def has_its_files() -> list[Step]:
    names = [f"{number}.png" for number in range(1, 10)]
    logos = [{"studio_id": place, "file_name": name} for place, name in enumerate(names, start=1)]

    def write(bench: Bench) -> None:
        folder = bench.settings.home_path / "logos"
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()

    def lose(bench: Bench) -> None:
        (bench.settings.home_path / "logos" / names[0]).unlink()

    def failed(studio: int) -> Then:
        told = {"source": "tmdb_images", "kind": "company", "item": studio, "outcome": "error"}
        known = add("studio_logos", kind="company", studio_id=studio, titles=1, logo_path="/x.png")
        return both(known, add("fetches", told))

    return [
        passes("no logos", nothing, stored=0, gone=0, errors=0),
        passes("stored ones", both(add("studio_logos", *logos, kind="company"), write), stored=9, gone=0),
        fails("a lost file", lose, "1 files are gone, 0 logos failed.", gone=1),
        passes("a tenth failed", both(write, failed(10)), "0 files are gone, 1 logos failed.", errors=1),
        fails("more failed", failed(11), "0 files are gone, 2 logos failed.", errors=2),
    ]


def has_every_title() -> list[Step]:
    return [
        passes("an empty library", nothing, missing=0),
        fails("two titles", films(1, 2), "2 titles are not in the merged view", missing=2),
        fails("one is merged", add("enriched_metadata", work_id=1), "1 titles are not in the merged view", missing=1),
        passes("the other is gone", do("UPDATE titles SET removed_at = now() WHERE item_id = 2"), missing=0),
    ]


def has_sources_that_answer() -> list[Step]:
    since = "UPDATE services SET failing_since = :since WHERE service = :service"
    refused = {"failing_since": NOW - DAY, "trouble": "it refused"}
    keys = {"tmdb_api_key": "key", "omdb_api_key": "key"}
    return [
        passes("all is well", both(configured(**keys), add("services", service="tmdb")), failing=0, services=None),
        passes(
            "failing for a day",
            add("services", {"service": "omdb"} | refused),
            failing=1,
            failing_for_a_day=0,
            services=1,
        ),
        fails(
            "for longer",
            do(since, service="omdb", since=NOW - DAY - SECOND),
            "OMDb has failed since 2026-05-16 11:59 (it refused)",
            failing=1,
            failing_for_a_day=1,
        ),
        fails(
            "another, too", do(f"{since}", service="tmdb", since=NOW - 9 * DAY), "; TMDb has failed since 2026-05-08"
        ),
        passes("without keys", configured(), failing=0),
    ]


CHECKS: dict[str, tuple[Any, list[Step]]] = {
    **{f"{asset}.is_not_empty": (WARN, is_not_empty(asset)) for asset in WHAT},
    **{f"{asset}.is_readable": (WARN, is_readable(asset)) for asset in WHAT},
    "movies.have_provider_ids": (WARN, have_provider_ids()),
    "users.match_the_settings": (WARN, match_the_settings()),
    "watch_history.is_fresh_for_every_user": (WARN, history_is_fresh()),
    **{f"{one.table}.covers_the_library": (WARN, covers_the_library(one)) for one in SOURCES},
    **{f"{one.table}.is_fresh": (WARN, is_fresh(one)) for one in SOURCES},
    **{f"{one.table}.has_values_in_range": (ERROR, has_values_in_range(one)) for one in SOURCES},
    "studio_logos.has_its_files": (WARN, has_its_files()),
    "enriched_metadata.has_every_title": (ERROR, has_every_title()),
    "enriched_metadata.has_sources_that_answer": (WARN, has_sources_that_answer()),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    severity, steps = CHECKS[name]
    follow(bench, name, steps, severity)
