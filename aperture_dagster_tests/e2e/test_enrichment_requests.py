"""Number of requests: one per title or per batch, and none for what is known already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.worklist.engine import STORED_AT_ONCE
from aperture_dagster_tests.e2e.library import imdb, title, titles, wait_until_asked

pytestmark = pytest.mark.e2e


# TMDb


def test_tmdb_gets_one_request_per_title_collection_and_unknown_id(library):
    known = [*titles(1, 3), *titles(4, 6, collection=(99, "Saga"))]
    nameless = title(7)
    show = title(8, media_type="series", tvdb_id=808, imdb_id=None)
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


# MDBList


def test_the_batch_size_adapts_to_what_mdblist_accepts_and_is_remembered(library):
    stand_ins = {"mdblist_largest_batch": 10, "mdblist_batch_refusal": 413}
    with library(titles(1, 45), batch=20, stand_ins=stand_ins) as here:
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["batch_size"]) == (45, 10)
        assert here.state.requests("mdblist") == 1 + 5, "one was refused"
        here.state.reset_counters()
        here.move(days=8)
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["requests"], metadata["batch_size"]) == (45, 5, 10)


def test_a_refused_id_is_isolated_without_a_request_for_each_other_one(library):
    with library(titles(1, 100), batch=100) as here:
        # Refused: the batch of 100, of 50, of 10, and the first id by itself.
        here.state.add_fault(FaultRule("mdblist", status=400, times=4))
        metadata = here.ask("mdblist")
        assert here.count("mdblist") == {"ok": 99, "error": 1}
        # Nine others of the first ten one by one, the next forty in four batches, and the other fifty in one.
        assert (metadata["requests"], metadata["batch_size"]) == (4 + 9 + 4 + 1, 100)


def test_titles_missing_from_an_answer_are_not_found_and_those_of_a_failed_batch_are_errors(library):
    """A failed batch does not tell which of its titles are unknown."""
    with library(titles(1, 15), batch=5, http_attempts=1) as here:
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


def test_a_killed_run_loses_only_requests_in_flight_and_one_batch(library):
    with library(titles(1, 60), concurrency=4) as here:
        here.state.add_fault(FaultRule("tmdb", kind="slow", delay_seconds=0.05))
        process = here.start("tmdb")
        wait_until_asked(here, "tmdb", 45, process)
        process.kill()
        process.communicate(timeout=300)
        # A request sent before the process was killed may arrive late, but not after those of the next run.
        kept = {name for name, outcome in here.outcomes("tmdb").items() if outcome == "ok"}
        assert 0 < len(kept) < 60
        here.state.clear_faults()
        here.ask("tmdb")
        assert here.count("tmdb") == {"ok": 60}
        assert here.home.value("SELECT count(*) FROM tmdb_metadata") == 60
        asked = here.state.asked("tmdb")
        ids = {f"Film {n}": f"movie/{n}" for n in range(1, 61)}
        assert {asked[ids[name]] for name in kept} == {1}, "stored titles are not requested again"
        assert sum(number - 1 for number in asked.values()) < STORED_AT_ONCE + 4
