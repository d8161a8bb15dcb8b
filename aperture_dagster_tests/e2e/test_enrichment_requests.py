"""Number of requests: one per title or per batch, and none for what is known already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from aperture_dagster.resources.quota import BLOCK
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.worklist.engine import STORED_AT_ONCE
from aperture_dagster_tests.e2e.library import ASSETS, imdb, title, titles, wait_until_asked

pytestmark = pytest.mark.e2e

ANOTHER = pytest.mark.nightly(
    reason="Another household for the same outcome.", instead="the same test with other parameters"
)

SAGA = (99, "Saga")


# TMDb


def test_tmdb_gets_one_request_per_title_collection_and_unknown_id(library):
    plain, saga = titles(1, 3), titles(4, 6, collection=SAGA)
    nameless = title(7)
    show = title(8, media_type="series", tvdb_id=808, imdb_id=None)
    known = [*plain, *saga]
    shelved = [*known, replace(nameless, tmdb_id=None), replace(show, tmdb_id=None)]
    with library([*known, nameless, show], shelved=shelved) as here:
        here.ask("tmdb")
        details = {f"movie/{number}" for number in range(1, 8)} | {"tv/8", "collection/99"}
        finds = {f"find/{imdb(7)}", "find/808"}
        assert here.state.asked("tmdb") == Counter({one: 1 for one in details | finds})
        assert here.count("tmdb") == {"ok": 8}
        here.ask("tmdb")
        assert here.state.asked("tmdb").total() == 11
        here.move(days=31)
        here.ask("tmdb")
        assert here.state.asked("tmdb") == Counter({one: 2 for one in details} | {one: 1 for one in finds})


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="storage/test_work_list.py::test_an_id_that_a_search_found_is_kept_when_the_request_fails",
)
def test_a_found_id_is_stored_even_if_the_title_could_not_be_fetched(library):
    with library(titles(1, 3), shelved=[*titles(1, 2), title(3, tmdb_id=None)], http_attempts=1) as here:
        here.state.add_fault(FaultRule("tmdb", "/movie/3", status=500))
        metadata = here.ask("tmdb")
        assert (metadata["fetched"], metadata["errors"]) == (2, 1)
        assert here.state.asked("tmdb") == {"movie/1": 1, "movie/2": 1, f"find/{imdb(3)}": 1, "movie/3": 1}
        here.state.clear_faults()
        here.state.reset_counters()
        here.move(minutes=61)
        here.ask("tmdb")
        assert here.state.asked("tmdb") == {"movie/3": 1}
        assert here.count("tmdb") == {"ok": 3}


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="worklist/test_due.py::test_what_was_not_found_is_looked_for_again_in_thirty_days",
)
def test_an_id_that_tmdb_does_not_know_is_looked_up_again_after_a_month(library):
    with library([title(1)], shelved=[title(1, tmdb_id=None, imdb_id="tt7777777")]) as here:
        assert here.ask("tmdb")["not_found"] == 1
        here.move(days=29)
        here.ask("tmdb")
        assert here.state.asked("tmdb") == {"find/tt7777777": 1}
        here.move(days=2)
        here.ask("tmdb")
        assert here.state.asked("tmdb") == {"find/tt7777777": 2}


# MDBList


@pytest.mark.parametrize("status", [*(pytest.param(one, marks=ANOTHER) for one in (400, 403)), 413])
def test_the_batch_size_adapts_to_what_mdblist_accepts_and_is_remembered(library, status: int):
    stand_ins = {"mdblist_largest_batch": 10, "mdblist_batch_refusal": status}
    with library(titles(1, 45), mdblist_batch_size=20, stand_ins=stand_ins) as here:
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["batch_size"]) == (45, 10)
        assert here.state.requests("mdblist") == 1 + 5, "one was refused"
        here.state.reset_counters()
        here.move(days=8)
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["requests"], metadata["batch_size"]) == (45, 5, 10)


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_enrichment_requests.py::test_a_refused_id_is_isolated_without_a_request_for_each_other_one",
)
def test_a_single_refused_id_does_not_make_batches_smaller(library):
    with library(titles(1, 24), mdblist_batch_size=8) as here:
        # The first batch, and then the id alone.
        here.state.add_fault(FaultRule("mdblist", status=400, times=2))
        metadata = here.ask("mdblist")
        assert metadata["batch_size"] == 8
        assert here.count("mdblist") == {"ok": 23, "error": 1}
        assert "400" in here.why("mdblist")["Film 1"]
        here.state.reset_counters()
        here.move(days=8)
        assert here.ask("mdblist")["requests"] == 3


def test_a_refused_id_is_isolated_without_a_request_for_each_other_one(library):
    with library(titles(1, 100), mdblist_batch_size=100) as here:
        # Refused: the batch of 100, of 50, of 10, and the first id by itself.
        here.state.add_fault(FaultRule("mdblist", status=400, times=4))
        metadata = here.ask("mdblist")
        assert here.count("mdblist") == {"ok": 99, "error": 1}
        # Nine others of the first ten one by one, the next forty in four batches, and the other fifty in one.
        assert (metadata["requests"], metadata["batch_size"]) == (4 + 9 + 4 + 1, 100)


def test_titles_missing_from_an_answer_are_not_found_and_those_of_a_failed_batch_are_errors(library):
    """A failed batch does not tell which of its titles are unknown."""
    with library(titles(1, 15), mdblist_batch_size=5, http_attempts=1) as here:
        for number in (2, 7, 12):
            here.state.titles.pop(f"movie:{number}")
        here.state.titles_version += 1
        here.state.add_fault(FaultRule("mdblist", kind="malformed_json", after=1, times=1))
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["not_found"], metadata["errors"]) == (8, 2, 5)
        expected = {f"Film {n}": "ok" for n in range(1, 16)} | {f"Film {n}": "error" for n in range(6, 11)}
        assert here.outcomes("mdblist") == expected | {"Film 2": "not_found", "Film 12": "not_found"}
        here.move(minutes=61)
        metadata = here.ask("mdblist")
        assert (metadata["asked"], metadata["fetched"], metadata["not_found"], metadata["requests"]) == (5, 4, 1, 1)


# Killed runs

ANOTHER_PROCESS = pytest.mark.nightly(
    reason="One more process that loads the whole product.", instead="the same test with another source"
)


@pytest.mark.parametrize(
    ("source", "concurrency", "unit", "settings"),
    [
        ("tmdb", 4, 1, {"tmdb_concurrency": 4}),
        pytest.param("omdb", 3, 1, {"omdb_concurrency": 3}, marks=ANOTHER_PROCESS),
        pytest.param("mdblist", 1, 3, {"mdblist_batch_size": 3}, marks=ANOTHER_PROCESS),
    ],
)
def test_a_killed_run_loses_only_requests_in_flight_and_one_batch(
    library, source: str, concurrency: int, unit: int, settings
):
    with library(titles(1, 60), **settings) as here:
        here.state.add_fault(FaultRule(source, kind="slow", delay_seconds=0.1))
        process = here.start(source)
        wait_until_asked(here, source, 45 // unit, process)
        process.kill()
        process.communicate(timeout=300)
        # A request sent before the process was killed may arrive late, but not after those of the next run.
        kept = {name for name, outcome in here.outcomes(source).items() if outcome == "ok"}
        ledger = here.used(source)
        sent = here.state.requests(source)
        assert 0 < len(kept) < 60
        here.state.clear_faults()
        here.ask(source)
        assert here.count(source) == {"ok": 60}
        assert here.home.value(f"SELECT count(*) FROM {ASSETS[source]}") == 60
        asked = here.state.asked(source)
        ids = {f"Film {n}": f"movie/{n}" if source == "tmdb" else imdb(n) for n in range(1, 61)}
        assert {asked[ids[name]] for name in kept} == {1}, "stored titles are not requested again"
        assert sum(number - 1 for number in asked.values()) < STORED_AT_ONCE + concurrency * unit
        if source != "tmdb":
            assert sent <= ledger <= sent + BLOCK
            assert here.used(source) >= here.state.requests(source)
