"""Number of requests: one per title or per batch, and none for what is known already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.library import imdb, title, titles

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


# Killed runs
